"""Sealed streams: one session key, sealed for the provider, and every chunk under it.

    agents.stream   payload 0xc1, then a message sealed for the provider with the purpose `stream`,
                    taken once, of `[session key, the message of the stream]`

The first chunk of the provider says that the handler has begun, as ever; that it opens says that
the provider holds the key. What follows is `keys.ChunkSealer` in both directions.

What this module does not know: who provides, handlers, how chunks travel.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from agents.hosting.values import from_bytes, to_bytes
from agents.sealing.service import Sealing
from agents.sealing.topics import MARK
from keys import PeerId
from keys.sealing import (
    ChunkOpener,
    ChunkSealer,
    SealedMalformed,
    SealedStreamBroken,
    direction_key,
    new_session_key,
)
from p2p import Clock, PayloadError, Stream

PURPOSE: Final = "stream"
_KEY_BYTES: Final = 32


class SealedPipe:
    """A stream whose chunks are sealed; a `Pipe` as the stream below it."""

    def __init__(
        self, stream: Stream, clock: Clock, session_key: bytes, own: PeerId, other: PeerId
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._sealer = ChunkSealer(direction_key(session_key, own, other), clock.now_ms())
        self._opener = ChunkOpener(direction_key(session_key, other, own))
        self._turn = asyncio.Lock()
        self._has_ended = False

    @property
    def peer(self) -> str:
        """How people call the other side."""
        return self._stream.peer

    @property
    def what(self) -> str:
        """What it was opened for."""
        return self._stream.what

    async def write(self, chunk: bytes) -> None:
        """See `Stream.write`. One that is cancelled half way ends the stream: the next chunk
        could not be opened without it."""
        await self._write(chunk, is_last=False)

    async def finish(self) -> None:
        """See `Stream.finish`."""
        await self.end()
        await self._stream.finish()

    async def end(self) -> None:
        """Write what says that nothing more comes, unless that was written."""
        if not self._has_ended:
            await self._write(b"", is_last=True)

    async def _write(self, chunk: bytes, *, is_last: bool) -> None:
        async with self._turn:
            if self._has_ended:
                raise SealedStreamBroken("nothing can be written after its end")
            self._has_ended = is_last
            sealed = self._sealer.seal(bytes(chunk), self._clock.now_ms(), is_last=is_last)
            try:
                await self._stream.write(sealed)
            except asyncio.CancelledError:
                self._stream.abort("a sealed chunk was given up half way")
                raise

    def abort(self, reason: str) -> None:
        """See `Stream.abort`."""
        self._stream.abort(reason)

    async def aclose(self) -> None:
        """See `Stream.aclose`."""
        await self._stream.aclose()

    def __aiter__(self) -> SealedPipe:
        return self

    async def __anext__(self) -> bytes:
        """See `Stream.__anext__`.

        Raises:
            SealedStreamBroken: a chunk does not open, or the last one is missing.
        """
        try:
            while True:
                chunk = self._opener.open(await anext(self._stream))
                if not self._opener.is_over:
                    return chunk
        except StopAsyncIteration:
            self._opener.finish()
            raise
        except SealedStreamBroken:
            self._stream.abort("a sealed chunk does not open")
            raise


class SealedStreams:
    """Opens and accepts the sealed streams of one node."""

    def __init__(self, sealing: Sealing, own: PeerId, clock: Clock) -> None:
        self._sealing = sealing
        self._own = own
        self._clock = clock

    async def ask(self, to: PeerId, message: bytes) -> tuple[bytes, bytes]:
        """The session key of a new stream, and the payload that opens it at its provider.

        Raises:
            NoSealingKey, HybridUnavailable, InvalidValue.
        """
        key = new_session_key()
        inside = to_bytes([key, message])
        sealed = await self._sealing.seal([to], PURPOSE, inside, with_chain=False)
        return key, MARK + sealed

    def answer(self, caller: PeerId, payload: bytes) -> tuple[bytes | None, bytes]:
        """The session key, None for a stream that is not sealed, and the message of a stream.

        Raises:
            SealedRefused: it is not for us, not of the caller, or came before.
        """
        if payload[:1] != MARK:
            return None, payload
        opened = self._sealing.unseal(payload[1:], PURPOSE, is_stored=False, sender=caller)
        try:
            value: Any = from_bytes(opened.payload)
        except PayloadError as error:
            raise SealedMalformed(str(error)) from error
        if not (isinstance(value, list) and [type(v) for v in value] == [bytes, bytes]):
            raise SealedMalformed("it does not hold a session key and a message")
        if len(value[0]) != _KEY_BYTES:
            raise SealedMalformed("its session key is none")
        return value[0], value[1]

    def pipe(self, stream: Stream, key: bytes, other: PeerId) -> SealedPipe:
        """A stream between us and another peer under a session key."""
        return SealedPipe(stream, self._clock, key, self._own, other)
