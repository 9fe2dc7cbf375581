"""The leader is cut off with a client beside it, which goes on writing: no answer may be wrong.

conclave chaos run examples/chaos/isolated_leader.py --seed 7
"""

import asyncio
import contextlib

from agents import AgentsError, CompareFailed
from agents.chaos import ChaosNet

KEYS = ("red", "green")


async def use(net: ChaosNet, node: str, until_ms: int) -> None:
    """Read and write as programs do, and take what comes."""
    store = net.client(node).kv
    number = 0
    while net.now_ms < until_ms:
        key = net.random.choice(KEYS)
        with contextlib.suppress(AgentsError):
            entry = await store.entry(key, timeout=3)
            number += 1
            value = f"{node}{number}"
            with contextlib.suppress(CompareFailed):
                if entry is None or net.random.random() < 0.5:
                    await store.put(key, value, timeout=3)
                else:
                    await store.compare_set(key, value, version=entry.version, timeout=3)
        await asyncio.sleep(net.random.uniform(0.1, 0.8))


async def scenario(net: ChaosNet) -> None:
    await net.up(5, voters=5)
    for node in net.nodes:
        net.spawn(use(net, node, until_ms=net.now_ms + 15_000))
    await net.sleep(2)
    leader = await net.isolate_leader()
    other = await net.leader(other_than=leader, within=30)
    net.expect.that("somebody else leads", other != leader, f"{leader}, then {other}")
    await net.sleep(net.random.uniform(2.0, 6.0))
    await net.heal()
    await net.sleep(3)
    voter = net.random.choice(net.nodes)
    others = [name for name in net.nodes if name != voter]
    await net.cut([voter], others)
    await net.sleep(3)
    await net.heal()
    await net.expect.members_agree(within=60)
