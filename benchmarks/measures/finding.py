"""How soon two nodes find each other, by mDNS and by a seed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from benchmarks.figures import Figure, measures, median_of
from benchmarks.nodes import Node, network
from benchmarks.pace import pace


@measures("finding")
def finding() -> Iterator[Figure]:
    """A node is up; a second one starts; both list each other alive."""
    yield from _figures("by mDNS", asyncio.run(_meet_by_mdns()), target=2.0)
    yield from _figures("by seed", asyncio.run(_meet_by_seed()), target=0.5)


async def _meet_by_mdns() -> list[tuple[float, float]]:
    runs = []
    for _ in range(
        pace().repeats
    ):  # new members each time: nobody has met anybody in an earlier run
        async with network(2) as members:
            first, second = members.nodes
            first.up()
            first.listening_s()
            await asyncio.sleep(1.0)  # its first announcements are over
            second.up()
            runs.append(_meeting(first, second))
    return runs


async def _meet_by_seed() -> list[tuple[float, float]]:
    runs = []
    for _ in range(pace().repeats):
        async with network(2) as members:
            first, second = members.nodes
            first.up("--no-mdns")
            second.up("--no-mdns", "--seed", first.door)
            runs.append(_meeting(first, second))
    return runs


def _meeting(first: Node, second: Node) -> tuple[float, float]:
    """Return how long it took since the second one's door was open, and since its start."""
    met_s = max(first.sees(second), second.sees(first))
    return met_s - second.listening_s(), met_s - second.spawned_s


def _figures(way: str, runs: Sequence[tuple[float, float]], target: float) -> Iterator[Figure]:
    yield median_of(
        f"found {way}",
        [since_door for since_door, _ in runs],
        "s",
        "from the second node's start of announcing until both call each other alive",
        target=target,
    )
    yield median_of(
        f"found {way}, with process start",
        [since_spawn for _, since_spawn in runs],
        "s",
        "from the start of the second node's process until both call each other alive",
    )
