"""A peer with agents that do nothing but be known, under orders.

    python -m benchmarks.ours.registrars HOME NAME AGENTS [SEED]

Agent number n serves the capability `NAME.nN`. Nothing is offered before that is ordered.

What this module does not know: when its turn is, and what it is compared with.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from agents.advertising import Advertising
from agents.adverts import Told
from agents.directory import Directory
from agents.health import Condition, Health
from benchmarks.orders import Order, obey, run_loop
from benchmarks.ours.hosts import agents
from benchmarks.ours.members import LOOPBACK, peer_at
from p2p import AdvertSeen, MemberChange, MemberState, Peer, PresenceEvent

Words = dict[str, Any]

LIMIT_S = 60.0


class Registrar:
    """One peer, its agents, and its directory of all."""

    def __init__(self, peer: Peer, name: str, count: int) -> None:
        self._peer = peer
        self._name = name
        self._directory = Directory()
        self._conditions: dict[str, Condition] = {}
        self._changed = asyncio.Event()
        self._seen_s = 0.0
        self._advertising = Advertising(
            peer, agents(name, count), self._directory, self._told, self._note, lambda *_: None
        )
        peer.watch(self._on_presence)

    def orders(self) -> dict[str, Order]:
        return {
            "meet": self.meet,
            "held": self.held,
            "offer": self.offer,
            "change": self.change,
            "know": self.know,
            "see": self.see,
        }

    async def meet(self, count: int) -> Words:
        """Return when so many others are there."""
        await self._until(lambda: len(self._peer.presence.present()) >= count)
        return {}

    async def held(self) -> Words:
        """Return how much memory and CPU this process has, and what it has told."""
        gc.collect()
        counters = self._peer.counters()
        told = sum(counters.get(f"membership_adverts_{w}_bytes", 0) for w in ("told", "given"))
        used = resource.getrusage(resource.RUSAGE_SELF)
        rss = psutil.Process().memory_info().rss
        return {"rss": rss, "told_bytes": told, "cpu_s": used.ru_utime + used.ru_stime}

    async def offer(self) -> Words:
        """Tell all of all agents."""
        began_s = time.time()
        self._advertising.all()
        return {"began_s": began_s}

    async def change(self, number: int) -> Words:
        """Tell all that one agent is not well."""
        name = f"{self._name}-{number}"
        self._conditions[name] = Condition(Health.DEGRADED, "it is hot", 7)
        began_s = time.time()
        self._advertising.one(name)
        return {"began_s": began_s}

    async def know(self, count: int, capabilities: list[str]) -> Words:
        """Return when there are so many agents, these among them."""
        await self._until(lambda: len(self._directory) == count)
        at_s = self._seen_s
        assert all(self._directory.offering(capability) for capability in capabilities)
        return {"at_s": at_s}

    async def see(self, peer: str, agent: str) -> Words:
        """Return when this agent is known not to be well."""
        peer_id = next(p for p in (*self._peer.presence.present(), self._peer.peer_id) if p == peer)
        await self._until(lambda: self._directory.state_of(peer_id, agent) is Health.DEGRADED)
        return {"at_s": self._seen_s}

    async def _until(self, condition: Any) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def _told(self, name: str) -> Told:
        condition = self._conditions.get(name)
        return Told() if condition is None else Told(condition)

    def _note(self) -> None:
        self._seen_s = time.time()
        self._changed.set()

    def _on_presence(self, event: PresenceEvent) -> None:
        if isinstance(event, AdvertSeen):
            self._advertising.seen(event)
        elif isinstance(event, MemberChange):
            if event.after in (MemberState.DEAD, MemberState.LEFT):
                self._directory.remove(event.peer_id)
            self._note()


async def main(home: Path, name: str, count: int, seeds: list[str]) -> None:
    """Be a peer until the orders end."""
    peer = peer_at(home, *seeds)
    registrar = Registrar(peer, name, count)
    async with peer:
        door = f"{LOOPBACK}:{peer.ports['door']}"
        await obey({"peer": peer.peer_id, "door": door}, registrar.orders())


if __name__ == "__main__":
    run_loop(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:5]))
