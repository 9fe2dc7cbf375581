"""A network in memory, with faults: who reaches whom, how late, and what is lost on the way.

Everything that moves passes `deliver`, which asks the faults at the moment of sending. Hosts are
made-up addresses; a transport and a door live at one host. It needs a running loop, and runs the
same on virtual time.

What this module does not know: envelopes, sessions, nodes.

Promises: two frames from one host to another arrive in order; what a fault eats is counted.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

MIN_SPACING_S = 1e-6


@dataclass(slots=True)
class MemoryFaults:
    """What is wrong with the network just now; change it while it runs.

    Attributes:
        loss: share of frames that vanish, 0 to 1.
        latency_ms: (least, most), drawn for each frame.
    """

    loss: float = 0.0
    latency_ms: tuple[float, float] = (0.2, 1.0)


class MemoryNetwork:
    """Hosts, and what lies between them.

    Args:
        rng: draws latency and loss.
    """

    def __init__(self, rng: random.Random, faults: MemoryFaults | None = None) -> None:
        self.faults = faults or MemoryFaults()
        self.counts: Counter[str] = Counter()
        self.names: dict[str, list[tuple[str, int]]] = {}  # what a resolver says of a seed
        self._rng = rng
        self._cut: set[tuple[str, str]] = set()
        self._gone: set[str] = set()
        self._listeners: dict[tuple[str, int], object] = {}
        self._last_arrival: dict[tuple[str, str], float] = {}
        self._last_port = 20_000
        self._last_host = 0

    def new_host(self) -> str:
        """Return an address that nobody has."""
        self._last_host += 1
        return f"10.0.{self._last_host // 250}.{self._last_host % 250 + 1}"

    def listen(self, host: str, listener: object) -> int:
        """Put something at a fresh port of a host and return the port."""
        self._last_port += 1
        self._listeners[host, self._last_port] = listener
        return self._last_port

    def silence(self, host: str, port: int) -> None:
        """Nothing listens there any more."""
        self._listeners.pop((host, port), None)

    def listener(self, host: str, port: int) -> object | None:
        """Return what listens there; whether it is reachable, `reaches` says."""
        return self._listeners.get((host, port))

    def all_listeners(self) -> list[tuple[str, object]]:
        """Return what listens anywhere, with its host."""
        return [(host, listener) for (host, _), listener in self._listeners.items()]

    def remove(self, host: str) -> None:
        """A host is gone for good: nothing there listens or speaks any more."""
        self._gone.add(host)
        for place in [place for place in self._listeners if place[0] == host]:
            del self._listeners[place]

    def reaches(self, source: str, target: str) -> bool:
        """Return whether frames pass from one host to the other just now."""
        return (source, target) not in self._cut and not self._gone & {source, target}

    def cut(
        self, sources: Iterable[str], targets: Iterable[str], *, both_ways: bool = True
    ) -> None:
        """Nothing passes from these hosts to those."""
        for source in sources:
            for target in targets:
                if source != target:
                    self._cut.add((source, target))
                    if both_ways:
                        self._cut.add((target, source))

    def partition(self, *groups: Iterable[str]) -> None:
        """Hosts of different groups no longer reach each other."""
        sides = [list(group) for group in groups]
        for position, side in enumerate(sides):
            for other in sides[position + 1 :]:
                self.cut(side, other)

    def heal(self) -> None:
        """Everybody reaches everybody."""
        self._cut.clear()

    def deliver(self, source: str, target: str, arrive: Callable[[], None]) -> bool:
        """Call `arrive` after the latency of this link, unless a fault eats it.

        Returns:
            False when the link is cut, which a connection notices in time; loss it does not.
        """
        if not self.reaches(source, target):
            self.counts["cut"] += 1
            return False
        if self.faults.loss and self._rng.random() < self.faults.loss:
            self.counts["lost"] += 1
            return True
        loop = asyncio.get_running_loop()
        due = loop.time() + self._rng.uniform(*self.faults.latency_ms) / 1000
        # Timers of the very same time fire in any order, so a later frame gets a later one.
        due = max(due, self._last_arrival.get((source, target), 0.0) + MIN_SPACING_S)
        self._last_arrival[source, target] = due
        loop.call_at(due, arrive)
        self.counts["delivered"] += 1
        return True
