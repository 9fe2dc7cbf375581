"""Two or three real transports in one process: what arrives, what is reported."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import pytest
from free_ports import free_port
from transport_lab import (
    DEADLINE_S,
    HASTY,
    QUICK,
    Node,
    eventually,
    foul_contact,
    nodes,
    run,
    slower,
)

from keys import PeerId, TransportKey
from p2p.errors import MisuseError, NotRunning, PayloadTooLarge, PeerUnreachable, PortInUse
from p2p.links import Lane, LinkState, Transport, frame_of
from p2p.transport import TransportSettings, ZmqTransport


def test_it_is_a_transport() -> None:
    assert isinstance(ZmqTransport(QUICK, TransportKey.generate()), Transport)


def test_an_envelope_arrives_with_its_senders_name() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            ada.send(bob, b"hello", Lane.CONTROL)
            await eventually(lambda: bob.frames)
            assert bob.frames == [(ada.peer_id, Lane.CONTROL, b"hello")]

    run(main)


def test_an_answer_takes_the_connection_that_the_question_came_over() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            bob.on_frame = lambda peer, lane, _: bob.transport.send(peer, lane, b"pong")
            ada.send(bob, b"ping")
            await eventually(lambda: ada.frames)
            assert ada.received() == b"pong"
            assert (ada.count("dials"), bob.count("dials")) == (1, 0)
            assert ada.states() == bob.states() == [LinkState.UP]

    run(main)


def test_envelopes_of_one_turn_share_a_frame() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            for letter in b"abc":
                ada.send(bob, bytes([letter]))
            await eventually(lambda: bob.frames)
            assert bob.frames == [(ada.peer_id, Lane.DATA, frame_of([b"a", b"b", b"c"]))]
            assert ada.count("data_envelopes_out") == 3

    run(main)


def test_everything_arrives_in_order_when_both_talk_at_once() -> None:
    numbers = [number.to_bytes(4, "big") for number in range(20_000)]

    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            for number in numbers:
                ada.send(bob, number)
                bob.send(ada, number)
                if number[-1] == 0:
                    await asyncio.sleep(0)
            whole = b"".join(numbers)
            await eventually(lambda: len(bob.received()) == len(ada.received()) == len(whole))
            assert bob.received() == whole
            assert ada.received() == whole

    run(main)


def test_no_wakeup_is_lost_when_a_frame_arrives_before_a_send() -> None:
    """The send swallows the socket's signal for what arrived."""

    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            ada.send(bob, b"hello")
            await eventually(lambda: bob.frames)
            for sender, other in ((ada, bob), (bob, ada)) * 3:
                sender.frames.clear()
                other.send(sender, b"crossing")
                await asyncio.sleep(0)
                # The loop looks at its sockets, stands still while the frame arrives, then sends.
                asyncio.get_running_loop().call_soon(time.sleep, 0.01)
                sender.send(other, b"the other way")
                await eventually(lambda sender=sender: sender.frames)

    run(main)


def test_the_largest_envelope_arrives_and_a_larger_one_is_refused() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            limit = ada.transport.settings.frame_limit_bytes
            ada.send(bob, b"x" * limit)
            with pytest.raises(PayloadTooLarge, match="over the limit"):
                ada.send(bob, b"x" * (limit + 1))
            await eventually(lambda: len(bob.received()) == limit)

    run(main)


def test_sending_to_someone_unknown_is_an_error_with_the_name() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,):
            with pytest.raises(PeerUnreachable, match="zoe"):
                ada.transport.send(PeerId("zoe"), Lane.DATA, b"x")

    run(main)


def test_what_cannot_be_delivered_is_given_up_and_reported() -> None:
    async def main() -> None:
        async with nodes("ada", settings=HASTY) as (ada,):
            ada.transport.admit(foul_contact("gone", TransportKey.generate()))
            ada.transport.send(PeerId("gone"), Lane.DATA, b"x")
            await eventually(lambda: ada.links)
            (change,) = ada.links
            assert change.state is LinkState.UNREACHABLE
            assert "127.0.0.1:1: nobody listens" in change.reason
            assert ada.count("dropped_unreachable") == 1
            assert ada.count("dials") > 1

    run(main)


def test_a_peer_that_comes_back_is_reached_however_often_it_was_given_up() -> None:
    async def main() -> None:
        first, key = free_port(), TransportKey.generate()
        ports = {"control": first, "data": first + 1, "topics": first + 2}
        hasty = slower(connect_timeout_ms=150, redial_max_ms=60_000)
        async with nodes("ada", settings=hasty) as (ada,):
            bob = foul_contact("bob", key, ports)
            ada.transport.admit(bob)
            for times in range(1, 8):
                ada.transport.send(bob.peer_id, Lane.DATA, b"lost")
                await eventually(
                    lambda times=times: ada.states() == [LinkState.UNREACHABLE] * times
                )
            fixed = replace(
                QUICK,
                control_port=ports["control"],
                data_port=ports["data"],
                topics_port=ports["topics"],
            )
            async with (again := Node("bob", fixed, key)).transport:
                again.admit(ada)
                while LinkState.UP not in ada.states():  # a busy machine may miss the first window
                    told = len(ada.links)
                    ada.send(again, b"found")
                    await eventually(lambda told=told: len(ada.links) > told)
                await eventually(lambda: again.received() == b"found")

    run(main)


