"""What a node costs that does nothing but be there, in a network of three."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psutil

from benchmarks.figures import Figure, measures, median_of
from benchmarks.nodes import network
from benchmarks.pace import pace

SETTLE_S = 3.0
MB = 1_000_000


@measures("idle")
def idle() -> Iterator[Figure]:
    """Memory and CPU of the leader and of the followers over some seconds."""
    memory_mb, leader, followers = asyncio.run(_watch())
    how = f"over {pace().watch_s:g} s in a network of three with one agent each"
    yield median_of("idle memory", memory_mb, "MB", f"RSS of each node; {how}", target=60)
    yield median_of("idle CPU, leader", [leader], "%", f"of one core; {how}", target=2)
    yield median_of("idle CPU, follower", followers, "%", f"of one core; {how}", target=2)


async def _watch() -> tuple[list[float], float, list[float]]:
    async with network(3) as members:
        members.up(mdns=True)
        await asyncio.sleep(SETTLE_S)
        leader = members.leader()
        processes = {node.name: psutil.Process(node.pid) for node in members.nodes}
        before = {name: _cpu_s(process) for name, process in processes.items()}
        await asyncio.sleep(pace().watch_s)
        percent = {
            name: 100 * (_cpu_s(process) - before[name]) / pace().watch_s
            for name, process in processes.items()
        }
        memory = [process.memory_info().rss / MB for process in processes.values()]
        return memory, percent.pop(leader.name), list(percent.values())


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
