"""The network falls into two halves: only the one with most voters decides, and they become one.

conclave chaos run examples/chaos/split_brain.py --seed 7
"""

from agents import Agent, NoQuorum, OutcomeUnknown
from agents.chaos import ChaosNet

agent = Agent("adder")


@agent.serve("math.add")
async def add(a: int, b: int) -> int:
    return a + b


async def scenario(net: ChaosNet) -> None:
    await net.up(5, agents=[agent], voters=5)
    names = net.random.sample(net.nodes, 5)
    few, many = names[:2], names[2:]
    await net.partition(few, many)
    await net.sleep(net.random.uniform(3.0, 10.0))

    task = await net.client(many[0]).submit("math.add", {"a": 1, "b": 2}, timeout=30)
    await net.client(many[1]).kv.put("side", "many", timeout=30)
    net.expect.that("the larger half works", await task.result(timeout=30) == 3)
    try:
        await net.client(few[0]).kv.put("side", "few", timeout=5)
        decided = "it decided"
    except (NoQuorum, OutcomeUnknown) as error:
        decided = type(error).__name__
    net.expect.that("the smaller half decides nothing", decided != "it decided", decided)

    await net.heal()
    await net.expect.members_agree(within=60)
    found = await net.client(few[1]).kv.get("side")
    net.log(f"the smaller half reads {found!r}")
