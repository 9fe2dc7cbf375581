"""The bare reader of a ZeroMQ socket on an event loop, with one out-buffer a receiver.

It reads the socket's file descriptor until nothing is left, which that descriptor asks for: it is
edge-triggered, and a send swallows its signal, so it is looked at again after each. What is for
one receiver in one turn of the loop leaves in one message, of at most `at_most` envelopes; with
`at_most=1` each leaves at once and alone. An envelope is a msgpack tuple (id, payload).

What this module does not know: what the ids mean.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import msgpack
import zmq

from benchmarks.floors.curve import Socket

RETRY_S = 0.001

OnEnvelope = Callable[[bytes, int, bytes], None]  # receiver or sender, id, payload


class Reader:
    """One ROUTER, DEALER, XPUB or SUB.

    Args:
        prefix: what stands before the envelopes of a message: a topic, where there are topics.
        at_most: envelopes in one message.
    """

    def __init__(
        self, socket: Socket, on_envelope: OnEnvelope, *, at_most: int, prefix: bytes = b""
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = socket
        self._events: Callable[[int], Any] = socket.getsockopt
        self._on_envelope = on_envelope
        self._at_most = at_most
        self._prefix = prefix
        self._routed = socket.getsockopt(zmq.TYPE) == zmq.ROUTER
        self._pack = msgpack.Packer().pack
        self._unpacker = msgpack.Unpacker()
        self._buffers: dict[bytes, list[bytes]] = {}
        self._frames: deque[tuple[bytes, bytes]] = deque()
        self._turn_due = False
        self._retry: asyncio.TimerHandle | None = None
        self._room: asyncio.Future[None] | None = None
        self.on_raw: Callable[[bytes], None] | None = None  # of an XPUB: subscriptions
        descriptor: Any = socket.getsockopt(zmq.FD)
        self._loop.add_reader(descriptor, self.drain)
        self._loop.call_soon(self.drain)

    def send(self, to: bytes, number: int, payload: bytes) -> None:
        """Put one envelope into the receiver's buffer."""
        buffer = self._buffers.get(to)
        if buffer is None:
            buffer = self._buffers[to] = []
        buffer.append(self._pack((number, payload)))
        if len(buffer) >= self._at_most:
            self._seal(to, buffer)
            self._push()
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    @property
    def waiting(self) -> int:
        """Messages that the socket did not take yet."""
        return len(self._frames)

    async def room(self) -> None:
        """Return when all was taken."""
        if self._frames:
            if self._room is None:
                self._room = self._loop.create_future()
            await self._room

    def drain(self) -> None:
        """Read until nothing is left."""
        events = self._events
        recv = self._socket.recv
        while (ready := events(zmq.EVENTS)) & zmq.POLLIN:
            sender = recv(zmq.NOBLOCK) if self._routed else b""
            frame = recv(zmq.NOBLOCK)
            if self.on_raw is not None:
                self.on_raw(frame)
                continue
            self._unpacker.feed(frame[len(self._prefix) :] if self._prefix else frame)
            for number, payload in self._unpacker:
                self._on_envelope(sender, number, payload)
        if self._frames and ready & zmq.POLLOUT:
            self._push()

    def _turn(self) -> None:
        self._turn_due = False
        for to, buffer in self._buffers.items():
            if buffer:
                self._seal(to, buffer)
        self._push()
        self.drain()

    def _seal(self, to: bytes, buffer: list[bytes]) -> None:
        self._frames.append((to, self._prefix + b"".join(buffer)))
        buffer.clear()

    def _push(self) -> None:
        frames = self._frames
        send = self._socket.send
        try:
            while frames:
                to, frame = frames[0]
                if to:
                    send(to, zmq.NOBLOCK | zmq.SNDMORE)
                send(frame, zmq.NOBLOCK)
                frames.popleft()
        except zmq.Again:
            if self._retry is None:
                self._retry = self._loop.call_later(RETRY_S, self._again)
            return
        if self._room is not None:
            self._room.set_result(None)
            self._room = None

    def _again(self) -> None:
        self._retry = None
        self._push()
        self.drain()
