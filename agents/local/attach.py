"""The other end of the local door: a gate to the node that runs in a directory.

Requests share one connection. A stream and a channel have a connection of their own, so that a
program that reads one slowly slows it alone, and may make requests while it holds one.

What this module does not know: what the operations do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

from agents.errors import ChannelClosed, NodeNotUp
from agents.hosting.values import from_bytes
from agents.local.channel import MAX_ITEM_BYTES, GateChannel, Tag
from agents.local.frames import (
    BadLocalFrame,
    frame_of,
    read_channel_frame,
    read_frame,
    rebuild_error,
    write_channel_frame,
)


class AttachedGate:
    """A connection to a node on this machine; made by `attach`."""

    def __init__(
        self, home: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._home = home
        self._reader = reader
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._last_id = 0
        self._channels: set[asyncio.Task[None]] = set()
        self._task = asyncio.get_running_loop().create_task(self._receive())

    async def request(self, operation: str, params: Mapping[str, Any]) -> Any:
        """See `Gate.request`.

        Raises:
            NodeNotUp: the node stopped in between.
        """
        if self._task.done():
            raise NodeNotUp(str(self._home))
        frame = frame_of([self._last_id + 1, operation, dict(params)])
        self._last_id += 1
        request_id = self._last_id
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = answer
        self._writer.write(frame)
        try:
            return await answer
        except asyncio.CancelledError:
            if not self._writer.is_closing():
                self._writer.write(frame_of([-request_id, "", {}]))
            raise
        finally:
            self._waiting.pop(request_id, None)

    async def stream(self, operation: str, params: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """See `Gate.stream`."""
        reader, writer = await _connect(self._home)
        try:
            writer.write(frame_of([1, operation, dict(params)]))
            while (message := await read_frame(reader)) is not None:
                _, tag, value = message
                if tag == "error":
                    raise rebuild_error(value)
                if tag == "end":
                    return
                yield value
            raise NodeNotUp(str(self._home))
        finally:
            writer.close()

    async def open(self, operation: str, params: Mapping[str, Any]) -> GateChannel:
        """See `Gate.open`."""
        reader, writer = await _connect(self._home)
        writer.write(frame_of([1, operation, dict(params)]))
        channel = GateChannel(operation, lambda tag, body: write_channel_frame(writer, tag, body))
        reading = asyncio.get_running_loop().create_task(self._feed(operation, channel, reader))
        self._channels.add(reading)
        reading.add_done_callback(self._channels.discard)

        async def closed() -> None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

        channel.when_closed(closed)
        return channel

    async def _feed(
        self, operation: str, channel: GateChannel, reader: asyncio.StreamReader
    ) -> None:
        """Hand over what the node says, until it says no more."""
        gone: Exception = NodeNotUp(str(self._home))
        try:
            while (said := await read_channel_frame(reader, MAX_ITEM_BYTES)) is not None:
                tag, body = said
                if tag == Tag.ERROR:
                    gone = rebuild_error(from_bytes(body))
                    return
                if tag == Tag.OVER:
                    gone = ChannelClosed(operation, "the other side has ended")
                    return
                if not channel.take(tag, body):
                    gone = BadLocalFrame(f"{operation}: the node says what it may not")
                    return
        finally:
            channel.fail(gone)

    async def close(self) -> None:
        """Let go of the node; it stays up."""
        tasks = [self._task, *self._channels]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _receive(self) -> None:
        try:
            while (message := await read_frame(self._reader)) is not None:
                request_id, tag, value = message
                answer = self._waiting.get(request_id)
                if answer is None or answer.done():
                    continue
                if tag == "ok":
                    answer.set_result(value)
                else:
                    answer.set_exception(rebuild_error(value))
        finally:
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(NodeNotUp(str(self._home)))


async def attach(home: Path) -> AttachedGate:
    """Connect to the node that runs in this directory.

    Raises:
        NodeNotUp: none runs there.
    """
    return AttachedGate(home, *await _connect(home))


async def _connect(home: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        said = json.loads((home / "node.json").read_text())
        return await asyncio.open_unix_connection(said["socket"])
    except (OSError, ValueError, KeyError, TypeError):
        raise NodeNotUp(str(home)) from None
