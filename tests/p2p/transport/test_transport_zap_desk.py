"""The pipes of those that were let in go, and meanwhile everybody is answered."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
import zmq
from transport_lab import Foul, Node, eventually, nodes, run, slower

from keys import TransportKey
from p2p.links import Lane, LinkState
from p2p.transport.zap_desk import ENDPOINT, ZapDesk

_PIPE_BYTES = 2 * 256 * 64  # both directions: libzmq makes room for so many messages at once
_ALWAYS = slower(zap_quiet_ms=1)


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.destroy(linger=0)


def asker(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.RCVTIMEO, 5000)
    socket.connect(ENDPOINT)
    return socket


def answer_one(desk: ZapDesk) -> None:
    desk.answer(desk.next(), is_welcome=True)


def test_whoever_is_not_read_from_yet_and_whoever_comes_is_answered(
    context: zmq.Context[zmq.Socket[bytes]],
) -> None:
    desk = ZapDesk(context, quiet_ms=5000)
    with asker(context) as early, asker(context) as late:
        early.send(b"?")
        answer_one(desk)
        assert early.recv() == b"?"
        late.send(b"?")  # while the pipe of the first is ended
        desk._settle()
        answer_one(desk)
        assert late.recv() == b"?"
    desk.close()


def test_it_takes_two_steps_and_then_waits_for_whoever_asks(
    context: zmq.Context[zmq.Socket[bytes]],
) -> None:
    desk = ZapDesk(context, quiet_ms=1)
    assert desk._patience_ms() is None
    for _ in range(2):
        with asker(context) as one:
            one.send(b"?")
            answer_one(desk)
            for _ in range(2):
                assert desk._patience_ms() == 1
                desk._settle()
            assert desk._patience_ms() is None
    desk.close()


def test_without_room_for_another_socket_the_pipes_stay_and_all_are_answered() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 2)
    desk = ZapDesk(context, quiet_ms=1)
    with asker(context) as one:
        one.send(b"?")
        answer_one(desk)
        with pytest.raises(zmq.ZMQError):
            desk._settle()
        one.send(b"?")
        answer_one(desk)
        assert one.recv() == b"?"
    desk.close()
    context.term()


def test_dials_succeed_and_strangers_do_not_while_pipes_are_ended_all_the_time() -> None:
    async def main() -> None:
        async with nodes("ada", "bob", settings=_ALWAYS) as (ada, bob):
            with Foul(zmq.DEALER, ada, "data", TransportKey.generate()).connect() as stranger:
                await stranger.socket.send(b"let me in")
                for count in range(1, 31):
                    bob.send(ada, b"%d" % count)
                    await eventually(lambda count=count: len(ada.frames) == count)
                    bob.transport.redial(ada.peer_id)
                    ada.transport.redial(bob.peer_id)
            assert {who for who, _, _ in ada.frames} == {bob.peer_id}
            await eventually(lambda: ada.count("zap_denied"))
            assert ada.count("zap_errors") == 0

    run(main)


class _Usage(ctypes.Structure):
    """`struct mallinfo2` of <malloc.h>."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def used_bytes() -> int:
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        pytest.skip("no C library that tells what is in use")
    mallinfo.restype = _Usage
    return int(mallinfo().uordblks)


def test_the_pipes_of_those_that_were_let_in_are_freed_and_their_links_live_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = 12
    may_free: list[bool] = []
    monkeypatch.setattr(ZapDesk, "_patience_ms", lambda _: 1 if may_free else None)

    async def main() -> None:
        async with AsyncExitStack() as stack:
            ada, *others = [Node(f"n{n}") for n in range(1 + count)]
            await stack.enter_async_context(ada.transport)
            for other in others:
                await stack.enter_async_context(other.transport)
                ada.admit(other)
                other.admit(ada)
                other.send(ada, b"1")
            await eventually(lambda: len(ada.frames) == count)
            before = used_bytes()
            may_free.append(True)
            with Foul(zmq.DEALER, ada, "data", TransportKey.generate()).connect():  # wakes it
                await eventually(lambda: used_bytes() < before - 0.8 * count * _PIPE_BYTES)
            for other in others:
                other.send(ada, b"2")
                ada.send(other, b"3")
            await eventually(lambda: len(ada.frames) == 2 * count)
            await eventually(lambda: all(other.frames for other in others))
            assert all(other.states(Lane.DATA) == [LinkState.UP] for other in others)

    run(main)
