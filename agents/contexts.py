"""What handlers and judges are told about the work in hand.

What this module does not know: who runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agents.clusters import ClusterSeat
from agents.hosting import Context, TaskGrant
from agents.hosting.host import AgentHost
from agents.ledger import Work
from agents.names import peer_meant
from agents.net import Net
from keys import PeerId
from p2p import Clock, Incoming, Peer


class Contexts:
    """Makes the contexts of one node.

    Args:
        net: the node's own, which is there when the node is up.
        fence: the token under which an agent is active, for one that stands by.
        clusters: those for a capability that this node is in, by name.
    """

    def __init__(
        self,
        peer: Peer,
        host: AgentHost,
        clock: Clock,
        net: Callable[[], Net],
        fence: Callable[[str], int | None],
        clusters: Callable[[str], Mapping[str, ClusterSeat]],
    ) -> None:
        self._peer = peer
        self._host = host
        self._clock = clock
        self._net = net
        self._fence = fence
        self._clusters = clusters

    def of_call(self, incoming: Incoming, capability: str) -> Context:
        return Context(
            caller=incoming.caller.peer_id,
            caller_name=incoming.caller.name,
            capability=capability,
            agent=self._host.agent_of(capability) or "",
            deadline_ms=incoming.deadline_ms,
            trace=incoming.trace,
            net=self._net(),
            clock=self._clock,
            fence=self._fence(self._host.agent_of(capability) or ""),
            clusters=self._clusters(capability),
        )

    def of_judge(self, proposer: str, kind: str, agent: str, deadline_ms: int) -> Context:
        return Context(
            caller=PeerId(proposer),
            caller_name=self._peer.label(PeerId(proposer)),
            capability=f"votes:{kind}",
            agent=agent,
            deadline_ms=deadline_ms,
            trace=None,
            net=self._net(),
            clock=self._clock,
        )

    def of_task(self, work: Work, grant: TaskGrant) -> Context:
        return Context(
            caller=work.submitter,
            caller_name=self._peer.label(work.submitter),
            capability=work.skill,
            agent=work.agent,
            deadline_ms=self._clock.now_ms() + work.timeout_ms,
            trace=None,
            net=self._net(),
            clock=self._clock,
            task=grant,
            fence=self._fence(work.agent),
            clusters=self._clusters(peer_meant(work.skill)[0]),
        )
