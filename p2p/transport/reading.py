"""Reads one ZeroMQ socket on an asyncio loop without `zmq.asyncio`, at a quarter of its cost.

The socket's file descriptor is edge-triggered and speaks of the socket's mailbox, not of
messages: it must be drained until nothing is left, and looked at again after every send, because
a send swallows the signal. Whoever sends calls `drain` afterwards.

Does not know: what is read. Invariant: while readable messages are left, a `drain` is scheduled,
also when a callback raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import zmq


class SocketReader:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        socket: zmq.Socket[bytes],
        *,
        take: Callable[[], None],
        settled: Callable[[SocketReader], bool],
        batch: int,
    ) -> None:
        """`take` reads one message. `settled` runs after each drain, since there may be room to
        send, and says whether it sent anything."""
        self._loop = loop
        # Bound once: it is called for every frame. Its type says `int | bytes`.
        self._option: Callable[[int], Any] = socket.getsockopt
        self._take = take
        self._settled = settled
        self._batch = batch
        self._fd = -1
        self._scheduled = False
        self._paused = False
        self.closed = True

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
        while not self.closed and self._option(zmq.EVENTS) & zmq.POLLIN:
            self._take()

    def drain(self) -> None:
        """Read what is there, a bounded batch at a time so that other sockets get their turn."""
        if self.closed or self._paused:
            return
        more = True
        try:
            for _ in range(self._batch):
                if not self._option(zmq.EVENTS) & zmq.POLLIN:
                    more = False
                    break
                self._take()
                if self.closed:
                    return
            more = self._settled(self) or more
        finally:
            if more:
                self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self.closed:
            self._scheduled = True
            self._loop.call_soon(self._continue)

    def _continue(self) -> None:
        self._scheduled = False
        self.drain()