def test_a_connection_that_ends_is_reported_to_both_and_dialled_again() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,):
            bob = Node("bob")
            async with bob.transport:
                ada.admit(bob)
                bob.admit(ada)
                ada.send(bob, b"hello")
                await eventually(lambda: bob.frames)
            await eventually(lambda: LinkState.UNREACHABLE in ada.states())
            assert ada.states() == [LinkState.UP, LinkState.DOWN, LinkState.UNREACHABLE]
            assert ada.count("links_open") == 0

    run(main)


def test_the_side_that_was_dialled_notices_the_end_too() -> None:
    async def main() -> None:
        async with nodes("bob") as (bob,):
            ada = Node("ada")
            async with ada.transport:
                ada.admit(bob)
                bob.admit(ada)
                ada.send(bob, b"hello")
                await eventually(lambda: bob.frames)
            await eventually(lambda: LinkState.DOWN in bob.states())
            assert bob.count("links_open") == 0

    run(main)


def test_a_lost_link_is_dialled_anew_at_the_new_address_with_nothing_to_send() -> None:
    async def main() -> None:
        async with nodes("ada", settings=slower(connect_timeout_ms=5000)) as (ada,):
            for _ in range(2):
                async with nodes("bob") as (bob,):
                    bob.admit(ada)
                    ada.admit(bob)
                    if not ada.links:
                        ada.send(bob, b"hello")
                    await eventually(lambda: ada.states()[-1:] == [LinkState.UP])
                await eventually(lambda: ada.states()[-1] is LinkState.DOWN)
            assert ada.states() == [LinkState.UP, LinkState.DOWN] * 2

    run(main)


def test_last_words_before_closing_arrive_before_the_end_is_reported() -> None:
    async def main() -> None:
        async with nodes("bob") as (bob,):
            ada = Node("ada", slower(linger_ms=5000))  # over as soon as all is said
            async with ada.transport:
                ada.admit(bob)
                bob.admit(ada)
                ada.send(bob, b"hello ")
                await eventually(lambda: bob.frames)
                ada.send(bob, b"goodbye")
            await eventually(lambda: LinkState.DOWN in bob.states())
            assert bob.received() == b"hello goodbye"

    run(main)


def test_all_that_a_peer_said_before_it_closed_is_heard_however_late_we_look() -> None:
    """It says many things and ends while our loop stands still; on a connection that we dialled."""

    async def main() -> None:
        async with nodes("ada") as (ada,):
            bob = Node("bob", slower(linger_ms=5000))  # over as soon as all is said
            heard = threading.Event()

            async def speak() -> None:
                async with bob.transport:
                    bob.admit(ada)
                    started.set()
                    await eventually(lambda: bob.frames)
                    heard.wait(DEADLINE_S)
                    for number in range(50):
                        bob.send(ada, bytes([number]) * 1000)
                        await asyncio.sleep(0)

            started = threading.Event()
            speaker = threading.Thread(target=lambda: asyncio.run(speak()))
            speaker.start()
            await eventually(started.is_set)
            ada.admit(bob)
            ada.send(bob, b"hello")
            await eventually(ada.states)
            heard.set()
            speaker.join(DEADLINE_S)  # our loop stands still
            await eventually(lambda: LinkState.DOWN in ada.states())
            assert ada.received() == b"".join(bytes([number]) * 1000 for number in range(50))

    run(main)


def test_a_port_in_use_is_named() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,):
            taken = ada.transport.ports["data"]
            late = Node("late", replace(QUICK, data_port=taken))
            with pytest.raises(PortInUse, match=str(taken)):
                await late.transport.start()
            with pytest.raises(NotRunning):
                late.transport.publish("x", b"")

    run(main)


def test_a_closed_transport_says_so() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            pass
        with pytest.raises(NotRunning):
            ada.send(bob, b"x")
        with pytest.raises(NotRunning):
            ada.transport.expel(bob.peer_id)
        await ada.transport.close()

    run(main)


def test_starting_without_a_receiver_or_twice_is_misuse() -> None:
    async def main() -> None:
        with pytest.raises(MisuseError):
            await ZmqTransport(TransportSettings(), TransportKey.generate()).start()
        async with nodes("ada") as (ada,):
            with pytest.raises(MisuseError):
                await ada.transport.start()

    run(main)


def test_admitting_again_changes_nothing_on_a_living_connection() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            ada.send(bob, b"1")
            await eventually(lambda: bob.frames)
            ada.admit(bob)
            bob.admit(ada)
            ada.send(bob, b"2")
            await eventually(lambda: bob.received() == b"12")
            assert ada.count("dials") == 1
            assert ada.states() == bob.states() == [LinkState.UP]

    run(main)


def test_a_receiver_that_raises_loses_no_later_frame() -> None:
    async def main() -> None:
        caught: list[dict[str, object]] = []
        async with nodes("ada", "bob") as (ada, bob):
            asyncio.get_running_loop().set_exception_handler(lambda _, what: caught.append(what))

            def fail(*_: object) -> None:
                raise RuntimeError("a bug of the layer above")

            bob.on_frame = fail
            for number in range(50):
                ada.send(bob, bytes([number]))
                await asyncio.sleep(0)
            await eventually(lambda: bob.received() == bytes(range(50)))
        assert caught

    run(main)
