"""Two nodes in virtual time, and an agent whose handlers stream and converse."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from node_lab import NodeLab, in_lab, until
from pydantic import BaseModel

from agents import Agent, Channel, Context, Net


class Word(BaseModel):
    text: str
    number: int


class Bench:
    """What its handlers did."""

    def __init__(self, name: str = "bench", *, limit: int = 8) -> None:
        self.agent = Agent(name)
        self.ended: Counter[str] = Counter()
        self.given = 0
        self.taken: list[Any] = []
        self.failures: list[BaseException] = []
        self.directory: Path | None = None
        serve = self.agent.serve

        @serve("lab.count", limit=limit)
        async def count(to: int, size: int = 0) -> AsyncIterator[Any]:
            """Count, with so many bytes beside each number."""
            try:
                for number in range(to):
                    yield [number, bytes(size)] if size else number
                    self.given += 1
            except BaseException as error:
                self.failures.append(error)
                raise
            finally:
                self.ended["count"] += 1

        @serve("lab.words")
        async def words(context: Context, text: str) -> AsyncIterator[Word]:
            for number, word in enumerate(text.split()):
                yield Word(text=f"{word} of {context.caller_name}", number=number)

        @serve("lab.fail_late")
        async def fail_late() -> AsyncIterator[int]:
            yield 1
            raise ZeroDivisionError("no luck")

        @serve("lab.odd")
        async def odd(size: int) -> AsyncIterator[Any]:
            yield bytes(size) if size else object()

        @serve("lab.slow")
        async def slow() -> AsyncIterator[int]:
            number = 0
            try:
                while True:
                    yield number
                    number += 1
                    await asyncio.sleep(0.3)
            except BaseException as error:
                self.failures.append(error)
                raise
            finally:
                self.ended["slow"] += 1

        @serve("lab.double")
        async def double(channel: Channel, times: int) -> None:
            try:
                async for value in channel:
                    self.taken.append(value)
                    await channel.send(value * times)
            except BaseException as error:
                self.failures.append(error)
                raise
            finally:
                self.ended["double"] += 1

        @serve("lab.sit")
        async def sit(channel: Channel) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                self.ended["sit"] += 1

        @serve("lab.refuse")
        async def refuse(channel: Channel) -> None:
            channel.abort("not today")

        @serve("lab.put")
        async def put(channel: Channel) -> None:
            assert self.directory is not None
            stored = await channel.receive_file(self.directory)
            await channel.send({"name": stored.path.name, "digest": stored.digest})

        @serve("lab.get")
        async def get(name: str, channel: Channel) -> None:
            assert self.directory is not None
            await channel.send_file(self.directory / name)

        @serve("lab.relay")
        async def relay(context: Context) -> AsyncIterator[int]:
            async for value in context.net.stream("lab.slow"):
                yield value

        @serve("lab.plain")
        async def plain() -> int:
            return 1

    async def until_ended(self, what: str) -> None:
        await until(lambda: self.ended[what], 60)  # a peer that died may come back within 30 s


Scenario = Callable[[NodeLab, Net, Bench], Coroutine[Any, Any, None]]


def between(directory: Path, scenario: Scenario, *, limit: int = 8) -> None:
    """Run with ada, who serves everything, and bob, whose net it is."""

    async def main(lab: NodeLab) -> None:
        bench = Bench(limit=limit)
        bench.directory = directory
        await lab.up("ada", [bench.agent])
        bob = await lab.up("bob")
        await bob.net.wait_for("lab.count")
        await scenario(lab, bob.net, bench)

    in_lab(directory, main, voters=1)
