"""A connection that we dialled is missed when it is gone, though nobody watches it any more."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext

import pytest
import zmq
from transport_lab import Node, eventually, nodes, run, slower

from p2p.links import Lane, LinkState
from p2p.transport.dial import Dial, Sent
from p2p.transport.liveness import CAN_LOOK, OVER, hang_up, is_there, mark_of

pytestmark = pytest.mark.skipif(not CAN_LOOK, reason="the system does not say")


class Pair:
    """Both ends of a connection, and the endpoint that was dialled."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.endpoint = f"tcp://127.0.0.1:{self.server.getsockname()[1]}"
        self.ours, self.theirs = self.another()

    def another(self) -> tuple[socket.socket, socket.socket]:
        ours = socket.create_connection(self.server.getsockname())
        theirs, _ = self.server.accept()
        return self._stack.enter_context(ours), self._stack.enter_context(theirs)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack)


def test_a_connection_is_there_until_it_is_closed_here(pair: Pair) -> None:
    fd = pair.ours.fileno()
    mark = mark_of(fd, pair.endpoint)
    assert mark is not None
    assert is_there(fd, mark)
    pair.theirs.sendall(b"last words")
    pair.theirs.close()
    assert is_there(fd, mark), "the last words are not read yet"
    assert pair.ours.recv(16) == b"last words"
    pair.ours.close()
    assert not is_there(fd, mark)


def test_a_look_leaves_the_descriptor_open(pair: Pair) -> None:
    mark_of(pair.ours.fileno(), pair.endpoint)
    pair.theirs.sendall(b"still here")
    assert pair.ours.recv(16) == b"still here"


def test_a_descriptor_that_now_belongs_to_another_connection_is_not_taken_for_it(
    pair: Pair,
) -> None:
    fd = pair.ours.fileno()
    mark = mark_of(fd, pair.endpoint)
    assert mark is not None
    other, _ = pair.another()
    os.dup2(other.fileno(), fd)
    assert not is_there(fd, mark)


def test_what_is_no_connection_to_that_endpoint_has_no_mark(pair: Pair) -> None:
    one, two = socket.socketpair()
    with one, two:
        assert mark_of(one.fileno(), pair.endpoint) is None
        assert not is_there(one.fileno(), OVER)
    assert mark_of(pair.theirs.fileno(), pair.endpoint) is None
    assert mark_of(pair.server.fileno(), pair.endpoint) is None
    assert mark_of(-1, pair.endpoint) is None
    assert mark_of(1_000_000, pair.endpoint) is None


def test_hanging_up_ends_that_connection_and_leaves_its_descriptor(pair: Pair) -> None:
    fd = pair.ours.fileno()
    mark = mark_of(fd, pair.endpoint)
    assert mark is not None
    before = len(os.listdir("/proc/self/fd"))
    assert hang_up(fd, mark)
    assert pair.theirs.recv(16) == b""
    assert is_there(fd, mark), "to close it is its owner's"
    pair.theirs.close()
    hang_up(fd, mark)  # once more, and there is nobody
    for nothing in (-1, 1_000_000):
        assert not hang_up(nothing, mark)
    assert not hang_up(fd, OVER)
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_hanging_up_leaves_what_has_the_descriptor_meanwhile_alone(pair: Pair) -> None:
    fd = pair.ours.fileno()
    mark = mark_of(fd, pair.endpoint)
    assert mark is not None
    other, theirs = pair.another()
    os.dup2(other.fileno(), fd)
    assert not hang_up(fd, mark)
    theirs.sendall(b"still here")
    assert other.recv(16) == b"still here"
    with open(os.devnull) as no_socket:
        os.dup2(no_socket.fileno(), fd)
        assert not hang_up(fd, mark)


def test_a_connection_that_is_ended_sends_nothing_more_of_what_waits() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            waiting = 0
            ada.send_body(bob, b"head", b"body")
            await eventually(lambda: bob.bodies)
            (dial,) = [each for each in dials(ada) if each.up]
            while dial.send(b"head", bytes(200_000)) is Sent.YES:
                waiting += 1
            dial.close()
            ended = len(bob.bodies)
            await asyncio.sleep(0.3)  # three times as long as it lingers
            assert waiting > 20
            assert len(bob.bodies) - ended < waiting - 10

    run(main)


