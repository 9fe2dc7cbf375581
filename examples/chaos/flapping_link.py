"""A link comes and goes while programs share a lock: it is never in two hands.

conclave chaos run examples/chaos/flapping_link.py --seed 7
"""

import asyncio
import contextlib

from agents import AgentsError, LockLost
from agents.chaos import ChaosNet


async def work(net: ChaosNet, node: str, until_ms: int) -> None:
    """Hold the lock for a while, again and again."""
    client = net.client(node)
    while net.now_ms < until_ms:
        with contextlib.suppress(AgentsError):
            async with client.lock("printer", lease=3, timeout=10) as lock:
                await asyncio.sleep(net.random.uniform(0.1, 1.0))
                with contextlib.suppress(LockLost):
                    lock.check()
        await asyncio.sleep(0.1)


async def scenario(net: ChaosNet) -> None:
    await net.up(3, voters=3)
    for node in net.nodes:
        net.spawn(work(net, node, until_ms=net.now_ms + 30_000))
    for _ in range(6):
        away, to = net.random.sample(net.nodes, 2)
        if net.random.random() < 0.5:
            await net.cut([away], [to])
        else:
            await net.partition([away], [name for name in net.nodes if name != away])
        await net.sleep(net.random.uniform(0.2, 3.0))
        await net.heal()
        await net.sleep(net.random.uniform(0.2, 2.0))
    await net.expect.members_agree(within=60)
