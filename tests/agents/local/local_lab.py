"""A local door with a few operations, and raw clients of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from agents.local import Duplex, GateChannel, LocalDoor, Operation, Stream, Table, attach
from agents.local.frames import frame_of, read_frame

T = TypeVar("T")


def run(body: Coroutine[Any, Any, T]) -> T:
    """Under a deadline, and with every fault that only the loop saw made into a failure."""
    faults: list[str] = []

    async def main() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, c: faults.append(str(c)))
        async with asyncio.timeout(10):
            return await body

    value = asyncio.run(main())
    assert faults == []
    return value


class Desk:
    """What the door of these tests serves, and what came of it."""

    def __init__(self) -> None:
        self.ended: Counter[str] = Counter()
        self.begun = asyncio.Event()
        self.error: Exception | None = None
        requests: Mapping[str, Operation] = {
            "echo": self._echo,
            "fail": self._fail,
            "hold": self._hold,
            "odd": self._odd,
        }
        streams: Mapping[str, Stream] = {"count": self._count, "fail_late": self._fail_late}
        channels: Mapping[str, Duplex] = {
            "double": self._double,
            "flood": self._flood,
            "quit": self._quit,
            "sit": self._sit,
        }
        self.table = Table(requests, streams, channels)
        self.taken_bytes = 0
        self.given_bytes = 0
        self.reading = asyncio.Event()
        self.reason: str | None = None

    async def _echo(self, params: Mapping[str, Any]) -> Any:
        return params

    async def _fail(self, params: Mapping[str, Any]) -> Any:
        assert self.error is not None
        raise self.error

    async def _hold(self, params: Mapping[str, Any]) -> Any:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended["hold"] += 1

    async def _odd(self, params: Mapping[str, Any]) -> Any:
        return object()

    async def _count(self, params: Mapping[str, Any]) -> AsyncIterator[Any]:
        try:
            for number in range(int(params["to"])):
                yield number
        finally:
            self.ended["count"] += 1

    async def _fail_late(self, params: Mapping[str, Any]) -> AsyncIterator[Any]:
        yield 0
        assert self.error is not None
        raise self.error

    async def _double(self, params: Mapping[str, Any], channel: GateChannel) -> None:
        async for item in channel:
            await channel.send(item * 2)
        channel.confirm()

    async def _flood(self, params: Mapping[str, Any], channel: GateChannel) -> None:
        while True:
            await channel.send(bytes(1024))
            self.given_bytes += 1024

    async def _quit(self, params: Mapping[str, Any], channel: GateChannel) -> None:
        await channel.send(b"last words")
        if self.error is not None:
            raise self.error

    async def _sit(self, params: Mapping[str, Any], channel: GateChannel) -> None:
        """Read nothing before it is told to, and count what comes then."""
        self.begun.set()
        try:
            await self.reading.wait()
            async for item in channel:
                self.taken_bytes += len(item)
            channel.confirm()
        except asyncio.CancelledError:
            self.reason = channel.aborted
            raise
        finally:
            self.ended["sit"] += 1

    async def until_ended(self, what: str) -> None:
        while not self.ended[what]:
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def door(home: Path) -> AsyncIterator[Desk]:
    """An open door that still answers an honest program at the end."""
    desk = Desk()
    async with LocalDoor(home, desk.table):
        yield desk
        gate = await attach(home)
        assert await gate.request("echo", {"a": 1}) == {"a": 1}
        await gate.close()


async def say(home: Path, data: bytes) -> Any:
    """Write bytes, end, and return the first answer if there is one."""
    reader, writer = await asyncio.open_unix_connection(str(home / "node.sock"))
    try:
        writer.write(data)
        writer.write_eof()
        return await read_frame(reader)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def frame(*values: Any) -> bytes:
    return b"".join(frame_of(value) for value in values)
