"""A peer that does not read: what waits is bounded, said, and delivered once it reads again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import zmq
import zmq.asyncio
from transport_lab import Node, eventually, foul_contact, nodes, run, slower

from keys import PeerId, TransportKey
from p2p.errors import QueueFull
from p2p.links import Lane, LinkState

MIB = 1024 * 1024
SMALL = slower(high_water_frames=2, data_budget_bytes=4 * MIB)


@asynccontextmanager
async def sleeper(*watchers: Node) -> AsyncIterator[zmq.asyncio.Socket]:
    """A peer called "asleep", which reads only when the test does it."""
    key = TransportKey.generate()
    with zmq.asyncio.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, 1)
        socket.curve_secretkey = key.export_secret()
        socket.curve_server = True
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        for node in watchers:
            node.transport.admit(
                foul_contact("asleep", key, {"control": 1, "data": port, "topics": 1})
            )
        yield socket


async def fill(node: Node) -> int:
    """Send numbered megabytes until the queue is full; returns how many were taken."""
    for number in range(200):
        try:
            node.transport.send(PeerId("asleep"), Lane.DATA, bytes([number]) * (MIB // 2))
        except QueueFull:
            return number
        await asyncio.sleep(0.001)
    raise AssertionError("the queue has no bound")


def test_a_full_queue_is_an_error_that_names_the_peer() -> None:
    async def main() -> None:
        async with nodes("ada", settings=SMALL) as (ada,), sleeper(ada):
            await fill(ada)
            with pytest.raises(QueueFull, match="asleep on the data lane"):
                ada.transport.send(PeerId("asleep"), Lane.DATA, b"x" * (MIB // 2))
            assert ada.count("refused_queue_full") == 2

    run(main)


def test_one_peer_that_does_not_read_does_not_slow_another() -> None:
    async def main() -> None:
        async with nodes("ada", "bob", settings=SMALL) as (ada, bob), sleeper(ada):
            await fill(ada)
            for number in range(100):
                ada.send(bob, bytes([number]))
            await eventually(lambda: bob.received() == bytes(range(100)))

    run(main)


def test_all_that_was_taken_arrives_in_order_once_the_peer_reads_again() -> None:
    async def main() -> None:
        async with nodes("ada", settings=SMALL) as (ada,), sleeper(ada) as socket:
            taken = await fill(ada)
            for number in range(taken):
                async with asyncio.timeout(5):
                    _, payload = await socket.recv_multipart()
                assert payload == bytes([number]) * (MIB // 2)
            ada.transport.send(PeerId("asleep"), Lane.DATA, b"awake")
            async with asyncio.timeout(5):
                assert (await socket.recv_multipart())[1] == b"awake"

    run(main)


def test_the_way_back_over_an_incoming_connection_is_bounded_and_recovers_too() -> None:
    async def main() -> None:
        async with nodes("bob", settings=SMALL) as (bob,):
            key = TransportKey.generate()
            bob.transport.admit(foul_contact("asleep", key))
            with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as socket:
                socket.setsockopt(zmq.LINGER, 0)
                socket.setsockopt(zmq.RCVHWM, 1)
                socket.curve_publickey = key.public
                socket.curve_secretkey = key.export_secret()
                socket.curve_serverkey = bob.key.public
                socket.connect(f"tcp://127.0.0.1:{bob.transport.ports['data']}")
                await socket.send(b"hello")
                await eventually(lambda: bob.frames)
                taken = await fill(bob)
                for number in range(taken):
                    async with asyncio.timeout(5):
                        assert (await socket.recv())[0] == number
            assert bob.states()[0] is LinkState.UP

    run(main)
