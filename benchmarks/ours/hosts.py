"""A whole node with agents, under orders.

    python -m benchmarks.ours.hosts HOME PREFIX AGENTS [SEED]

Agent number n serves the capability `PREFIX.nN`, which returns what it was given.

What this module does not know: when its turn is, and what it is compared with.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from agents import Agent
from agents.bringing_up import node_at
from agents.node import Node
from benchmarks.loads import closed_loop, open_loop
from benchmarks.orders import obey, run_loop

Words = dict[str, Any]

LOOPBACK = "127.0.0.1"
AT_ONCE = 16


def agents(prefix: str, count: int) -> list[Agent]:
    """Return agents that serve one capability each."""
    made = []
    for number in range(count):
        agent = Agent(f"{prefix}-{number}")

        @agent.serve(f"{prefix}.n{number}")
        async def echo(value: int) -> int:
            return value

        made.append(agent)
    return made


async def main(home: Path, prefix: str, count: int, seeds: list[str]) -> None:
    """Be a node until the orders end."""
    settings = {"host": LOOPBACK, "seeds": tuple(seeds), "mdns": False}
    async with node_at(home, agents(prefix, count), settings) as node:
        door = f"{LOOPBACK}:{node.peer.ports['door']}"
        await obey({"peer": node.peer.peer_id, "door": door}, _orders(node))


def _orders(node: Node) -> dict[str, Any]:
    net = node.net

    async def know(capabilities: list[str]) -> Words:
        """Return when somebody offers each of these."""
        for capability in capabilities:
            await net.wait_for(capability, 60.0)
        return {}

    async def all_once(capabilities: list[str]) -> Words:
        """Call each of these once, some at a time."""
        left = list(enumerate(capabilities))

        async def work() -> None:
            while left:
                number, capability = left.pop()
                assert await net.call(capability, number) == number, capability

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        return {"called": len(capabilities)}

    async def offer(capabilities: list[str], rate: float, seconds: float) -> Words:
        """Call them in turn, on a schedule."""

        async def ask(number: int) -> None:
            await net.call(capabilities[number % len(capabilities)], number)

        return await open_loop(ask, rate, seconds)

    async def echo(capability: str, in_flight: int, seconds: float) -> Words:
        return await closed_loop(lambda: net.call(capability, 7), in_flight, seconds)

    return {"know": know, "all_once": all_once, "offer": offer, "echo": echo}


if __name__ == "__main__":
    run_loop(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:5]))
