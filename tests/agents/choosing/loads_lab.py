"""Queues in simulation whose providers say how busy they are, once a second, as nodes do.

`python tests/agents/choosing/loads_lab.py` prints the figures in `agents/choosing/balancers.py`.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping, Sequence

from agents.busy import Level
from agents.choosing import FULL, Chooser, Destination, Outcome
from agents.hosting.tally import Occupancy

SERVICE_MS = 10.0
CAPACITY = 4
LOOK_MS = 1_000


class Provider:
    """Serves one after the other."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self.free_ms = 0.0
        self.used = Occupancy()
        self.level = Level(FULL)
        self._before_ms = 0

    def begin(self, now_ms: float, rng: random.Random) -> float:
        self.used.begin(int(now_ms))
        self.free_ms = max(now_ms, self.free_ms) + rng.expovariate(self.speed / SERVICE_MS)
        return self.free_ms

    def look(self, now_ms: int) -> int:
        total_ms = self.used.total_ms(now_ms)
        self.level.look(1000 * (total_ms - self._before_ms) // (LOOK_MS * CAPACITY))
        self._before_ms = total_ms
        return self.level.step


class Queues:
    """Callers that see their own attempts, and perhaps what providers say.

    Args:
        load: of what all can serve together.
        others: how much of each provider somebody else uses, whom no balancer asks.
    """

    def __init__(
        self,
        callers: int,
        speeds: Sequence[float],
        load: float,
        others: Sequence[float],
        *,
        seed: int,
        are_told: bool,
    ) -> None:
        self._rng = random.Random(seed)
        self._providers = {f"p{n:02}": Provider(speed) for n, speed in enumerate(speeds)}
        self._choosers = [Chooser(random.Random(seed * 1000 + n), 0) for n in range(callers)]
        self._are_told = are_told
        self._tell({})
        rate = load * sum(speeds) / SERVICE_MS
        self._rates = [(rate, "")] + [
            (share * provider.speed / SERVICE_MS, name)
            for share, (name, provider) in zip(others, self._providers.items(), strict=False)
            if share
        ]

    def run(self, balance: str, calls: int) -> list[float]:
        """Return the sorted latencies of so many calls, in ms."""
        out: list[float] = []
        ends: list[tuple[float, int, float, str, Chooser | None, Destination | None]] = []
        arrivals = [(self._rng.expovariate(rate), rate, to) for rate, to in self._rates]
        heapq.heapify(arrivals)
        look_ms, begun = LOOK_MS, 0
        while len(out) < calls:
            due_ms = min(arrivals[0][0], ends[0][0] if ends else arrivals[0][0])
            if look_ms <= due_ms:
                self._tell({name: one.look(look_ms) for name, one in self._providers.items()})
                look_ms += LOOK_MS
            elif ends and ends[0][0] <= arrivals[0][0]:
                end_ms, _, since_ms, name, chooser, one = heapq.heappop(ends)
                self._providers[name].used.end(int(since_ms), int(end_ms))
                if chooser is not None and one is not None:
                    took_us = int((end_ms - since_ms) * 1000)
                    chooser.end(one, False, Outcome.ANSWERED, took_us, int(end_ms))
                    out.append(end_ms - since_ms)
            else:
                now_ms, rate, to = heapq.heappop(arrivals)
                heapq.heappush(arrivals, (now_ms + self._rng.expovariate(rate), rate, to))
                chooser = one = None
                if not to:
                    chooser = self._rng.choice(self._choosers)
                    one = chooser.choose(balance, None, int(now_ms))
                    assert one is not None
                    chooser.begin(one, int(now_ms))
                name = to or (one.peer if one is not None else "")
                begun += 1
                end_ms = self._providers[name].begin(now_ms, self._rng)
                heapq.heappush(ends, (end_ms, begun, now_ms, name, chooser, one))
        return sorted(out)

    def _tell(self, loads: Mapping[str, int]) -> None:
        weights = dict.fromkeys(self._providers, 1)
        for chooser in self._choosers:
            chooser.set_providers(weights, "", (), loads if self._are_told else {})


SCENES = {
    "10 callers of 3 equal": (10, [1.0] * 3, 0.8, []),
    "30 callers of 10 equal": (30, [1.0] * 10, 0.8, []),
    "10 callers of 10, one five times slower": (10, [1.0] * 9 + [0.2], 0.8, []),
    "100 callers of 20, half of them half as quick": (100, [1.0] * 10 + [0.5] * 10, 0.7, []),
    "10 callers of 10, half of them used by others": (10, [1.0] * 10, 0.3, [0.8] * 5),
    "100 callers of 10, half of them used by others": (100, [1.0] * 10, 0.3, [0.8] * 5),
}


def figures(scene: str, balance: str, *, are_told: bool, calls: int = 10_000) -> tuple[int, int]:
    """The latency that one call in 100 is above, and the mean, over three seeds, in ms."""
    callers, speeds, load, others = SCENES[scene]
    runs = [
        Queues(callers, speeds, load, others, seed=seed, are_told=are_told).run(balance, calls)
        for seed in (1, 2, 3)
    ]
    worst = sum(run[len(run) * 99 // 100] for run in runs) / len(runs)
    return round(worst), round(sum(sum(run) / len(run) for run in runs) / len(runs))


if __name__ == "__main__":
    for scene in SCENES:
        for balance in ("least_outstanding", "weighted"):
            told = [figures(scene, balance, are_told=are_told) for are_told in (False, True)]
            print(f"{scene:50}{balance:20}1 in 100, mean: silent {told[0]}, told {told[1]}")
