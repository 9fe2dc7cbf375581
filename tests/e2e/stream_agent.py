"""An agent that streams and converses, and notes in a file what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from agents import Agent, Channel

agent = Agent("streams")


@agent.serve("lab.ticks")
async def ticks(to: int, mark: str = "", size: int = 0) -> AsyncIterator[object]:
    """Count, quickly if there is a size and slowly if not."""
    try:
        for number in range(to):
            yield bytes(size) if size else f"tick {number}"
            if not size:
                await asyncio.sleep(0.05)
    finally:
        if mark:
            note(mark, "ended")


@agent.serve("lab.hold")
async def hold(channel: Channel, mark: str) -> None:
    """Read nothing until the end."""
    note(mark, "begun")
    try:
        await asyncio.Event().wait()
    finally:
        note(mark, "ended")


@agent.serve("lab.echo")
async def echo(channel: Channel) -> None:
    async for value in channel:
        await channel.send(value)


def note(mark: str, word: str) -> None:
    Path(mark).write_text(word)
