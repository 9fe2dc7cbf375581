"""Everything is slow, late and lossy, one node stands still for a while, one has a full disk.

conclave chaos run examples/chaos/slow_and_lossy.py --seed 7
"""

import asyncio
from itertools import combinations

from agents import Agent
from agents.chaos import ChaosNet

agent = Agent("adder", capacity=2)


@agent.serve("math.add")
async def add(a: int, b: int) -> int:
    await asyncio.sleep(0.2)
    return a + b


async def scenario(net: ChaosNet) -> None:
    await net.up(4, agents=[agent], voters=3)
    for a, b in combinations(net.nodes, 2):
        await net.loss(a, b, net.random.uniform(0.0, 0.1))
        await net.delay(a, b, 5, net.random.uniform(10, 60))
    slow = net.random.choice(net.nodes)
    for other in net.nodes:
        if other != slow:
            await net.slow_link(slow, other, 64 * 1024)

    items = [{"a": n, "b": n} for n in range(20)]
    client = net.client(net.random.choice(net.nodes))
    tasks = await client.submit_many("math.add", items, timeout=60)
    await net.pause(net.random.choice(net.nodes), net.random.uniform(0.5, 6.0))
    full = net.random.choice(net.nodes)
    await net.disk_full(full)
    await net.sleep(net.random.uniform(0.5, 4.0))
    await net.disk_full(full, False)
    results = await tasks.results(timeout=120)
    net.expect.that("all sums are right", results == [2 * n for n in range(20)], f"{results}")
    await net.clock(net.random.choice(net.nodes), net.random.uniform(-3600, 3600))
    await net.heal()
    await net.expect.members_agree(within=60)
