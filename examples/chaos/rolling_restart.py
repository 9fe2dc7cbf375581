"""Every node is restarted in turn, some stopped and some killed, while tasks go on.

conclave chaos run examples/chaos/rolling_restart.py --seed 7
"""

import asyncio
import contextlib

from agents import Agent, AgentsError
from agents.chaos import ChaosNet

agent = Agent("echo", capacity=4)


@agent.serve("slow.echo")
async def echo(text: str) -> str:
    await asyncio.sleep(0.3)
    return text


async def submit(net: ChaosNet, count: int) -> int:
    """Submit from whoever is there; with a key, so that asking again is safe."""
    done = 0
    for number in range(count):
        for _ in range(20):
            client = net.client(net.random.choice(net.living))
            with contextlib.suppress(AgentsError, TimeoutError):
                async with asyncio.timeout(15):
                    task = await client.submit("slow.echo", {"text": "x"}, key=f"k{number}")
                    await task.result(timeout=10)
                done += 1
                break
            await asyncio.sleep(0.5)
    return done


async def scenario(net: ChaosNet) -> None:
    await net.up(5, agents=[agent], voters=3)
    submitting = net.spawn(submit(net, 30))
    for node in net.nodes:
        if net.random.random() < 0.5:
            await net.stop(node)
        else:
            await net.crash(node)
        await net.sleep(net.random.uniform(0.5, 3.0))
        await net.restart(node)
        await net.settle(within=60)
    net.expect.that("all tasks were done", await submitting == 30)
