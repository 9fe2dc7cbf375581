"""What happens to connections: libzmq's monitor events, drained by one thread.

A monitor that nobody drains blocks libzmq's I/O thread, and with it every socket of the context.
So the draining does not depend on the event loop: a thread reads all monitors, and hands what
happened over in batches. The pipe has no high-water mark, so that even a stalled thread costs
memory and not the network.

Does not know: what the events mean. Events of one socket arrive in order; they are not in order
with the frames that the loop reads itself.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import zmq

OnEvent = Callable[[int, int], None]  # event, value (a file descriptor, or a status)

_HEADER = struct.Struct("=HI")
_JOIN_S = 1.0
_WAKE_ENDPOINT = "inproc://conclave-monitors"


class Monitors:
    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._context = context
        self._loop = loop
        self._tokens = itertools.count(1)
        self._handlers: dict[int, OnEvent] = {}
        self._fresh: deque[tuple[int, zmq.Socket[bytes]]] = deque()
        self._wake: zmq.Socket[bytes] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        woken = self._context.socket(zmq.PAIR)
        woken.setsockopt(zmq.LINGER, 0)
        woken.bind(_WAKE_ENDPOINT)
        self._wake = self._context.socket(zmq.PAIR)
        self._wake.setsockopt(zmq.LINGER, 0)
        self._wake.setsockopt(zmq.SNDHWM, 0)
        self._wake.connect(_WAKE_ENDPOINT)
        self._thread = threading.Thread(
            target=self._run, args=(woken,), name="conclave-monitors", daemon=True
        )
        self._thread.start()

    def watch(self, socket: zmq.Socket[bytes], events: int, handler: OnEvent) -> int:
        """Call `handler` on the loop for these events of `socket`, before it binds or connects.

        Returns a token for `unwatch`.
        """
        assert self._wake is not None, "started"
        token = next(self._tokens)
        # A name of our own: the default one is made from a file descriptor, which is reused.
        address = f"inproc://conclave-monitor-{token}"
        pair = self._context.socket(zmq.PAIR)
        pair.setsockopt(zmq.LINGER, 0)
        pair.setsockopt(zmq.RCVHWM, 0)
        socket.monitor(address, events | zmq.EVENT_MONITOR_STOPPED)
        pair.connect(address)
        self._handlers[token] = handler
        self._fresh.append((token, pair))
        self._rouse(b"")
        return token

    def unwatch(self, token: int, socket: zmq.Socket[bytes]) -> None:
        """Stop watching. Call it before `socket` is closed; the thread drops its own end."""
        if self._handlers.pop(token, None) is not None:
            socket.disable_monitor()

    def unwatch_later(self, socket: zmq.Socket[bytes]) -> None:
        """Stop watching; what has happened until now, and may be on its way, is still told."""
        socket.disable_monitor()

    def stop(self) -> None:
        """End the thread; every watched socket must have been unwatched."""
        if self._thread is None or self._wake is None:
            return
        self._rouse(b"stop")
        self._thread.join(timeout=_JOIN_S)
        self._wake.close()
        self._handlers.clear()

    def _rouse(self, word: bytes) -> None:
        assert self._wake is not None, "started"
        # Were the thread dead, a plain send would wait for ever; the self-test notices it.
        with suppress(zmq.Again):
            self._wake.send(word, zmq.NOBLOCK)

    def _run(self, woken: zmq.Socket[bytes]) -> None:
        poller = zmq.Poller()
        poller.register(woken, zmq.POLLIN)
        tokens: dict[zmq.Socket[bytes], int] = {}
        try:
            while self._turn(woken, poller, tokens):
                pass
        except zmq.ContextTerminated:
            pass
        finally:
            for pair in tokens:
                pair.close()
            while self._fresh:
                self._fresh.popleft()[1].close()
            woken.close()

    def _turn(
        self,
        woken: zmq.Socket[bytes],
        poller: zmq.Poller,
        tokens: dict[zmq.Socket[bytes], int],
    ) -> bool:
        happened: list[tuple[int, int, int]] = []
        for socket, _ in poller.poll():
            if socket is woken:
                if woken.recv() == b"stop":
                    return False
                while self._fresh:
                    token, pair = self._fresh.popleft()
                    tokens[pair] = token
                    poller.register(pair, zmq.POLLIN)
                continue
            event, value = _HEADER.unpack(socket.recv_multipart()[0])
            happened.append((tokens[socket], event, value))
            if event == zmq.EVENT_MONITOR_STOPPED:
                poller.unregister(socket)
                del tokens[socket]
                socket.close()
        if happened:
            try:
                self._loop.call_soon_threadsafe(self._deliver, happened)
            except RuntimeError:  # the loop is closed; nobody is left to tell
                return False
        return True

    def _deliver(self, happened: list[tuple[int, int, int]]) -> None:
        for token, event, value in happened:
            if event == zmq.EVENT_MONITOR_STOPPED:  # the last of them
                self._handlers.pop(token, None)
                continue
            handler = self._handlers.get(token)
            if handler is not None:
                handler(event, value)