def test_nobody_watches_a_connection_that_is_up() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            before = watched(ada)
            ada.send(bob, b"hello")
            await eventually(lambda: bob.frames)
            assert ada.count("dials") == 1
            await eventually(lambda: watched(ada) == before)

    run(main)


@pytest.mark.parametrize("lane", Lane)
def test_a_peer_that_hangs_up_on_a_silent_dialler_is_missed(
    monkeypatch: pytest.MonkeyPatch, lane: Lane
) -> None:
    # A signal comes before the close, and a busy machine may stop libzmq's thread between the two.
    monkeypatch.setattr("p2p.transport.dial._LOOK_S", 0.1)
    monkeypatch.setattr("p2p.transport.sockets.gentle_bulk_thread", nullcontext)

    async def main() -> None:
        async with nodes("ada", settings=slower(unfinished_check_ms=60_000)) as (ada,):
            bob = Node("bob")
            async with bob.transport:
                bob.admit(ada)
                ada.admit(bob)
                ada.send(bob, b"hello", lane)
                await eventually(lambda: bob.frames)
            await eventually(lambda: LinkState.DOWN in ada.states(lane))

    run(main)


def test_an_end_that_no_signal_told_of_is_found_by_and_by() -> None:
    async def main() -> None:
        async with nodes("ada", settings=slower(unfinished_check_ms=20)) as (ada,):
            bob = Node("bob")
            async with bob.transport:
                bob.admit(ada)
                ada.admit(bob)
                ada.send(bob, b"hello")
                await eventually(lambda: bob.frames)
                (dial,) = dials(ada)
                dial.reader.pause()
            await eventually(lambda: LinkState.DOWN in ada.states())
            assert not dials(ada)

    run(main)


def test_a_publisher_that_comes_back_is_heard_again() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,):
            ada.transport.subscribe("news")
            for word in (b"one", b"two"):
                async with nodes("bob") as (bob,):
                    bob.admit(ada)
                    ada.admit(bob)
                    await eventually(lambda bob=bob: bob.transport.subscribers("news"))
                    bob.transport.publish("news", word)
                    await eventually(
                        lambda word=word: word in [each[2] for each in ada.publications]
                    )

    run(main)


def test_where_descriptors_tell_nothing_the_monitor_stays_and_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("p2p.transport.dial.CAN_LOOK", False)

    async def main() -> None:
        async with nodes("ada") as (ada,):
            before = watched(ada)
            bob = Node("bob")
            async with bob.transport:
                bob.admit(ada)
                ada.admit(bob)
                ada.send(bob, b"hello")
                await eventually(lambda: bob.frames)
                assert watched(ada) == before + 1
            await eventually(lambda: LinkState.DOWN in ada.states())

    run(main)


def watched(node: Node) -> int:
    assert node.transport._assembly is not None
    return len(node.transport._assembly._monitors._handlers)


def dials(node: Node) -> set[Dial]:
    assert node.transport._assembly is not None
    return node.transport._assembly.exchange.dials


def test_an_end_before_we_heard_of_the_beginning_is_told_though_the_descriptor_is_in_use_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or else another connection to the same port, of whichever peer, would be taken for it."""
    others: list[socket.socket] = []
    heard = Dial._on_event

    def late(dial: Dial, event: int, value: int) -> None:
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED and not others:
            fd, number = dial._fd, os.fstat(dial._fd).st_ino
            port = int(dial.endpoint.rpartition(":")[2])
            others.append(socket.create_connection(("127.0.0.1", port)))
            assert others[0].recv(1), "it is accepted, and that takes no descriptor any more"
            assert hang_up(fd, number)
            until = time.monotonic() + 5
            while is_there(fd, number):
                assert time.monotonic() < until
            taken = fcntl.fcntl(others[0], fcntl.F_DUPFD, fd)
            others.append(socket.socket(fileno=taken))
            assert taken == fd
            assert mark_of(fd, dial.endpoint) is not None
        heard(dial, event, value)

    monkeypatch.setattr(Dial, "_on_event", late)

    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            ada.send(bob, b"over it, or over another one")
            # What was sent before its end is told is lost with it, and that is told.
            await eventually(lambda: bob.frames or LinkState.DOWN in ada.states())
            ada.send(bob, b"over another one")
            await eventually(lambda: bob.received().endswith(b"over another one"))
            assert others

    try:
        run(main)
    finally:
        for other in others:
            other.close()
