"""Who could do tasks: workers and their agents, as the leader sees them now.

Made anew from membership and advertisements whenever either changes. What this module does not
know: heartbeats, what a worker holds (the ledger knows that).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from keys import PeerId


class AgentView(NamedTuple):
    """One agent. Capacity 0 says that it takes nothing new, for example because it drains."""

    name: str
    skills: frozenset[str]
    capacity: int  # executions at once
    is_degraded: bool = False  # gets what nobody else has room for
    load: int = 0  # in quarters, by calls and tasks, as its node says


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One peer. A dead one (`alive` false) loses its leases; one that is only suspected should be
    shown alive without agents, so that it keeps its leases and gets nothing new."""

    peer: PeerId
    incarnation: int
    agents: tuple[AgentView, ...]
    reported_load: int = 0  # 0 to 255, how busy its machine is, as it says
    alive: bool = True
