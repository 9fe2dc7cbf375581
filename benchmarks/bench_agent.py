"""The agent of the measured nodes: it does nothing, or holds a task and says so."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from agents import Agent

agent = Agent("bench", capacity=16)


@agent.serve("bench.nothing")
async def nothing(number: int) -> int:
    """Return what was sent."""
    return number


@agent.serve("bench.pid")
async def pid() -> int:
    """Return which process this is."""
    return os.getpid()


@agent.serve("bench.hold")
async def hold(file: str, key: str, seconds: float = 60.0) -> None:
    """Write down who began which task and when, then wait."""
    line = f"{key} {os.getpid()} {time.time():.6f}\n"
    with Path(file).open("a") as marks:  # noqa: ASYNC230 - microseconds, and exact
        marks.write(line)
    await asyncio.sleep(seconds)
