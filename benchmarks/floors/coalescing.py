"""The bare reader at work: echo with futures, one way, and publications.

    python -m benchmarks.floors.coalescing echo-server AT_MOST | echo-client AT_MOST ENDPOINT KEY
    python -m benchmarks.floors.coalescing publisher | subscriber ENDPOINT KEY

AT_MOST is 64 for the capped coalescing reader and 1 for the reader that coalesces nothing.

What this module does not know: when its turn is, and what it is compared with.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import zmq

from benchmarks.counting import Count
from benchmarks.floors.curve import dialler, listener
from benchmarks.floors.reader import Reader
from benchmarks.loads import closed_loop, open_loop
from benchmarks.orders import Order, obey, run_loop

Words = dict[str, Any]

HIGH_WATER = 1000
AT_MOST = 64
TOPIC = b"bench\0"
BURST = 64  # one-way messages between two looks at whether there is room


async def echo_server(at_most: str) -> None:
    """Send back what asks for it (id > 0), count what does not (id 0)."""
    socket, endpoint, key = listener(zmq.ROUTER, HIGH_WATER)
    count = Count()

    def on_envelope(sender: bytes, number: int, payload: bytes) -> None:
        if number:
            reader.send(sender, number, payload)
        else:
            count.one()

    reader = Reader(socket, on_envelope, at_most=int(at_most))
    await obey({"endpoint": endpoint, "key": key}, {"take": count.take})


async def echo_client(at_most: str, endpoint: str, key: str) -> None:
    """A future for each request, found again by its number."""
    loop = asyncio.get_running_loop()
    pending: dict[int, asyncio.Future[bytes]] = {}
    numbers = itertools.count(1)

    def on_envelope(_: bytes, number: int, payload: bytes) -> None:
        pending.pop(number).set_result(payload)

    reader = Reader(
        dialler(zmq.DEALER, HIGH_WATER, endpoint, key), on_envelope, at_most=int(at_most)
    )

    def ask(payload: bytes) -> asyncio.Future[bytes]:
        number = next(numbers)
        future = pending[number] = loop.create_future()
        reader.send(b"", number, payload)
        return future

    async def echo(bytes_: int, in_flight: int, seconds: float) -> Words:
        payload = bytes(bytes_)
        return await closed_loop(lambda: ask(payload), in_flight, seconds)

    async def offer(bytes_: int, rate: float, seconds: float) -> Words:
        payload = bytes(bytes_)
        return await open_loop(lambda _: ask(payload), rate, seconds)

    async def notify(bytes_: int, count: int) -> Words:
        return await _pour(reader, bytes(bytes_), count)

    async def first() -> Words:
        await ask(b"first")
        return {}

    await obey({}, {"echo": echo, "offer": offer, "notify": notify, "first": first})


async def publisher() -> None:
    """Publications of one turn of the loop, at most 64, in one message."""
    socket, endpoint, key = listener(zmq.XPUB, HIGH_WATER)
    subscribed = Count()
    reader = Reader(socket, lambda *_: None, at_most=AT_MOST, prefix=TOPIC)
    reader.on_raw = lambda _: subscribed.one()

    async def wait_subscribers(count: int) -> Words:
        return await subscribed.take(count)

    async def publish(count: int, bytes_: int) -> Words:
        return await _pour(reader, bytes(bytes_), count)

    orders: dict[str, Order] = {"wait_subscribers": wait_subscribers, "publish": publish}
    await obey({"endpoint": endpoint, "key": key}, orders)


async def subscriber(endpoint: str, key: str) -> None:
    """Count what comes."""
    count = Count()
    socket = dialler(zmq.SUB, HIGH_WATER, endpoint, key, TOPIC)
    Reader(socket, lambda *_: count.one(), at_most=AT_MOST, prefix=TOPIC)
    await obey({}, {"take": count.take})


async def _pour(reader: Reader, payload: bytes, count: int) -> Words:
    began_s = time.monotonic()
    for left in range(count, 0, -BURST):
        for _ in range(min(left, BURST)):
            reader.send(b"", 0, payload)
        if reader.waiting:
            await reader.room()
    return {"began_s": began_s}


ROLES: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    "echo-server": echo_server,
    "echo-client": echo_client,
    "publisher": publisher,
    "subscriber": subscriber,
}

if __name__ == "__main__":
    run_loop(ROLES[sys.argv[1]](*sys.argv[2:]))
