"""How many tasks a network of three decides, does and finishes a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from benchmarks.figures import Figure, measures, median_of
from benchmarks.nodes import attached_to, network

TASKS = 2000
RUNS = 3
ONE_BY_ONE = 100


@measures("tasks")
def tasks() -> Iterator[Figure]:
    """Submit many at once, and some one by one, through a client on a follower's machine."""
    many, single_ms = asyncio.run(_submit())
    how = f"{TASKS} tasks whose handler returns at once, three nodes, from submit to last result"
    yield median_of("tasks done", many, "/s", how, more_is_better=True)
    yield median_of(
        "one task, submit to result",
        single_ms,
        "ms",
        f"{ONE_BY_ONE} tasks one after the other, through a follower",
    )


async def _submit() -> tuple[list[float], list[float]]:
    async with network(3) as members:
        members.up()
        leader = members.leader()
        follower = next(node for node in members.nodes if node is not leader)
        rates, single_ms = [], []
        async with attached_to(follower) as net:
            for run in range(RUNS + 1):
                began = time.perf_counter()
                done = await net.submit_many("bench.nothing", list(range(TASKS)))
                results = await done.results(timeout=60)
                rates.append(TASKS / (time.perf_counter() - began))
                assert results == list(range(TASKS)), f"wrong results in run {run}"
            for number in range(ONE_BY_ONE):
                began = time.perf_counter()
                task = await net.submit("bench.nothing", number)
                await task.result(timeout=10)
                single_ms.append(1000 * (time.perf_counter() - began))
        return rates[1:], single_ms
