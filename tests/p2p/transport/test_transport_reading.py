"""How much is read from a socket before others get their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import zmq
from transport_lab import eventually, run

from p2p.transport.reading import Room, SocketReader

KIB = 1024


@pytest.fixture
def pipe() -> Iterator[tuple[zmq.Socket[bytes], zmq.Socket[bytes]]]:
    with zmq.Context() as context, context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as two:
        one.bind("inproc://pipe")
        two.connect("inproc://pipe")
        yield one, two


@pytest.mark.parametrize(
    ("weighs_bytes", "of_a_turn"), [(0, 10), (4 * KIB, 10), (64 * KIB, 2), (900 * KIB, 1)]
)
def test_a_batch_ends_sooner_where_messages_are_large_and_nothing_is_left_over(
    pipe: tuple[zmq.Socket[bytes], zmq.Socket[bytes]], weighs_bytes: int, of_a_turn: int
) -> None:
    theirs, ours = pipe
    taken: list[bytes] = []
    turns: list[int] = []

    class Taking:
        def take(self) -> None:
            taken.append(ours.recv(zmq.NOBLOCK))
            reader.weigh(weighs_bytes)

    reader: SocketReader

    async def main() -> None:
        nonlocal reader

        def settled(_: SocketReader) -> Room:
            turns.append(len(taken))
            return Room.UNWANTED

        loop = asyncio.get_running_loop()
        reader = SocketReader(loop, ours, Taking(), settled=settled, batch=10)
        for number in range(25):
            theirs.send(bytes([number]))
        reader.start()
        await eventually(lambda: len(taken) == 25)
        reader.stop()

    run(main)
    assert turns[0] == of_a_turn
    assert taken == [bytes([number]) for number in range(25)]
