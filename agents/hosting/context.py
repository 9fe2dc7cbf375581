"""What a handler may ask about the work in hand.

A handler that declares a parameter annotated `Context` gets one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keys import PeerId
from p2p import Clock, TraceContext

if TYPE_CHECKING:
    from agents.clusters import ClusterSeat
    from agents.net import Net


@dataclass(frozen=True, slots=True)
class TaskGrant:
    """The lease under which a task runs here.

    Attributes:
        token: the fencing token; hand it to whatever you write to, and have that refuse lower ones.
        attempt: 1 for the first.
    """

    task_id: str
    token: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Context:
    """One piece of work.

    Attributes:
        caller: the authenticated peer that asks; for a task, the one that submitted it.
        deadline_ms: on the node's monotonic clock, or None for no deadline.
        net: the network, to call on from here.
        fence: the token of a stand-by agent's term; hand it to whatever you write to, and have that
            refuse lower ones. None for other agents.
        task: set when this is a task, None when it is a call.
        clusters: those for this capability that this node is in, by name.
    """

    caller: PeerId
    caller_name: str
    capability: str
    agent: str
    deadline_ms: int | None
    trace: TraceContext | None
    net: Net
    clock: Clock
    task: TaskGrant | None = None
    fence: int | None = None
    clusters: Mapping[str, ClusterSeat] = field(default_factory=dict)

    @property
    def cluster(self) -> ClusterSeat | None:
        """The cluster for this capability that this node is in; None where it is in none, or in
        several: `clusters` has them."""
        return next(iter(self.clusters.values())) if len(self.clusters) == 1 else None

    @property
    def left_s(self) -> float | None:
        """Seconds until the deadline, or None."""
        if self.deadline_ms is None:
            return None
        return max(0, self.deadline_ms - self.clock.now_ms()) / 1000
