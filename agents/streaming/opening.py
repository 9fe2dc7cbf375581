"""Opening streams: find who offers a capability, open, and try another where that is safe.

It goes to the next provider after a refusal that is definite, as a call does. A stream that has
begun is never moved to another. It counts as outstanding at its provider until it ends, so that
balancers see who is busy.

What this module does not know: how handlers run, what values mean, programs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NoReturn

from agents.calling import (
    NEXT_MAY_DO,
    NORMAL,
    PROVIDER_WAIT_S,
    Calling,
    Course,
    Wishes,
    as_asked,
    nobody_was_asked,
    outcome_of,
)
from agents.choosing import Chooser, Destination, Outcome
from agents.hosting import handler_deadline_ms
from agents.sealing import SealedPipe, SealedStreams
from agents.streaming.serving import STREAM
from keys import PeerId
from p2p import Cancelled, Clock, DeadlineExceeded, P2PError, Peer, Stream, StreamAborted

OPEN_TIMEOUT_S: Final = 10.0
# The handler's clock starts later than ours and is read in milliseconds; it may cancel first.
ABOUT_MS: Final = 250

OnEnd = Callable[[P2PError | None], None]


class Opened:
    """A stream that has begun; a `Pipe` whose errors name the capability.

    Args:
        deadline_ms, deadline_s: when all of it must end, and what was allowed; None for never.
        on_end: told once how it ended, as far as the provider is concerned.
    """

    def __init__(
        self,
        stream: Stream | SealedPipe,
        clock: Clock,
        deadline_ms: int | None,
        deadline_s: float | None,
        on_end: OnEnd,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._deadline_ms = deadline_ms
        self._deadline_s = deadline_s
        self._on_end: OnEnd | None = on_end
        self._failure: P2PError | None = None

    @property
    def peer(self) -> str:
        """How people call the provider."""
        return self._stream.peer

    async def write(self, chunk: bytes) -> None:
        """See `Stream.write`; a deadline that has passed is `DeadlineExceeded`."""
        try:
            await self._stream.write(chunk)
        except P2PError as error:
            self._fail(error)

    async def finish(self) -> None:
        """See `Stream.finish`."""
        try:
            await self._stream.finish()
        except P2PError as error:
            self._fail(error)

    def abort(self, reason: str) -> None:
        """See `Stream.abort`."""
        self._stream.abort(reason)

    async def aclose(self) -> None:
        """Abort it unless it is over, and have done with it."""
        await self._stream.aclose()
        if self._on_end is not None:
            on_end, self._on_end = self._on_end, None
            on_end(self._failure)

    def __aiter__(self) -> Opened:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._stream)
        except P2PError as error:
            self._fail(error)

    def _fail(self, error: P2PError) -> NoReturn:
        deadline_ms = self._deadline_ms
        if (
            isinstance(error, (Cancelled, DeadlineExceeded))
            and deadline_ms is not None
            and self._clock.now_ms() + ABOUT_MS >= deadline_ms
        ):
            error = DeadlineExceeded(self.peer, self._stream.what, self._deadline_s or 0)
        self._failure = error
        raise error from None


class Opening:
    """Opens the streams of one node."""

    def __init__(
        self, peer: Peer, calling: Calling, clock: Clock, sealed_streams: SealedStreams
    ) -> None:
        self._peer = peer
        self._calling = calling
        self._clock = clock
        self._sealed_streams = sealed_streams

    async def open(
        self,
        capability: str,
        message: bytes,
        deadline_s: float | None,
        wishes: Wishes,
        window_bytes: int | None = None,
        *,
        is_sealed: bool = False,
    ) -> Opened:
        """Return a stream whose handler has begun; close it.

        Args:
            deadline_s: for all of it; inside a handler no more than what that one has left.
            window_bytes: how much may wait here unread.
            is_sealed: seal the message and every chunk for the provider.

        Raises:
            NoProvider, CircuitOpen, PeerUnreachable, Overloaded, NoSuchMethod: nobody has begun.
            BadRequest, PermissionDenied: the provider refused.
            DeadlineExceeded, ConnectionLost: it may have begun, and is aborted.
        """
        wishes.check(capability)
        calling = self._calling
        above_ms = handler_deadline_ms()
        deadline_ms = above_ms if deadline_s is None else calling.caller.deadline_ms(deadline_s)
        allowed_s = deadline_s
        if deadline_ms == above_ms:
            allowed_s = self._left_s(capability, deadline_ms, Course())
        if wishes.to is None and calling.choosers.of(capability) is None:
            left_s = self._left_s(capability, deadline_ms, Course())
            wait_s = PROVIDER_WAIT_S if left_s is None else min(left_s, PROVIDER_WAIT_S)
            await calling.wait_for(capability, wait_s)
        try:
            stream, on_end = await self._find(
                capability, message, deadline_ms, wishes, window_bytes, is_sealed=is_sealed
            )
        except DeadlineExceeded as error:
            if deadline_s is None or deadline_ms is None:
                raise
            raise as_asked(error, deadline_s, deadline_ms, self._clock.now_ms()) from None
        return Opened(stream, self._clock, deadline_ms, allowed_s, on_end)

    async def _find(
        self,
        capability: str,
        message: bytes,
        deadline_ms: int | None,
        wishes: Wishes,
        window_bytes: int | None,
        *,
        is_sealed: bool,
    ) -> tuple[Stream | SealedPipe, OnEnd]:
        """Open at one provider after another, until a handler has begun."""
        calling, course = self._calling, Course()
        while True:
            left_s = self._left_s(capability, deadline_ms, course)
            providers = calling.choosers.of(capability)
            chooser = providers.chooser if providers is not None else None
            if wishes.to is not None and (chooser is None or chooser.of(wishes.to) is None):
                if course.failure is not None:
                    raise course.failure
                stream = await self._begin(
                    wishes.to, capability, message, left_s, window_bytes, is_sealed=is_sealed
                )
                return stream, lambda error: None
            if chooser is None:
                raise course.failure or calling.nobody(capability)
            one = calling.caller.next(capability, chooser, wishes, course, self._clock.now_ms())
            try:
                return await self._attempt(
                    chooser, one, capability, message, left_s, window_bytes, is_sealed=is_sealed
                )
            except NEXT_MAY_DO as error:
                course.failure = error
                course.refused.append(one)

    async def _attempt(
        self,
        chooser: Chooser,
        one: Destination,
        capability: str,
        message: bytes,
        left_s: float | None,
        window_bytes: int | None,
        *,
        is_sealed: bool,
    ) -> tuple[Stream | SealedPipe, OnEnd]:
        """Open at one provider, and remember how it did."""
        time = asyncio.get_running_loop().time
        began_s = time()
        is_probe = chooser.begin(one, self._clock.now_ms())
        took_us = 0

        def ended(error: BaseException | None) -> None:
            outcome = Outcome.ANSWERED
            if error is not None:
                outcome = Outcome.ABANDONED
                if isinstance(error, P2PError) and self._calling.caller.tells(error, one, NORMAL):
                    outcome = outcome_of(error)
            chooser.end(one, is_probe, outcome, took_us, self._clock.now_ms())

        try:
            to = PeerId(one.peer)
            stream = await self._begin(
                to, capability, message, left_s, window_bytes, is_sealed=is_sealed
            )
        except BaseException as error:
            took_us = int((time() - began_s) * 1_000_000)
            ended(error)
            raise
        took_us = int((time() - began_s) * 1_000_000)
        if is_probe:  # the breaker need not wait for the end of a long stream
            ended(None)
            return stream, lambda error: None
        return stream, ended

    async def _begin(
        self,
        to: PeerId,
        capability: str,
        message: bytes,
        left_s: float | None,
        window_bytes: int | None,
        *,
        is_sealed: bool,
    ) -> Stream | SealedPipe:
        """Open, and wait until the handler has begun."""
        timeout_s = OPEN_TIMEOUT_S if left_s is None else min(left_s, OPEN_TIMEOUT_S)
        session_key: bytes | None = None
        if is_sealed:
            session_key, message = await self._sealed_streams.ask(to, message)
        below = await self._peer.open_stream(
            to,
            STREAM,
            message,
            timeout_s=timeout_s,
            deadline_s=left_s,
            window_bytes=window_bytes,
            what=capability,
        )
        stream: Stream | SealedPipe = below
        if session_key is not None:
            stream = self._sealed_streams.pipe(below, session_key, to)
        try:
            async with asyncio.timeout(timeout_s):
                await anext(stream)
        except TimeoutError:
            await stream.aclose()
            raise DeadlineExceeded(stream.peer, capability, timeout_s) from None
        except StopAsyncIteration:
            said = "it ended before it had begun"
            raise StreamAborted(stream.peer, capability, said) from None
        except BaseException:
            await stream.aclose()
            raise
        return stream

    def _left_s(self, capability: str, deadline_ms: int | None, course: Course) -> float | None:
        if deadline_ms is None:
            return None
        now_ms = self._clock.now_ms()
        if deadline_ms > now_ms:
            return (deadline_ms - now_ms) / 1000
        raise course.failure or nobody_was_asked(capability)
