"""The leader is killed while tasks are under way: another one leads, and every task is done once.

conclave chaos run examples/chaos/leader_killed.py --seed 7
"""

import asyncio

from agents import Agent
from agents.chaos import ChaosNet

agent = Agent("echo", capacity=4)


@agent.serve("slow.echo")
async def echo(text: str) -> str:
    await asyncio.sleep(0.5)
    return text


async def scenario(net: ChaosNet) -> None:
    await net.up(5, agents=[agent], voters=3)
    leader = await net.leader()
    base = next(name for name in net.nodes if name != leader)
    texts = [f"text {n}" for n in range(20)]
    tasks = await net.client(base).submit_many("slow.echo", [{"text": text} for text in texts])
    await net.sleep(net.random.uniform(0.0, 2.0))
    await net.crash(leader)
    results = await tasks.results(timeout=60)
    net.expect.that("every task gave its own result", results == texts, f"{len(results)} results")
    await net.restart(leader)
    await net.expect.members_agree(within=30)
