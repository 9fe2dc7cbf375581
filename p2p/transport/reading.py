"""Reads one ZeroMQ socket on an asyncio loop without `zmq.asyncio`, at a quarter of its cost.

The socket's file descriptor is edge-triggered and speaks of the socket's mailbox, not of
messages: it must be drained until nothing is left, and looked at again after every send, because
a send swallows the signal. Whoever sends calls `drain` afterwards, or `look_again`.

Does not know: what is read. Invariant: while readable messages are left, a `drain` is scheduled,
also when a callback raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Protocol

import zmq

_BATCH_BYTES = 128 * 1024  # what is weighed; much more leaves the cache before it is worked on
_POLLIN = int(zmq.POLLIN)  # an operation with a member of an enum costs a microsecond


class Room(Enum):
    """What those who wait for room on a socket made of an offer."""

    UNWANTED = auto()  # nobody waits
    USED = auto()  # something was sent
    NONE = auto()  # they tried in vain


class Source(Protocol):
    """Whose messages are read."""

    def take(self) -> None:
        """Read one."""


class Watcher(Protocol):
    """Wants to know that a socket was looked at in vain."""

    def nothing_came(self) -> None:
        """There was no message."""


class SocketReader:
    __slots__ = (
        "_batch",
        "_fd",
        "_left_bytes",
        "_loop",
        "_option",
        "_paused",
        "_scheduled",
        "_settled",
        "_source",
        "_watcher",
        "closed",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        socket: zmq.Socket[bytes],
        source: Source,
        *,
        settled: Callable[[SocketReader], Room],
        batch: int,
        watcher: Watcher | None = None,
    ) -> None:
        """`settled` runs after each drain, since there may be room to send. What is called is not
        bound beforehand: a bound method for each of many sockets is memory."""
        self._loop = loop
        # Bound once: it is called for every frame. Its type says `int | bytes`.
        self._option: Callable[[int], Any] = socket.getsockopt
        self._source = source
        self._settled = settled
        self._batch = batch
        self._watcher = watcher
        self._left_bytes = 0  # of this batch
        self._fd = -1
        self._scheduled = False
        self._paused = False
        self.closed = True

    def has_read_all(self) -> bool:
        """Whether no whole message waits to be read. The look may swallow the signal that there is
        room to send, so a drain follows it."""
        if self.closed or self._paused:
            return False
        self._schedule()
        return not self._option(zmq.EVENTS) & _POLLIN

    def look_again(self) -> None:
        """Somebody sent, which may have swallowed the signal: drain when this turn is over."""
        self._schedule()

    def weigh(self, size_bytes: int) -> None:
        """A message of so many bytes was taken: the batch may end before it is full."""
        self._left_bytes -= size_bytes

    def start(self) -> None:
        self.closed = False
        self._fd = self._option(zmq.FD)
        self._loop.add_reader(self._fd, self.drain)
        self._schedule()

    def stop(self) -> None:
        """Before the socket is closed."""
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self._fd)

    def pause(self) -> None:
        """Leave what arrives unread, until `resume`."""
        if not self.closed and not self._paused:
            self._paused = True
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        if not self.closed and self._paused:
            self._paused = False
            self._loop.add_reader(self._fd, self.drain)
            self._schedule()

    def finish(self) -> None:
        """Read all that is left, paused or not: the connection behind this socket is over."""
        while not self.closed and self._option(zmq.EVENTS) & _POLLIN:
            self._source.take()

    def drain(self) -> None:
        """Read what is there, a bounded batch at a time so that other sockets get their turn."""
        if self.closed or self._paused:
            return
        more = True
        took = False
        try:
            self._left_bytes = _BATCH_BYTES
            for _ in range(self._batch):
                if self._left_bytes <= 0:
                    break
                if not self._option(zmq.EVENTS) & _POLLIN:
                    more = False
                    break
                took = True
                self._source.take()
                if self.closed or self._paused:
                    return
            more = self._offer_room(more)
        finally:
            if more:
                self._schedule()
        if self._watcher is not None and not (took or more):
            self._watcher.nothing_came()

    def _offer_room(self, more: bool) -> bool:
        """Let those send who wait for room; returns whether there is something to read.

        A send may swallow the signal of a message, and a look for messages that of room. So they
        take turns until two sends in a row were in vain: the second, a moment after the first,
        swallows nothing, since libzmq looks for signals in a send only once in a while.
        """
        in_vain = 0
        while (room := self._settled(self)) is not Room.UNWANTED:
            in_vain = in_vain + 1 if room is Room.NONE else 0
            if more or in_vain == 2:
                break
            more = bool(self._option(zmq.EVENTS) & _POLLIN)
        return more

    def _schedule(self) -> None:
        if not self._scheduled and not self.closed:
            self._scheduled = True
            self._loop.call_soon(self._continue)

    def _continue(self) -> None:
        self._scheduled = False
        self.drain()
