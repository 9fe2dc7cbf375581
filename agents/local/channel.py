"""Bytes in both directions between a program and an operation of the node.

Each side grants the other how many bytes may be under way, so that a slow reader slows the writer
and no more than `WINDOW_BYTES` and one item wait at either side. What steers a channel (grants,
ends, errors) needs no grant; so both sides always read their connection, and learn at once when
the other side has gone.

What this module does not know: sockets, what the operations do, what the items hold.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum
from typing import Any

from agents.errors import ChannelClosed, MisuseError

WINDOW_BYTES = 2 * 1024 * 1024
MAX_ITEM_BYTES = 1024 * 1024 + 64 * 1024
ITEM_COST_BYTES = 64  # so that empty items do not pile up either


class Tag(IntEnum):
    """What one message of a channel is."""

    ITEM = 0
    END = 1  # nothing more comes
    MORE = 2  # so many bytes may follow, 8 bytes big-endian
    CONFIRMED = 3  # everything up to the end was dealt with
    ABORT = 4  # a reason in words
    ERROR = 5  # the operation failed with this error
    OVER = 6  # the operation has ended well


Post = Callable[[Tag, bytes], None]


class GateChannel:
    """One side of a channel; both sides have the same face.

    Args:
        operation: what it was opened for, for errors.
        post: carries a message to the other side.

    Attributes:
        aborted: why the other side gave up, in words; None while it has not.
    """

    def __init__(self, operation: str, post: Post) -> None:
        self._operation = operation
        self._post = post
        self._items: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._read_bytes = 0
        self._room_bytes = WINDOW_BYTES
        self._ended = False
        self._finished = False
        self._confirmed = False
        self._failure: Exception | None = None
        self._changed: list[asyncio.Future[None]] = []
        self._on_close: Callable[[], Awaitable[None]] | None = None
        self.aborted: str | None = None

    async def send(self, item: bytes) -> None:
        """Send one item, once the other side has room.

        Raises:
            ChannelClosed, NodeNotUp: the other side is gone.
            Exception: the error with which the operation failed.
        """
        if len(item) > MAX_ITEM_BYTES:
            raise MisuseError(f"an item of {len(item):,} bytes is over {MAX_ITEM_BYTES:,}")
        while True:
            if self._finished:
                raise MisuseError(f"{self._operation}: nothing can be sent after finish()")
            self._check()
            if self._room_bytes > 0:
                break
            await self._change()
        self._room_bytes -= len(item) + ITEM_COST_BYTES
        self._post(Tag.ITEM, item)

    async def finish(self) -> None:
        """Say that nothing more comes, and return when the other side has dealt with it all.

        Raises:
            as `send`.
        """
        self.end()
        while not self._confirmed:
            self._check()
            await self._change()

    def end(self) -> None:
        """Say that nothing more comes, and wait for nothing."""
        if not self._finished and self._failure is None:
            self._finished = True
            self._post(Tag.END, b"")

    def confirm(self) -> None:
        """Tell the other side that all it sent is dealt with, so that its `finish` returns."""
        if self._failure is None:
            self._post(Tag.CONFIRMED, b"")

    def abort(self, reason: str) -> None:
        """End it in both directions at once. Harmless when it is over."""
        if self._failure is None:
            self._post(Tag.ABORT, reason.encode())
            self.fail(ChannelClosed(self._operation, reason))

    async def aclose(self) -> None:
        """Abort it unless it is over, and return when nothing of it runs any more."""
        self.abort("the program closed it")
        if self._on_close is not None:
            await self._on_close()

    def __aiter__(self) -> GateChannel:
        return self

    async def __anext__(self) -> bytes:
        while not self._items:
            if self._ended:
                raise StopAsyncIteration
            self._check()
            await self._change()
        item = self._items.popleft()
        cost = len(item) + ITEM_COST_BYTES
        self._waiting_bytes -= cost
        self._read_bytes += cost
        if self._read_bytes >= WINDOW_BYTES // 4:
            if self._failure is None:
                self._post(Tag.MORE, self._read_bytes.to_bytes(8, "big"))
            self._read_bytes = 0
        return item

    # -- for those who carry it ----------------------------------------------------------------

    def when_closed(self, on_close: Callable[[], Awaitable[None]]) -> None:
        """Have this awaited by `aclose`."""
        self._on_close = on_close

    def take(self, tag: int, body: bytes) -> bool:
        """Take a message of the other side; False for one that breaks the rules."""
        if tag == Tag.ITEM:
            if self._waiting_bytes > WINDOW_BYTES or self._ended:
                return False
            self._waiting_bytes += len(body) + ITEM_COST_BYTES
            self._items.append(body)
        elif tag == Tag.END:
            self._ended = True
        elif tag == Tag.MORE:
            self._room_bytes += int.from_bytes(body[:8], "big")
            if self._room_bytes > WINDOW_BYTES:
                return False
        elif tag == Tag.CONFIRMED:
            self._confirmed = True
        elif tag == Tag.ABORT:
            self.aborted = body.decode(errors="replace")
            self.fail(ChannelClosed(self._operation, self.aborted))
        else:
            return False
        self._wake()
        return True

    def fail(self, error: Exception) -> None:
        """It is over for this reason; what has arrived can still be read."""
        if self._failure is None:
            self._failure = error
        self._wake()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure.with_traceback(None)

    async def _change(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._changed.append(future)
        await future

    def _wake(self) -> None:
        waiting, self._changed = self._changed, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


Duplex = Callable[[Mapping[str, Any], GateChannel], Awaitable[None]]


async def run_duplex(
    operation: Duplex, params: Mapping[str, Any], channel: GateChannel
) -> Exception | None:
    """Run an operation on the node's side of a channel; return the error that it failed with.

    When it returns, the channel ends in the direction of the program.
    """
    try:
        await operation(params, channel)
    except Exception as error:  # noqa: BLE001 - every failure belongs to the one who asked
        return error
    channel.end()
    return None
