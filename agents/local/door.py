"""The local door: a Unix socket in the node's own directory, for programs of the same user.

The directory is 0700 and the socket 0600, and the kernel tells us the other side's user; anyone
else is turned away. It carries the node's operations and nothing of the network.

What this module does not know: what the operations do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import socket
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

from agents.errors import AgentsError, ChannelClosed
from agents.hosting.values import to_bytes
from agents.local.channel import (
    MAX_ITEM_BYTES,
    Duplex,
    GateChannel,
    Tag,
    run_duplex,
)
from agents.local.frames import (
    LOCAL_VERSION,
    BadLocalFrame,
    describe_error,
    frame_of,
    read_channel_frame,
    read_frame,
    write_channel_frame,
)
from agents.local.gate import Operation, Stream, Table

log = logging.getLogger("conclave.agents.local")

MAX_SOCKET_PATH = 100
MAX_UNDER_WAY = 4096


class LocalDoor:
    """Serves a node's operations to this user's other programs.

    Args:
        home: the node's directory; `node.json` there says where the socket is.
    """

    def __init__(self, home: Path, table: Table) -> None:
        self._home = home
        self._table = table
        self._server: asyncio.Server | None = None
        self._directory: Path | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> LocalDoor:
        path = self._home / "node.sock"
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            self._directory = Path(tempfile.mkdtemp(prefix="conclave-"))
            path = self._directory / "node.sock"
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._welcome, path)
        finally:
            os.umask(before)
        said = {"pid": os.getpid(), "socket": str(path), "version": LOCAL_VERSION}
        card = self._home / "node.json"
        card.write_text(json.dumps(said))
        card.chmod(0o600)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        for name in ("node.json", "node.sock"):
            (self._home / name).unlink(missing_ok=True)
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if _peer_user(writer) not in (None, os.getuid()):
                log.warning("another user of this machine knocked at the local door")
                return
            await _Connection(self._table, reader, writer).serve()
        except asyncio.CancelledError:
            pass
        finally:
            self._connections.discard(task)
            with contextlib.suppress(OSError):
                writer.close()


class _Connection:
    """One attached program."""

    def __init__(
        self, table: Table, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._table = table
        self._reader = reader
        self._writer = writer
        self._under_way: dict[int, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        try:
            while True:
                try:
                    message = await read_frame(self._reader)
                except BadLocalFrame as error:
                    self._write([0, "error", describe_error(error)])
                    return
                if not (isinstance(message, list) and len(message) == 3):
                    return
                request_id, operation, params = message
                is_word = isinstance(operation, str) and isinstance(params, dict)
                if is_word and operation in self._table.channels and not self._under_way:
                    await self._converse(operation, self._table.channels[operation], params)
                    return
                self._take(request_id, operation, params)
        finally:
            tasks = list(self._under_way.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _take(self, request_id: Any, operation: Any, params: Any) -> None:
        if type(request_id) is not int or not (
            isinstance(operation, str) and isinstance(params, dict)
        ):
            return
        if request_id < 0:
            running = self._under_way.get(-request_id)
            if running is not None:
                running.cancel()
            return
        if request_id in self._under_way:
            twice = AgentsError(f"request {request_id} is already under way on this connection")
            self._write([request_id, "error", describe_error(twice)])
            return
        if operation in self._table.requests:
            work = self._answer(request_id, self._table.requests[operation], params)
        elif operation in self._table.streams:
            work = self._report(request_id, self._table.streams[operation], params)
        else:
            unknown = AgentsError(f"this node has no operation {operation!r}; versions differ?")
            self._write([request_id, "error", describe_error(unknown)])
            return
        if len(self._under_way) >= MAX_UNDER_WAY:
            work.close()
            full = AgentsError(f"{MAX_UNDER_WAY} operations are under way on this connection")
            self._write([request_id, "error", describe_error(full)])
            return
        task = asyncio.get_running_loop().create_task(work)
        self._under_way[request_id] = task
        task.add_done_callback(lambda _: self._under_way.pop(request_id, None))

    async def _converse(self, operation: str, run: Duplex, params: dict[str, Any]) -> None:
        """This connection is a channel from now on; the program's end is the operation's."""
        channel = GateChannel(
            operation, lambda tag, body: write_channel_frame(self._writer, tag, body)
        )
        task = asyncio.get_running_loop().create_task(run_duplex(run, params, channel))
        reading = asyncio.get_running_loop().create_task(self._feed(channel))
        try:
            await asyncio.wait({task, reading}, return_when=asyncio.FIRST_COMPLETED)
            if task.done() and not task.cancelled():
                error = task.result()
                said = (Tag.ERROR, to_bytes(describe_error(error))) if error else (Tag.OVER, b"")
                write_channel_frame(self._writer, *said)
                # Closed now, it would cost the program what it has not read yet, as soon as that
                # says anything: the program lets go of it when it knows how it ended.
                await reading
            channel.fail(ChannelClosed(operation, "the program has gone"))
        finally:
            task.cancel()
            reading.cancel()
            await asyncio.gather(task, reading, return_exceptions=True)

    async def _feed(self, channel: GateChannel) -> None:
        """Return when the program has gone, given up, or broken the rules."""
        with contextlib.suppress(BadLocalFrame):
            while (said := await read_channel_frame(self._reader, MAX_ITEM_BYTES)) is not None:
                if not channel.take(*said) or channel.aborted is not None:
                    return

    async def _answer(self, request_id: int, run: Operation, params: dict[str, Any]) -> None:
        try:
            self._write([request_id, "ok", await run(params)])
        except Exception as error:  # noqa: BLE001 - every failure belongs to the one who asked
            self._write([request_id, "error", describe_error(error)])

    async def _report(self, request_id: int, run: Stream, params: dict[str, Any]) -> None:
        try:
            async for item in run(params):
                self._write([request_id, "item", item])
                await self._writer.drain()
            self._write([request_id, "end", None])
        except Exception as error:  # noqa: BLE001 - every failure belongs to the one who asked
            self._write([request_id, "error", describe_error(error)])

    def _write(self, message: list[Any]) -> None:
        if not self._writer.is_closing():
            self._writer.write(frame_of(message))


def _peer_user(writer: asyncio.StreamWriter) -> int | None:
    """Return the user id at the other end, or None where the system does not say."""
    if not sys.platform.startswith("linux"):
        return None
    sock = writer.get_extra_info("socket")
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", credentials)
    return int(user)
