"""Plain blocking pyzmq under CURVE: no event loop, no envelopes, one thread a socket.

    python -m benchmarks.floors.blocking echo-server | echo-client ENDPOINT KEY
    python -m benchmarks.floors.blocking publisher | subscriber ENDPOINT KEY
    python -m benchmarks.floors.blocking sink | source ENDPOINT KEY
    python -m benchmarks.floors.blocking listener | links ENDPOINT KEY

What this module does not know: when its turn is, and what it is compared with.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import zmq

from benchmarks.floors.curve import Socket, dialler, listener
from benchmarks.loads import WARM_UP_S, percentiles
from benchmarks.orders import obey_blocking

Words = dict[str, Any]

HIGH_WATER = 1000
TOPIC = b"bench\0"
BUFFERED_BYTES = 8 * 2**20  # of a stream, on either side
SILENCE_MS = 5_000


def echo_server() -> None:
    """A ROUTER that sends back what it gets."""
    socket, endpoint, key = listener(zmq.ROUTER, HIGH_WATER)

    def serve() -> None:
        while True:
            socket.send_multipart(socket.recv_multipart())

    _in_thread(serve)
    obey_blocking({"endpoint": endpoint, "key": key}, {})


def echo_client(endpoint: str, key: str) -> None:
    """A DEALER with a window: one thread, so many requests on the way."""
    socket = dialler(zmq.DEALER, HIGH_WATER, endpoint, key)

    def echo(bytes_: int, in_flight: int, seconds: float) -> Words:
        _window(socket, bytes(bytes_), in_flight, WARM_UP_S)
        taken_s, lasted_s = _window(socket, bytes(bytes_), in_flight, seconds)
        return {"rate": len(taken_s) / lasted_s, **percentiles(taken_s)}

    obey_blocking({}, {"echo": echo})


def _window(
    socket: Socket, payload: bytes, in_flight: int, seconds: float
) -> tuple[list[float], float]:
    clock = time.perf_counter
    sent: deque[float] = deque()
    taken_s: list[float] = []
    began = clock()
    for _ in range(in_flight):
        sent.append(clock())
        socket.send(payload)
    until = began + seconds
    while True:
        socket.recv()
        now = clock()
        taken_s.append(now - sent.popleft())
        if now >= until:
            break
        sent.append(now)
        socket.send(payload)
    lasted_s = clock() - began
    for _ in sent:
        socket.recv()
    return taken_s, lasted_s


def publisher() -> None:
    """An XPUB that waits for its slowest subscriber."""
    socket, endpoint, key = listener(zmq.XPUB, HIGH_WATER)

    def wait_subscribers(count: int) -> Words:
        for _ in range(count):
            socket.recv()
        return {}

    def publish(count: int, bytes_: int) -> Words:
        message = TOPIC + bytes(bytes_)
        began_s = time.monotonic()
        for _ in range(count):
            socket.send(message)
        return {"began_s": began_s}

    orders: dict[str, Callable[..., Words]] = {
        "wait_subscribers": wait_subscribers,
        "publish": publish,
    }
    obey_blocking({"endpoint": endpoint, "key": key}, orders)


def subscriber(endpoint: str, key: str) -> None:
    """A SUB that counts."""
    socket = dialler(zmq.SUB, HIGH_WATER, endpoint, key, TOPIC)
    socket.setsockopt(zmq.RCVTIMEO, SILENCE_MS)

    def take(count: int) -> Words:
        got = 0
        try:
            for _ in range(count):
                socket.recv()
                got += 1
        except zmq.Again:
            pass
        return {"got": got, "lost": count - got, "ended_s": time.monotonic()}

    obey_blocking({}, {"take": take})


def sink() -> None:
    """A ROUTER that takes chunks without copying them, and says when all are there."""
    socket, endpoint, key = listener(zmq.ROUTER, 16)

    def serve() -> None:
        left = 0
        while True:
            sender = socket.recv()
            frame = socket.recv(copy=False)
            if left == 0:
                left = int.from_bytes(frame.bytes, "big")
                continue
            left -= len(frame.buffer)
            if left == 0:
                socket.send_multipart([sender, b"done"])

    _in_thread(serve)
    obey_blocking({"endpoint": endpoint, "key": key}, {})


def source(endpoint: str, key: str) -> None:
    """A DEALER that sends chunks without copying them."""
    sockets: dict[int, Socket] = {}

    def stream(total_bytes: int, chunk_bytes: int) -> Words:
        high_water = max(2, BUFFERED_BYTES // chunk_bytes)
        socket = sockets.get(chunk_bytes)
        if socket is None:
            socket = sockets[chunk_bytes] = dialler(zmq.DEALER, high_water, endpoint, key)
        chunk = bytes(chunk_bytes)
        socket.send(total_bytes.to_bytes(8, "big"))
        began = time.perf_counter()
        for _ in range(total_bytes // chunk_bytes):
            socket.send(chunk, copy=False)
        socket.recv()
        return {"mb_s": total_bytes / 1e6 / (time.perf_counter() - began)}

    obey_blocking({}, {"stream": stream})


def idle_listener() -> None:
    """A ROUTER to which many connect; it answers each once."""
    socket, endpoint, key = listener(zmq.ROUTER, 64)

    def serve() -> None:
        while True:
            socket.send_multipart(socket.recv_multipart())

    _in_thread(serve)
    obey_blocking({"endpoint": endpoint, "key": key}, {})


def links(endpoint: str, key: str) -> None:
    """Many DEALERs to one ROUTER, connected and used once."""
    kept: list[Socket] = []

    def dial(count: int) -> Words:
        for _ in range(count):
            socket = dialler(zmq.DEALER, 64, endpoint, key)
            socket.send(b"there")
            socket.recv()
            kept.append(socket)
        return {"links": len(kept)}

    obey_blocking({}, {"dial": dial})


def _in_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True).start()


ROLES: dict[str, Callable[..., None]] = {
    "echo-server": echo_server,
    "echo-client": echo_client,
    "publisher": publisher,
    "subscriber": subscriber,
    "sink": sink,
    "source": source,
    "listener": idle_listener,
    "links": links,
}

if __name__ == "__main__":
    ROLES[sys.argv[1]](*sys.argv[2:])
