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
from collections.abc import Callable
from typing import NamedTuple

from keys import PeerId
from p2p.errors import MisuseError, P2PError, PayloadTooLarge, StreamAborted
from p2p.links import MAX_BODY_BYTES
from p2p.streams.core import End, State, StreamCore
from p2p.streams.outgoing import Chunk

YIELD_BYTES = 256 * 1024  # a writer with credit lets others have the loop after so much
YIELD_CHUNKS = 64


class StreamCalls(NamedTuple):
    """What a stream asks of the one who carries it."""

    label: Callable[[PeerId], str]
    pump: Callable[[Stream], None]  # send what may be sent
    tell: Callable[[Stream], None]  # grant what was read
    give_up: Callable[[Stream, Exception], None]  # abort with this fault


class Stream:
    """One side of a stream; made by `Peer.open_stream`, or given to a handler.

    Attributes:
        peer_id: the other side.
        number, is_opener: which of all streams with it.
        what: how errors call it.
    """

    def __init__(
        self,
        peer_id: PeerId,
        number: int,
        is_opener: bool,
        what: str,
        core: StreamCore,
        calls: StreamCalls,
    ) -> None:
        self.peer_id = peer_id
        self.number = number
        self.is_opener = is_opener
        self.what = what
        self.core = core
        self._calls = calls
        self._failure: P2PError | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._since_yield = 0

    @property
    def peer(self) -> str:
        """How people call the other side."""
        return self._calls.label(self.peer_id)

    @property
    def sent_bytes(self) -> int:
        return self.core.outgoing.sent_bytes

    @property
    def acknowledged_bytes(self) -> int:
        return self.core.outgoing.acknowledged_bytes

    @property
    def received_bytes(self) -> int:
        return self.core.arriving.received_bytes

    @property
    def is_over(self) -> bool:
        """It has ended, well or not; what has arrived may still be read."""
        return self.core.state is State.ENDED

    async def write(self, chunk: Chunk) -> None:
        """Send one chunk of at most 1 MiB; it must not change afterwards.

        Returns when it is within what the reader has room for, so a slow reader slows the writer.

        Raises:
            PayloadTooLarge: cut it into smaller chunks.
            MisuseError: after `finish`.
            ConnectionLost: the other side is gone; it may have some of what was written.
            RemoteError: the other side aborted, or its handler failed.
        """
        size_bytes = len(chunk)
        if size_bytes > MAX_BODY_BYTES:
            raise PayloadTooLarge(size_bytes, MAX_BODY_BYTES, "chunk")
        core = self.core
        outgoing = core.outgoing
        while True:
            self._check()
            if outgoing.is_finished:
                raise MisuseError(f"{self.what}: nothing can be written after finish()")
            if outgoing.may_take(size_bytes):
                break
            await self._change()
        outgoing.take(chunk)
        self._calls.pump(self)
        self._since_yield += size_bytes + YIELD_BYTES // YIELD_CHUNKS
        if self._since_yield >= YIELD_BYTES:
            self._since_yield = 0
            await asyncio.sleep(0)

    async def finish(self) -> None:
        """Say that nothing more comes, and return when the other side has received everything.

        Raises:
            ConnectionLost, RemoteError: it has not, or we cannot know.
        """
        outgoing = self.core.outgoing
        if self.core.end is not End.DONE:
            self._check()
            outgoing.finish()
            self._calls.pump(self)
        while self.core.end is not End.DONE and not outgoing.is_over:
            self._check()
            await self._change()
        if self.core.end is not End.DONE:
            self._check()

    def abort(self, reason: str) -> None:
        """End it at once in both directions; the other side is told why. Harmless when over."""
        if not self.is_over:
            self._calls.give_up(self, StreamAborted(self.peer, self.what, reason))

    async def aclose(self) -> None:
        """Abort it, unless it is over."""
        self.abort("the other side closed it")

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> bytes:
        """Return the next chunk; what had arrived before an end of any kind comes first.

        Raises:
            ConnectionLost: the other side is gone.
            RemoteError: it aborted, or its handler failed.
        """
        arriving = self.core.arriving
        while not len(arriving):
            if arriving.has_end:
                raise StopAsyncIteration
            self._check()
            await self._change()
        chunk = arriving.read()
        if arriving.credit_is_due() and not self.is_over:
            self._calls.tell(self)
        return chunk

    # -- for those who carry it ----------------------------------------------------------------

    def changed(self) -> None:
        """Wake whoever waits for anything."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def fail(self, error: P2PError) -> None:
        """It ended for this reason."""
        if self._failure is None:
            self._failure = error
        self.changed()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        if self.core.end is End.DONE:
            raise MisuseError(f"{self.what}: the stream is over")

    async def _change(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future
