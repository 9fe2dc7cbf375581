"""A stream as programs hold it: chunks in both directions, each at the pace of its reader.

    stream = await peer.open_stream(other, "files.put", b"")
    await stream.write(chunk)          # waits while the reader is behind
    await stream.finish()              # nothing more from us; the other side has everything
    async for chunk in stream: ...     # until the other side finishes

Each chunk arrives once and in order, however often the connection breaks meanwhile, or both sides
learn that the stream has ended before. What is acknowledged has been received by the other
process, which is not to say that its program has read it.

What this module does not know: other streams, how messages travel.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from keys import PeerId
from p2p.errors import MisuseError, P2PError, PayloadTooLarge, StreamAborted
from p2p.links import MAX_BODY_BYTES
from p2p.streams.core import End, State, StreamCore
from p2p.streams.outgoing import Chunk

# Others get the loop after so much, even when nothing has to be waited for.
YIELD_COST = 512 * 1024
CHUNK_COST = 4 * 1024  # what a chunk counts for beside its bytes


class StreamCalls(NamedTuple):
    """What a stream asks of the one who carries it."""

    label: Callable[[PeerId], str]
    pump: Callable[[Stream], None]  # say and send what there is
    written: Callable[[Stream], None]  # send it at the end of this turn of the loop
    give_up: Callable[[Stream, Exception], None]  # abort with this fault


class Stream:
    """One side of a stream; made by `Peer.open_stream`, or given to a handler.

    Attributes:
        peer_id: the other side.
        ident: the id of envelopes that we send; the other side's differ in the last bit, which
            is 1 where the opener speaks.
        what: how errors call it.
    """

    def __init__(
        self, peer_id: PeerId, ident: int, what: str, core: StreamCore, calls: StreamCalls
    ) -> None:
        self.peer_id = peer_id
        self.ident = ident
        self.what = what
        self.core = core
        self.is_unread = False  # nobody reads any more: what arrives is thrown away
        self.asks: tuple[bytes, int, bytes] = (b"", 0, b"")  # of `open`: payload, budget, trace
        self.opened: asyncio.Future[None] | None = None
        self.limit: asyncio.TimerHandle | None = None
        self._calls = calls
        self._failure: P2PError | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writers: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._finishers: list[asyncio.Future[None]] = []
        self._unyielded = 0
        self._yielding = 0

    @property
    def peer(self) -> str:
        """How people call the other side."""
        return self._calls.label(self.peer_id)

    @property
    def id(self) -> int:
        """Names it among the streams with this peer that the same side opened."""
        return self.ident >> 1

    @property
    def is_opener(self) -> bool:
        return bool(self.ident & 1)

    @property
    def sent_bytes(self) -> int:
        """Handed to the connection, each byte counted once."""
        return self.core.outgoing.sent_bytes

    @property
    def acknowledged_bytes(self) -> int:
        """Received by the other process."""
        return self.core.outgoing.acknowledged_bytes

    @property
    def received_bytes(self) -> int:
        return self.core.arriving.received_bytes

    @property
    def is_over(self) -> bool:
        """It has ended, well or not; what has arrived may still be read."""
        return self.core.state is State.ENDED

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Send one chunk of at most 1 MiB; it must not change afterwards.

        Returns when it is within what the reader has room for, so a slow reader slows the writer.

        Raises:
            PayloadTooLarge: cut it into smaller chunks.
            MisuseError: after `finish`.
            ConnectionLost: the other side is gone; it may have some of what was written.
            RemoteError: the other side aborted, or its handler failed.
        """
        if type(chunk) is not bytes:
            chunk = _as_bytes(chunk)
        size_bytes = len(chunk)
        outgoing = self.core.outgoing
        if size_bytes > MAX_BODY_BYTES:
            raise PayloadTooLarge(size_bytes, MAX_BODY_BYTES, "chunk")
        if outgoing.is_finished or self._writers or not outgoing.may_take(size_bytes):
            await self._wait_for_room(size_bytes)
        outgoing.take(chunk)
        self._calls.written(self)
        self._unyielded += size_bytes + CHUNK_COST
        if self._unyielded >= YIELD_COST:
            await self._yield()

    async def finish(self) -> None:
        """Say that nothing more comes, and return when the other side has received everything.

        Raises:
            ConnectionLost, RemoteError: it has not, or we cannot know.
        """
        core = self.core
        if core.state is not State.ENDED:
            core.outgoing.finish()
            self._calls.pump(self)
        while core.end is not End.DONE and not (core.end is None and core.outgoing.is_over):
            self._check()
            future = asyncio.get_running_loop().create_future()
            self._finishers.append(future)
            await future

    def abort(self, reason: str) -> None:
        """End it at once in both directions; the other side is told why. Harmless when over."""
        if not self.is_over:
            self._calls.give_up(self, StreamAborted(self.peer, self.what, reason))

    async def aclose(self) -> None:
        """Abort it, unless it is over."""
        self.abort("the other side closed it")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next chunk; what had arrived before an end of any kind comes first.

        Raises:
            ConnectionLost: the other side is gone.
            RemoteError: it aborted, or its handler failed.
        """
        arriving = self.core.arriving
        if not arriving.waiting:
            await self._wait_for_chunk()
        chunk, is_due = arriving.read()
        if is_due:
            self.core.tell()
            self._calls.pump(self)
        self._unyielded += len(chunk) + CHUNK_COST
        if self._unyielded >= YIELD_COST:
            await self._yield()
        return chunk

    # -- for those who carry it ----------------------------------------------------------------

    def arrived(self) -> None:
        """There is something to read, or it is known that nothing more comes."""
        reader = self._reader
        if reader is not None:
            self._reader = None
            if not reader.done():
                reader.set_result(None)

    def changed(self) -> None:
        """Wake whoever waits for what has become true."""
        outgoing, is_over = self.core.outgoing, self.core.state is State.ENDED
        if is_over or self.core.arriving.has_end:
            self.arrived()
        if self._finishers and (is_over or outgoing.is_over):
            finishers, self._finishers = self._finishers, []
            for future in finishers:
                _wake(future)
        if self._writers and (is_over or outgoing.may_take(self._writers[0][0])):
            _wake(self._writers[0][1])

    def fail(self, error: P2PError) -> bool:
        """It ended for this reason; returns whether anybody waits for it, and so hears of it."""
        if self._failure is None:
            self._failure = error
        is_heard = self._yielding > 0 or any(
            future is not None and not future.done()
            for future in (self._reader, *(f for _, f in self._writers), *self._finishers)
        )
        self.changed()
        return is_heard

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        if self.core.state is State.ENDED:
            raise MisuseError(f"{self.what}: the stream is over")

    async def _yield(self) -> None:
        """Let others have the loop."""
        self._unyielded = 0
        self._yielding += 1
        try:
            await asyncio.sleep(0)
        finally:
            self._yielding -= 1

    async def _wait_for_room(self, size_bytes: int) -> None:
        """Return when a chunk of this size may be taken; writers take turns."""
        outgoing = self.core.outgoing
        future = asyncio.get_running_loop().create_future()
        mine = (size_bytes, future)
        self._writers.append(mine)
        try:
            while True:
                self._check()
                if outgoing.is_finished:
                    raise MisuseError(f"{self.what}: nothing can be written after finish()")
                if self._writers[0] is mine and outgoing.may_take(size_bytes):
                    return
                await future
                future = asyncio.get_running_loop().create_future()
                turn = self._writers.index(mine)
                mine = (size_bytes, future)
                self._writers[turn] = mine
        finally:
            self._writers.remove(mine)
            if self._writers:
                asyncio.get_running_loop().call_soon(self.changed)

    async def _wait_for_chunk(self) -> None:
        """Return when there is something to read."""
        arriving = self.core.arriving
        while not arriving.waiting:
            if arriving.has_end:
                raise StopAsyncIteration
            self._check()
            if self._reader is not None:
                raise MisuseError(f"{self.what}: another task is reading it already")
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _as_bytes(chunk: bytes | bytearray | memoryview) -> Chunk:
    """The same memory, item by item a byte."""
    view = memoryview(chunk)
    if not view.c_contiguous:
        raise MisuseError("a chunk must lie in one piece of memory; pass bytes(chunk)")
    return view.cast("B") if view.nbytes else b""
