"""The network between simulated voters: real bytes, late, lost, twice, out of order or cut off.

What this module does not know: what a message means. Invariant: equal seeds make equal fates, for
the network draws from a generator of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from consensus.raft import NodeId
from consensus.sim.timeline import Timeline
from consensus.sim.weather import Weather

REPLAY_WITHIN_MS = 5_000


class Network:
    """Carries bytes from voter to voter; `deliver` is called with (sender, to, data)."""

    def __init__(
        self,
        timeline: Timeline,
        weather: Weather,
        rng: random.Random,
        deliver: Callable[[NodeId, NodeId, bytes], None],
    ) -> None:
        self._timeline = timeline
        self._weather = weather
        self._rng = rng
        self._deliver = deliver
        self._cut: set[tuple[NodeId, NodeId]] = set()
        self.is_calm = False

    def send(self, sender: NodeId, to: NodeId, data: bytes) -> None:
        """Hand over a message; its fate is drawn here and now."""
        weather, rng = self._weather, self._rng
        if self.is_calm:
            self._carry(sender, to, data, weather.latency_ms)
            return
        if rng.randrange(100) < weather.loss_percent:
            return
        self._carry(sender, to, data, self._latency_ms())
        if rng.randrange(100) < weather.duplicate_percent:
            self._carry(sender, to, data, self._latency_ms())
        if rng.randrange(100) < weather.replay_percent:
            self._carry(sender, to, data, rng.randrange(REPLAY_WITHIN_MS))

    def cut(self, sender: NodeId, to: NodeId) -> None:
        """Nothing arrives in this direction until `heal`."""
        self._cut.add((sender, to))

    def heal(self) -> None:
        """Every link carries again."""
        self._cut.clear()

    def _latency_ms(self) -> int:
        tail_ms = self._weather.latency_tail_ms
        extra_ms = int(min(self._rng.expovariate(1.0), 8.0) * tail_ms) if tail_ms else 0
        return self._weather.latency_ms + extra_ms

    def _carry(self, sender: NodeId, to: NodeId, data: bytes, delay_ms: int) -> None:
        def arrive() -> None:
            if (sender, to) not in self._cut:
                self._deliver(sender, to, data)

        self._timeline.after(delay_ms, arrive)
