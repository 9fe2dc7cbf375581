"""The end of a turn of the loop: whoever queued something during the turn sends it now, joined.

Whatever cannot leave because a connection takes nothing more is tried again when its socket says
that there may be room, and by a slow timer, since a socket's signal speaks of its mailbox and not
of one peer's pipe. The timer runs only while something is stalled.

Does not know: sockets, peers, frames.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from p2p.transport.reading import Room, SocketReader
from p2p.transport.stall import LOOK_S


class Flushable(Protocol):
    dirty: bool  # owned by the flusher: is on the list of this turn

    @property
    def reader(self) -> SocketReader | None:
        """Of the socket that `flush` sends on, to be looked at after every send."""

    def flush(self) -> Room:
        """Send what can be sent. UNWANTED when nothing is left that must wait for room; otherwise
        whether some of it has left."""


class Flusher:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._dirty: list[Flushable] = []
        self._stalled: dict[Flushable, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.settled = self.room  # bound once, for all readers

    def mark(self, item: Flushable) -> None:
        """Flush it at the end of this turn."""
        if item.dirty or self._closed:
            return
        item.dirty = True
        if not self._dirty:
            self._loop.call_soon(self._turn)
        self._dirty.append(item)

    def room(self, reader: SocketReader) -> Room:
        """That socket may have room again."""
        if not self._stalled:
            return Room.UNWANTED
        found = Room.UNWANTED
        for item in [item for item in self._stalled if item.reader is reader]:
            # Whoever has nothing left to send has sent it just now.
            found = (
                Room.NONE
                if self._flush(item) is Room.NONE and found is not Room.USED
                else Room.USED
            )
        return found

    def close(self) -> None:
        self._closed = True
        self._dirty.clear()
        self._stalled.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _turn(self) -> None:
        dirty, self._dirty = self._dirty, []
        readers: dict[SocketReader, None] = {}
        for item in dirty:
            item.dirty = False
            self._flush(item)
            reader = item.reader
            if reader is not None:
                readers[reader] = None
        for reader in readers:
            reader.drain()

    def _flush(self, item: Flushable) -> Room:
        left = item.flush()
        if left is Room.UNWANTED:
            self._stalled.pop(item, None)
            return left
        self._stalled[item] = None
        if self._timer is None and not self._closed:
            self._timer = self._loop.call_later(LOOK_S, self._retry)
        return left

    def _retry(self) -> None:
        self._timer = None
        for item in list(self._stalled):
            self.mark(item)
