"""Streams as a program sees them: the part of `Net` that converses with handlers.

What this module does not know: how the node finds a provider, how chunks travel.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from agents.amounts import seconds_if_any
from agents.hosting import Channel, from_bytes, to_bytes
from agents.local import Gate, GateChannel
from agents.names import seen_from, whoever_offers

ANSWERS_WINDOW_BYTES = 2 * 1024 * 1024


class Streaming:
    """Asks handlers that answer with more than one value."""

    _gate: Gate
    _namespace: str

    async def stream(
        self,
        capability: str,
        *args: Any,
        deadline: float | None = None,
        peer: str | None = None,
        returns: Any = None,
        balance: str = "",
        key: str | None = None,
        named: Mapping[str, Any] | None = None,
        sealed: bool = False,
        **kwargs: Any,
    ) -> AsyncGenerator[Any, None]:
        """Ask whoever offers a capability, and yield its answers as they come.

        A handler that is quicker than the reader waits for it. Leaving the loop, or closing the
        iterator, aborts the handler.

        Args:
            deadline: seconds for everything, from the first to the last answer; the handler is
                cancelled when they have passed. None for no limit; inside a handler, no more than
                what it has left.
            returns: a type that each answer is validated as; plain data otherwise.
            peer, balance, key, named: as for `call`.
            sealed: seal arguments and answers for the two nodes, under a key of this stream alone.

        Raises:
            NoProvider, CircuitOpen, PeerUnreachable, Overloaded, PermissionDenied: it did not run.
            BadRequest: the arguments do not fit, or the capability is no stream.
            HandlerFailed: the handler raised; `remote_traceback` holds its words.
            DeadlineExceeded, ConnectionLost, StreamAborted, NodeNotUp: what came so far has come.
        """
        options = {"balance": balance, "key": key, "window_bytes": ANSWERS_WINDOW_BYTES}
        options["sealed"] = sealed
        opened = await self._open(capability, args, kwargs, named, deadline, peer, options)
        channel = Channel(opened, capability, returns)
        try:
            opened.end()
            async for value in channel:
                yield value
        finally:
            await channel.aclose()

    @contextlib.asynccontextmanager
    async def open(
        self,
        capability: str,
        *args: Any,
        deadline: float | None = None,
        peer: str | None = None,
        returns: Any = None,
        balance: str = "",
        key: str | None = None,
        named: Mapping[str, Any] | None = None,
        sealed: bool = False,
        **kwargs: Any,
    ) -> AsyncGenerator[Channel, None]:
        """Converse with a handler that takes a `Channel`: `async with net.open(c) as channel`.

        When the block is left, what is not over is aborted at both sides.

        Args and errors: as for `stream`.
        """
        options = {"balance": balance, "key": key, "sealed": sealed}
        opened = await self._open(capability, args, kwargs, named, deadline, peer, options)
        channel = Channel(opened, capability, returns)
        try:
            yield channel
        finally:
            await channel.aclose()

    async def _open(
        self,
        capability: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        named: Mapping[str, Any] | None,
        deadline_s: float | None,
        peer: str | None,
        options: Mapping[str, Any],
    ) -> _GatePipe:
        """Return what stands for the stream here; the handler has begun."""
        capability = seen_from(self._namespace, capability)
        params = {
            "capability": capability,
            "message": to_bytes([whoever_offers(capability), args, {**kwargs, **(named or {})}]),
            "deadline_s": seconds_if_any(capability, "deadline", deadline_s),
            "peer": peer,
            "options": {"balance": options["balance"], "key": options["key"]},
            "window_bytes": options.get("window_bytes"),
            "sealed": options["sealed"],
        }
        channel = await self._gate.open("open", params)
        try:
            return _GatePipe(channel, str(from_bytes(await anext(channel))))
        except BaseException:
            await channel.aclose()
            raise


class _GatePipe:
    """A channel to the node, as the pipe of a `Channel`."""

    def __init__(self, channel: GateChannel, peer: str) -> None:
        self._channel = channel
        self.peer = peer

    async def write(self, chunk: bytes) -> None:
        await self._channel.send(chunk)

    async def finish(self) -> None:
        await self._channel.finish()

    def end(self) -> None:
        """Say that nothing more comes, and wait for nothing."""
        self._channel.end()

    def abort(self, reason: str) -> None:
        self._channel.abort(reason)

    async def aclose(self) -> None:
        await self._channel.aclose()

    def __aiter__(self) -> _GatePipe:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._channel)
