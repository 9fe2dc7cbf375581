"""What a script does to the network and the machines of its nodes.

What this module does not know: which world makes it so, who looks on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from agents.chaos.errors import ChaosError, NoSuchNode
from agents.chaos.timeline import Timeline, What
from agents.chaos.world import ChaosWorld
from agents.switching import LinkTrouble, Trouble

MAX_DELAY_MS = 60_000  # a script's seconds given as milliseconds, or the other way round


class Hurting:
    """The part of `ChaosNet` that breaks links, clocks and disks."""

    def __init__(self, world: ChaosWorld, timeline: Timeline) -> None:
        self._world = world
        self.timeline = timeline
        self._names: list[str] = []
        self._full: set[str] = set()
        self._skewed: set[str] = set()
        self._cuts: set[tuple[str, str]] = set()
        self._links: dict[tuple[str, str], LinkTrouble] = {}
        self._applied = Trouble()

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of all nodes, also of those that are down."""
        return tuple(self._names)

    @property
    def full(self) -> tuple[str, ...]:
        """Those whose disk is full."""
        return tuple(n for n in self._names if n in self._full)

    # -- the network ---------------------------------------------------------------------------

    async def partition(self, *groups: Iterable[str]) -> None:
        """Nodes of different groups no longer reach each other; who is in no group, nobody."""
        sides = [self._group(group) for group in groups]
        rest = [name for name in self._names if not any(name in side for side in sides)]
        if rest:
            sides.append(rest)
        for side in sides:
            for other in sides:
                if side is not other:
                    self._cuts |= {(a, b) for a in side for b in other}
        await self._apply("partition " + " | ".join(listed(side) for side in sides))

    async def cut(self, sources: Iterable[str], targets: Iterable[str]) -> None:
        """One way only: from these nodes nothing reaches those."""
        away, to = self._group(sources), self._group(targets)
        self._cuts |= {(a, b) for a in away for b in to if a != b}
        await self._apply(f"nothing gets from {listed(away)} to {listed(to)}")

    async def isolate(self, node: str) -> None:
        """Nobody reaches this node, nor it anybody."""
        self._check(node)
        await self.partition([node], [name for name in self._names if name != node])

    async def heal(self) -> None:
        """End everything that is wrong with the network."""
        was_hurt = bool(self._cuts or self._links)
        self._cuts.clear()
        self._links.clear()
        if was_hurt:
            await self._apply("the network is healed")

    async def loss(self, a: str, b: str, share: float, *, one_way: bool = False) -> None:
        """Between the two this share of what is sent is lost, and sent again by the connection.
        `one_way`, here and below: only of what goes from the first to the second."""
        _check_share("loss", share, "for all of it, `partition`")
        await self._change(a, b, f"loses {share:.0%}", one_way, loss=share)

    async def delay(
        self,
        a: str,
        b: str,
        low_ms: float,
        high_ms: float | None = None,
        *,
        one_way: bool = False,
    ) -> None:
        """Between the two everything takes so much longer, each way, and stays in order."""
        low, high = span = (low_ms, low_ms if high_ms is None else high_ms)
        if not 0 <= low <= high <= MAX_DELAY_MS:
            raise ChaosError(f"delay {low:g} to {high:g} ms: both are 0 to {MAX_DELAY_MS}")
        await self._change(a, b, f"is late by {low:g} to {high:g} ms", one_way, delay_ms=span)

    async def slow_link(self, a: str, b: str, bytes_per_s: float, *, one_way: bool = False) -> None:
        """Between the two no more passes, each way."""
        if not bytes_per_s > 0:
            raise ChaosError(f"slow_link {bytes_per_s:g}: some pass; for none, `partition`")
        await self._change(
            a, b, f"carries {bytes_per_s:g} bytes/s", one_way, bytes_per_s=bytes_per_s
        )

    async def duplicate(self, a: str, b: str, share: float, *, one_way: bool = False) -> None:
        """Between the two this share of all packets arrives twice."""
        _check_share("duplicate", share)
        await self._change(a, b, f"doubles {share:.0%}", one_way, duplicate=share)

    async def reorder(self, a: str, b: str, share: float, *, one_way: bool = False) -> None:
        """Between the two this share of all packets comes late, after some that were sent later."""
        _check_share("reorder", share)
        await self._change(a, b, f"lets overtake {share:.0%}", one_way, reorder=share)

    async def _change(self, a: str, b: str, words: str, one_way: bool, **changes: Any) -> None:
        self._check(a, b)
        for pair in ((a, b),) if one_way else ((a, b), (b, a)):
            before = self._links.get(pair, LinkTrouble())
            self._links[pair] = dataclasses.replace(before, **changes)
        link = f"the way from {a} to {b}" if one_way else f"the link {a}-{b}"
        await self._apply(f"{link} {words}")

    async def _apply(self, words: str) -> None:
        links = tuple((a, b, link) for (a, b), link in self._links.items())
        wanted = Trouble(frozenset(self._cuts), links)
        try:
            await self._world.apply(wanted)
        except ChaosError:  # it is as it was before, for whoever goes on
            self._cuts = set(self._applied.cuts)
            self._links = {(a, b): link for a, b, link in self._applied.links}
            raise
        self._applied = wanted
        hurt = sorted(pair for pair, link in self._links.items() if link != LinkTrouble())
        cuts = sorted(self._cuts)
        self.timeline.add(
            What.FAULT, "", words, cuts=list(map(list, cuts)), hurt=list(map(list, hurt))
        )

    # -- machines ------------------------------------------------------------------------------

    async def clock(self, node: str, offset_s: float) -> None:
        """Its time of day is wrong by so much; what measures durations is not."""
        self._check(node)
        await self._world.set_clock(node, int(offset_s * 1000))
        (self._skewed.add if offset_s else self._skewed.discard)(node)
        words = f"its clock is {offset_s:+g} s off" if offset_s else "its clock is right"
        self.timeline.add(What.FAULT, node, words)

    async def disk_full(self, node: str, full: bool = True) -> None:
        """Its log has no room, or has again."""
        self._check(node)
        await self._world.fill_disk(node, is_full=full)
        (self._full.add if full else self._full.discard)(node)
        self.timeline.add(What.FAULT, node, "its disk is full" if full else "its disk has room")

    # -- names ---------------------------------------------------------------------------------

    def _group(self, names: Iterable[str]) -> list[str]:
        found = list(names)
        self._check(*found)
        return found

    def _check(self, *names: str) -> None:
        for name in names:
            if name not in self._names:
                raise NoSuchNode(name, self.nodes)


def _check_share(what: str, share: float, instead: str = "") -> None:
    if not 0 <= share < 1:
        raise ChaosError(f"{what} {share}: a share is 0 to below 1{instead and '; '}{instead}")


def listed(names: Iterable[str]) -> str:
    """Names in words."""
    return ", ".join(sorted(names)) or "nobody"
