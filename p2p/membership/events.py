"""What membership is told, and what it asks for. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from keys import PeerId
from p2p.membership.heartbeat import Heartbeat


class MemberState(StrEnum):
    ALIVE = "alive"
    SUSPECT = "suspect"  # silent for longer than is usual
    DEAD = "dead"  # silent for too long; whatever it held is to be given to others
    LEFT = "left"  # it said goodbye itself


class Reason(StrEnum):
    """Why a state changed."""

    ADMITTED = "it was introduced"
    HEARD = "it was heard again"
    SILENT = "it was silent for too long"
    UNREACHABLE = "its link broke and its door did not answer"
    RESTARTED = "it was started again"
    GOODBYE = "it said goodbye"
    EXPELLED = "it was expelled"


@dataclass(frozen=True, slots=True)
class Admitted:
    """There is a session with this peer.

    `incarnation` is the number of that start of its process. It is not the sequence of its
    transport record where that grows within one start: a greater incarnation means that the
    process before is dead.
    """

    peer_id: PeerId
    incarnation: int


@dataclass(frozen=True, slots=True)
class Expelled:
    """The peer may not be here any more: revoked or expired."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class HeartbeatReceived:
    """A frame on a link of this peer; None is one that was no heartbeat.

    `wall_ms` is our own clock when it arrived, to compare clocks; None leaves that out.
    """

    peer_id: PeerId
    heartbeat: Heartbeat | None
    wall_ms: int | None = None


@dataclass(frozen=True, slots=True)
class LeaveReceived:
    """The peer says goodbye, for this incarnation."""

    peer_id: PeerId
    incarnation: int


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The connection to this peer broke. Evidence only: a link may break between the living."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class ReintroductionFailed:
    """Its door did not answer, or refused the connection."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed; due at `deadline_ms`. Coming late tells a node that it was stalled."""


MembershipEvent = (
    Admitted | Expelled | HeartbeatReceived | LeaveReceived | LinkLost | ReintroductionFailed | Tick
)


@dataclass(frozen=True, slots=True)
class SendHeartbeat:
    """Send our heartbeat with this sequence to these peers; losing it is no error."""

    to: tuple[PeerId, ...]
    sequence: int


@dataclass(frozen=True, slots=True)
class Changed:
    """A peer's state changed. `before` is None for one that was not known.

    A restart is two of these: the old incarnation becomes dead, then the new one alive. So
    leases can be ended by (peer, incarnation) whatever happened.
    """

    peer_id: PeerId
    incarnation: int
    before: MemberState | None
    after: MemberState
    reason: Reason


@dataclass(frozen=True, slots=True)
class Reintroduce:
    """Knock at this peer's door; answer with `Admitted` or `ReintroductionFailed`."""

    peer_id: PeerId


class DropReason(StrEnum):
    """Why something that a peer said did not count."""

    NOT_ADMITTED = "not admitted"
    MALFORMED = "malformed"
    STALE_INCARNATION = "stale incarnation"
    REPLAYED = "replayed"
    AFTER_GOODBYE = "after goodbye"


@dataclass(frozen=True, slots=True)
class Drop:
    peer_id: PeerId
    reason: DropReason


MembershipEffect = SendHeartbeat | Changed | Reintroduce | Drop
