"""One peer as others see it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from keys import PeerId


class MemberState(StrEnum):
    ALIVE = "alive"
    SUSPECT = "suspect"  # accused of silence, and it has not answered yet
    DEAD = "dead"  # it did not answer in time; whatever it held is to be given to others
    LEFT = "left"  # it said goodbye itself


@dataclass(frozen=True, slots=True)
class Member:
    """The public view of one peer."""

    peer_id: PeerId
    state: MemberState
    incarnation: int
    silent_ms: int  # since it was last heard
    since_ms: int  # since its state last changed
    clock_offset_ms: int | None  # its clock minus ours; None before the first heartbeat
