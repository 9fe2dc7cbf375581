"""Values in both directions between a caller and a handler, each at the pace of its reader.

    async with net.open("files.put", "notes.txt") as channel:      # the caller
        await channel.send({"part": 1})
        await channel.finish()
        async for reply in channel: ...

    @agent.serve("files.put")                                       # the handler
    async def put(name: str, channel: Channel) -> None:
        async for part in channel: ...

What this module does not know: how the bytes travel, who opened it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

from agents.hosting.values import as_type, from_bytes, to_bytes
from p2p import MAX_BODY_BYTES, PayloadTooLarge, ReceivedFile, receive_file, send_file

Progress = Callable[[int, int], None]  # bytes so far, bytes in all


class Pipe(Protocol):
    """What a channel runs over: chunks of bytes in both directions; `p2p.Stream` is one."""

    @property
    def peer(self) -> str: ...

    async def write(self, chunk: bytes) -> None: ...

    async def finish(self) -> None: ...

    def abort(self, reason: str) -> None: ...

    async def aclose(self) -> None: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...


class Channel:
    """One side of a conversation with a handler; both sides have the same face.

    Iterate over it for what the other side sends, until that one finishes. Values are what calls
    take too: plain data, pydantic models, dataclasses; they arrive as plain data.

    Args:
        what: the capability, for errors.
        returns: a type that what arrives is validated as.
    """

    def __init__(self, pipe: Pipe, what: str, returns: Any = None) -> None:
        self._pipe = pipe
        self._what = what
        self._returns = returns

    @property
    def peer(self) -> str:
        """How people call the other side."""
        return self._pipe.peer

    async def send(self, value: object) -> None:
        """Send one value; waits while the other side is behind.

        Raises:
            PayloadTooLarge: it has more than 1 MiB; cut it, or send it as a file.
            PayloadError: it cannot travel.
            ConnectionLost, NodeNotUp: the other side is gone; it may have read some of the values.
            RemoteError: the other side gave up, or its handler failed.
        """
        data = to_bytes(value)
        if len(data) > MAX_BODY_BYTES:
            raise PayloadTooLarge(len(data), MAX_BODY_BYTES, f"value for {self._what}")
        await self._pipe.write(data)

    async def finish(self) -> None:
        """Say that nothing more comes, and return when the other side has received everything.

        Raises:
            as `send`; then it has not, or we cannot know.
        """
        await self._pipe.finish()

    def abort(self, reason: str) -> None:
        """End it at once in both directions; the other side is told why. Harmless when over."""
        self._pipe.abort(reason)

    async def aclose(self) -> None:
        """Abort it, unless it is over."""
        await self._pipe.aclose()

    async def send_file(
        self, path: str | Path, *, name: str | None = None, progress: Progress | None = None
    ) -> str:
        """Send a file as the last thing, and return its BLAKE2b-256 as hexadecimal.

        Returns when the other side has received all of it; that it has stored it, it must say.

        Args:
            name: what the other side calls it; its own name unless said.
            progress: called as (bytes so far, bytes in all).

        Raises:
            OSError: it cannot be read.
            FileDamaged: it changed its size meanwhile.
            others as `send`.
        """
        return await send_file(self._pipe, path, name=name, progress=progress)

    async def receive_file(
        self,
        directory: str | Path,
        *,
        name: str | None = None,
        progress: Progress | None = None,
        max_bytes: int | None = None,
        overwrite: bool = False,
    ) -> ReceivedFile:
        """Receive a file into a directory: whole, with the right checksum, or not at all.

        Args:
            name: what it is called here; the sender's name for it unless said.
            max_bytes: more is refused before any byte is taken.

        Raises:
            BadFileName, FileNotStored, FileDamaged: nothing is left of it.
            ConnectionLost, RemoteError: the sender is gone, or gave up.
        """
        return await receive_file(
            self._pipe,
            directory,
            name=name,
            progress=progress,
            max_bytes=max_bytes,
            overwrite=overwrite,
        )

    def __aiter__(self) -> Channel:
        return self

    async def __anext__(self) -> Any:
        value = from_bytes(await anext(self._pipe))
        return value if self._returns is None else as_type(value, self._returns)
