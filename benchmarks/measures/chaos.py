"""How much virtual time whole nodes in one process do in a second of CPU.

CPU and not wall time: a run waits for nothing, so on a quiet machine both are the same, and on a
busy one only this says something about the kit, though it still moves with the caches that
neighbours leave.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator

from agents import Agent
from agents.chaos import ChaosNet, run_virtual_scenario
from benchmarks.figures import Figure, measures, median_of
from benchmarks.pace import pace

Scenario = Callable[[ChaosNet], Awaitable[None]]
NODES = 5
LENGTH_S = 60
HOW = f"virtual seconds by CPU seconds of the process, {NODES} whole nodes, with their beginning: "


@measures("chaos")
def chaos() -> Iterator[Figure]:
    """One network with tasks and a leader that is killed, and one that has nothing to do."""
    runs = [(_pace_of(_busy, seed), _pace_of(_idle, seed)) for seed in range(pace().starts + 1)]
    yield median_of(
        "virtual time, tasks and a crash",
        [busy for busy, _ in runs[1:]],  # the first also warms what is cached
        "s/s",
        f"{HOW}a task a second for {LENGTH_S} s, the leader killed and started again",
        target=50,
        more_is_better=True,
    )
    yield median_of(
        "virtual time, idle",
        [idle for _, idle in runs[1:]],
        "s/s",
        f"{HOW}{LENGTH_S} s in which nobody asks for anything",
        target=100,
        more_is_better=True,
    )


def _pace_of(scenario: Scenario, seed: int) -> float:
    began_s = time.process_time()
    run = run_virtual_scenario(scenario, seed)
    assert run.passed, run.error
    return run.lasted_s / (time.process_time() - began_s)


def _worker() -> Agent:
    agent = Agent("adder")

    @agent.serve("math.add")
    async def add(a: int, b: int) -> int:
        return a + b

    return agent


async def _busy(net: ChaosNet) -> None:
    await net.up(NODES, agents=[_worker], voters=3)
    leader = await net.leader()
    client = net.client(next(name for name in net.nodes if name != leader))
    for second in range(LENGTH_S):
        task = await client.submit("math.add", {"a": second, "b": 1}, timeout=30)
        assert await task.result(timeout=30) == second + 1
        if second == LENGTH_S // 3:
            await net.crash(leader)
        elif second == LENGTH_S // 2:
            await net.restart(leader)
        await net.sleep(1)


async def _idle(net: ChaosNet) -> None:
    await net.up(NODES, voters=3)
    await net.sleep(LENGTH_S)
