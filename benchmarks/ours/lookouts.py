"""A peer that writes down who is held for what, and since when, under orders.

    python -m benchmarks.ours.lookouts HOST HOME [SEED ...]

What this module does not know: when its turn is, and what happens to the others.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from benchmarks.orders import Order, obey, run_loop
from benchmarks.ours.members import peer_at
from p2p import MemberChange, MemberState, Peer, PresenceEvent

Words = dict[str, Any]

LIMIT_S = 60.0


class Lookout:
    """One peer and what it saw."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._last_s: dict[tuple[str, MemberState], float] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._alive: set[str] = set()  # kept, since looking at all at each change is n squared
        self._met_s = 0.0
        self._changed = asyncio.Event()
        peer.watch(self._on_presence)

    def orders(self) -> dict[str, Order]:
        return {"meet": self.meet, "gone": self.gone, "counts": self.counts}

    async def meet(self, count: int, limit_s: float = LIMIT_S) -> Words:
        """Return when so many others are alive, and since when they are."""
        await self._until(lambda: self.alive() >= count, limit_s)
        return {"at_s": self._met_s, "rss": psutil.Process().memory_info().rss}

    async def gone(self, peer: str, since_s: float) -> Words:
        """Return when this one was called dead."""
        key = (peer, MemberState.DEAD)
        await self._until(lambda: self._last_s.get(key, 0.0) >= since_s)
        return {"at_s": self._last_s[key]}

    async def counts(self) -> Words:
        """Return how often who became what, since this was asked for the last time."""
        found, self._counts = self._counts, Counter()
        return {"seen": [[peer, state, count] for (peer, state), count in found.items()]}

    def alive(self) -> int:
        """How many others are alive, as it sees it."""
        return len(self._alive)

    async def _until(self, condition: Any, limit_s: float = LIMIT_S) -> None:
        async with asyncio.timeout(limit_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def _on_presence(self, event: PresenceEvent) -> None:
        if isinstance(event, MemberChange):
            now_s = time.time()
            self._last_s[event.peer_id, event.after] = now_s
            self._counts[event.peer_id, event.after.value] += 1
            if event.after is MemberState.ALIVE:
                self._met_s = now_s
                self._alive.add(event.peer_id)
            else:
                self._alive.discard(event.peer_id)
            self._changed.set()


async def main(host: str, home: Path, seeds: list[str]) -> None:
    """Be a peer until the orders end."""
    peer = peer_at(home, *seeds, host=host)
    lookout = Lookout(peer)
    async with peer:
        door = f"{host}:{peer.ports['door']}"
        await obey({"peer": peer.peer_id, "door": door}, lookout.orders())


if __name__ == "__main__":
    run_loop(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
