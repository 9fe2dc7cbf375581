"""The health of this node's agents, and of all others as their adverts say.

What this module does not know: how one is judged, how adverts travel.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from agents.adverts import AgentCard, Told
from agents.directory import Directory
from agents.errors import AgentHopeless
from agents.health.judging import Condition, Health
from agents.health.keeping import AgentKeeper
from agents.standby import StandbyKeeper
from keys import PeerId
from p2p import Clock

if TYPE_CHECKING:
    from agents.hosting.host import AgentHost


class HealthService:
    """Keeps every agent of a node.

    Args:
        label: what people call a peer.
        advertise: tell everybody anew how this agent is.
        tell: hands events to whoever watches.
        on_hopeless: an agent fails after every restart.

    """

    def __init__(
        self,
        host: AgentHost,
        directory: Directory,
        clock: Clock,
        rng: random.Random,
        label: Callable[[PeerId], str],
        lag_ms: Callable[[], int],
        advertise: Callable[[str], None],
        tell: Callable[[dict[str, Any]], None],
        on_hopeless: Callable[[AgentHopeless], None],
    ) -> None:
        self._host = host
        self._directory = directory
        self._clock = clock
        self._label = label
        self._advertise = advertise
        self._tell = tell
        rng = random.Random(rng.getrandbits(64))
        self.keepers = {
            offer.name: (StandbyKeeper if offer.life.role else AgentKeeper)(
                offer, host, clock, rng, lag_ms, self._changed, on_hopeless
            )
            for offer in host.offers
        }

    def start(self, net: Any) -> None:
        """Start every agent, and look after it from now on."""
        for keeper in self.keepers.values():
            keeper.start(net)

    async def close(self) -> None:
        """Stop every agent."""
        await asyncio.gather(*(keeper.close() for keeper in self.keepers.values()))

    def fence_of(self, agent: str) -> int | None:
        """Return the token under which an agent is active, if it is one that stands by."""
        keeper = self.keepers.get(agent)
        return keeper.fence if keeper is not None else None

    def told(self, name: str, load: int = 0) -> Told:
        """Return what the advert says of one of our agents, which is this busy."""
        keeper = self.keepers[name]
        now = keeper.core.now
        ago_ms = self._clock.now_ms() - now.since_ms
        condition = Condition(now.state, now.reason, self._clock.wall_ms() - ago_ms)
        return Told(condition, keeper.note, not self._host.why_closed(name), load)

    def compare(self, peer_id: PeerId, before: Mapping[str, Health | None]) -> None:
        """Tell whoever watches what has changed since these agents of a peer were so."""
        for name, was in before.items():
            state = self._directory.state_of(peer_id, name)
            if state is None or state is was or (was is None and state is Health.HEALTHY):
                continue
            card = self._directory.card_of(peer_id, name)
            assert card is not None
            self._event(peer_id, card, was)

    def _changed(self, name: str, before: Health, now: Condition) -> None:
        self._advertise(name)

    def _event(self, peer_id: PeerId, card: AgentCard, before: Health | None) -> None:
        self._tell(
            {
                "event": "health",
                "agent": card.name,
                "peer": peer_id,
                "node": self._label(peer_id),
                "before": before.value if before is not None else None,
                "state": card.condition.state.value,
                "reason": card.condition.reason,
            }
        )
