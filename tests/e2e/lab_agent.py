"""The agent of the end-to-end tests: it adds, fails, answers nonsense, leaves marks in files."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from agents import Agent, Context, GiveUp

agent = Agent("bench", capacity=2)


@agent.serve("lab.add")
async def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


@agent.serve("lab.fail")
def fail(word: str) -> None:
    """Raise."""
    raise ZeroDivisionError(f"no {word}\nand a second line \x1b[31m")


@agent.serve("lab.give_up")
def give_up() -> None:
    raise GiveUp("this one cannot be done")


@agent.serve("lab.object")
def nothing_plain() -> object:
    """Return what cannot travel."""
    return object()


@agent.serve("lab.echo")
async def echo(value: str) -> str:
    return value


@agent.serve("lab.blob")
async def blob(size: int) -> bytes:
    return bytes(size)


@agent.serve("lab.where")
async def where() -> int:
    return os.getpid()


@agent.serve("lab.mark")
async def mark(path: str, key: str, hold_s: float, context: Context) -> int:
    """Write who began, hold the task for a while, write who ended it."""
    await asyncio.to_thread(note, path, f"{key} began {os.getpid()}")
    await asyncio.sleep(hold_s)
    await asyncio.to_thread(note, path, f"{key} ended {os.getpid()}")
    return context.task.token if context.task else 0


def note(path: str, line: str) -> None:
    with Path(path).open("a") as file:
        file.write(line + "\n")
