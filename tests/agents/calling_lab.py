"""Nodes that call each other in virtual time, and an agent whose handlers can be steered."""

from __future__ import annotations

import asyncio
from typing import Any

from node_lab import until

from agents import Agent, Context
from agents.node import Node


class Bench:
    """An agent that notes what it is asked, and hangs while it is told to."""

    def __init__(self, name: str = "bench", *, idempotent: bool = False, **terms: Any) -> None:
        self.agent = Agent(name)
        self.seen: list[str] = []
        self.cancelled: list[str] = []
        self.left_s: list[float | None] = []
        self.open = asyncio.Event()
        self.open.set()

        @self.agent.serve("bench.work", idempotent=idempotent, **terms)
        async def work(context: Context, text: str) -> str:
            self.seen.append(text)
            self.left_s.append(context.left_s)
            try:
                await self.open.wait()
            except asyncio.CancelledError:
                self.cancelled.append(text)
                raise
            return name

    def hang(self) -> None:
        self.open.clear()


async def meet(node: Node, capability: str, count: int) -> None:
    """Return when a node knows so many providers."""
    await until(lambda: len(node.directory.providers(capability)) == count)
