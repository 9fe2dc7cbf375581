"""Strangers, thieves and expelled members at the sockets of a real transport."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import zmq
from transport_lab import Foul, Node, eventually, foul_contact, nodes, run, slower
from zmq.utils.monitor import recv_monitor_message

from keys import PeerId, TransportKey
from p2p.errors import MisuseError, PeerUnreachable
from p2p.links import Contact, Lane, LinkState

PORTS = ("control", "data", "bulk", "topics")


async def fate_of(foul: Foul, events: int) -> int:
    """The first of these monitor events on a foul socket."""
    monitor = foul.socket.get_monitor_socket(events)
    try:
        async with asyncio.timeout(5):
            event = await recv_monitor_message(monitor)
            return int(event["event"])
    finally:
        foul.socket.disable_monitor()


@pytest.mark.parametrize("lane", ["control", "data"])
def test_a_stranger_is_refused_at_the_handshake(lane: str) -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,):
            with Foul(zmq.DEALER, ada, lane, TransportKey.generate()) as foul:
                events = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_SUCCEEDED
                fate = asyncio.create_task(fate_of(foul, events))
                await asyncio.sleep(0)
                foul.connect()
                assert await fate == zmq.EVENT_HANDSHAKE_FAILED_AUTH
            assert ada.count("zap_denied") == 1
            assert not ada.frames

    run(main)


def test_a_stranger_hears_no_publication() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            bob.transport.subscribe("news")
            with Foul(zmq.SUB, ada, "topics", TransportKey.generate()) as foul:
                foul.socket.subscribe(b"")
                foul.connect()
                await eventually(lambda: ada.count("zap_denied"))
                while not bob.publications:
                    ada.transport.publish("news", b"secret")
                    await asyncio.sleep(0.002)
                assert not await foul.socket.poll(20)

    run(main)


def test_a_client_without_curve_gets_nowhere() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,):
            with zmq.Context() as context, context.socket(zmq.DEALER) as plain:
                plain.setsockopt(zmq.LINGER, 0)
                plain.connect(f"tcp://127.0.0.1:{ada.transport.ports['data']}")
                plain.send(b"hello")
                await eventually(lambda: ada.count("handshakes_failed") > 3)
            assert not ada.frames

    run(main)


def test_a_stolen_routing_id_steals_nothing() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            thief = TransportKey.generate()
            bob.transport.admit(foul_contact("thief", thief))
            ada.send(bob, b"from ada")
            await eventually(lambda: bob.frames)
            (route,) = bob.transport._assembly.lanes[Lane.DATA]._routes.values()
            with Foul(zmq.DEALER, bob, "data", thief) as foul:
                up = asyncio.create_task(fate_of(foul, zmq.EVENT_HANDSHAKE_SUCCEEDED))
                await asyncio.sleep(0)
                foul.connect(routing_id=route.routing_id)
                await up
                bob.send(ada, b"to ada")
                await eventually(lambda: ada.received() == b"to ada")
                await foul.socket.send(b"from ada, honestly")
                bob.send(ada, b", again")
                await eventually(lambda: ada.received() == b"to ada, again")
                assert not await foul.socket.poll(20)
            assert {peer for peer, _, payload in bob.frames if b"honestly" in payload} <= {"thief"}

    run(main)


def test_a_routing_id_that_became_free_is_no_way_to_its_former_holder() -> None:
    async def main() -> None:
        async with nodes("bob") as (bob,):
            keys = {name: TransportKey.generate() for name in ("ada", "thief")}
            for name, key in keys.items():
                bob.transport.admit(foul_contact(name, key))
            assembly = bob.transport._assembly
            # As if the monitor's events were very late: the end of ada's connection goes unseen.
            assembly._monitors._handlers.pop(assembly.lanes[Lane.DATA]._token)
            routing_id = b"\1" + secrets.token_bytes(15)
            with Foul(zmq.DEALER, bob, "data", keys["ada"]) as foul:
                await foul.connect(routing_id).socket.send(b"1")
                await eventually(lambda: len(bob.frames) == 1)
            # While the old connection is not yet gone the new one is ignored by libzmq: again.
            for number in range(50):
                with Foul(zmq.DEALER, bob, "data", keys["thief"]) as foul:
                    said = b"%d" % (2 + number)  # what comes late is another's, which is gone
                    await foul.connect(routing_id).socket.send(said)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.1):
                            await eventually(lambda said=said: bob.received().endswith(said))
                        bob.transport.send(PeerId("ada"), Lane.DATA, b"for ada's eyes")
                        assert not await foul.socket.poll(50)
                        break
            assert bob.frames[0][0] == "ada"
            assert {peer for peer, _, _ in bob.frames[1:]} == {"thief"}

    run(main)


@pytest.mark.parametrize("lane", ["control", "data"])
def test_a_message_of_several_parts_is_dropped_and_its_sender_cut(lane: str) -> None:
    async def main() -> None:
        async with nodes("bob") as (bob,):
            key = TransportKey.generate()
            bob.transport.admit(foul_contact("odd", key))
            with Foul(zmq.DEALER, bob, lane, key) as foul:
                foul.connect()
                fate = asyncio.create_task(fate_of(foul, zmq.EVENT_DISCONNECTED))
                await foul.socket.send_multipart([b"a", b"b", b"c"])
                await fate
            assert bob.count("dropped_malformed") == 1
            assert not bob.frames

    run(main)


def test_a_frame_over_the_limit_ends_the_connection_and_nothing_else() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            key = TransportKey.generate()
            bob.transport.admit(foul_contact("big", key))
            with Foul(zmq.DEALER, bob, "data", key) as foul:
                foul.connect()
                fate = asyncio.create_task(fate_of(foul, zmq.EVENT_DISCONNECTED))
                await foul.socket.send(b"x" * (1024 * 1024))
                await fate
            ada.send(bob, b"still here")
            await eventually(lambda: bob.frames)
            assert bob.received() == b"still here"

    run(main)


def test_an_expelled_peer_is_cut_at_once_and_stays_out() -> None:
    async def main() -> None:
        async with nodes("ada", "bob", "cid") as (ada, bob, cid):
            for lane in Lane:
                ada.send(bob, b"a", lane)
            cid.send(bob, b"c")
            ada.transport.subscribe("news")
            bob.transport.subscribe("olds")
            while not (ada.publications and bob.publications):
                bob.transport.publish("news", b"x")
                ada.transport.publish("olds", b"x")
                await asyncio.sleep(0.002)
            await eventually(lambda: len(bob.frames) == len(Lane) + 1)
            bob.transport.expel(ada.peer_id)
            for lane in Lane:
                await eventually(lambda lane=lane: LinkState.DOWN in ada.states(lane))
                assert bob.states(lane).count(LinkState.DOWN) == 1
            ada.send(bob, b"let me in")
            await eventually(lambda: LinkState.REFUSED in ada.states())
            with pytest.raises(PeerUnreachable):
                bob.send(ada, b"x")
            cid.send(bob, b"C")
            await eventually(lambda: bob.received() in (b"acC", b"caC"))
            ada.publications.clear()
            bob.publications.clear()
            for topic, publisher in (("news", bob), ("olds", ada)):
                cid.transport.subscribe(topic)
                for _ in range(5):
                    cid.publications.clear()
                    while not cid.publications:
                        publisher.transport.publish(topic, b"for members")
                        await asyncio.sleep(0.002)
            assert not ada.publications
            assert not bob.publications
            assert LinkState.DOWN not in cid.states()

    run(main)


@asynccontextmanager
async def silent_connection(to: Node, key: TransportKey) -> AsyncIterator[asyncio.Task[int]]:
    """Connected to the control lane, let in, and mute; yields when it will have been cut."""
    server = to.transport._assembly.lanes[Lane.CONTROL]
    await eventually(lambda: not len(server._connections), "the self-test has left")
    with Foul(zmq.DEALER, to, "control", key) as foul:
        fate = asyncio.create_task(fate_of(foul, zmq.EVENT_DISCONNECTED))
        await asyncio.sleep(0)
        foul.connect()
        await eventually(lambda: to.count("zap_accepted") and len(server._connections))
        yield fate


def test_an_expelled_peer_that_never_said_anything_is_cut_too() -> None:
    async def main() -> None:
        async with nodes("bob") as (bob,):
            key = TransportKey.generate()
            bob.transport.admit(foul_contact("mute", key))
            async with silent_connection(bob, key) as fate:
                bob.transport.expel(PeerId("mute"))
                await fate

    run(main)


def test_a_handshake_that_was_under_way_during_an_expulsion_is_swept_up_later() -> None:
    async def main() -> None:
        async with nodes("bob", settings=slower(handshake_timeout_ms=300)) as (bob,):
            key = TransportKey.generate()
            bob.transport.admit(foul_contact("mute", key))
            bob.transport.admit(foul_contact("other", TransportKey.generate()))
            bob.transport.expel(PeerId("other"))
            async with silent_connection(bob, key) as fate:
                await fate

    run(main)


def test_frames_of_a_key_that_is_on_no_list_any_more_are_dropped_and_their_sender_cut() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            ada.send(bob, b"1")
            await eventually(lambda: bob.frames)
            del bob.transport._peers[ada.key.public.hex()]  # as if cutting had failed
            ada.send(bob, b"2")
            await eventually(lambda: bob.count("dropped_unknown_sender"))
            await eventually(lambda: LinkState.DOWN in ada.states())
            assert bob.received() == b"1"
            bob.transport._peers[ada.key.public.hex()] = ada.peer_id

    run(main)


def test_nobody_is_admitted_under_anothers_key_or_our_own() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            for key in (ada.key, bob.key):
                bob.transport.admit(foul_contact("mallory", key))
            assert bob.count("dropped_key_taken") == 2
            with pytest.raises(PeerUnreachable):
                bob.transport.send(PeerId("mallory"), Lane.DATA, b"x")
            ada.send(bob, b"it is me")
            await eventually(lambda: bob.frames)
            assert bob.frames[0][0] == ada.peer_id

    run(main)


def test_a_key_of_the_wrong_size_is_misuse() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,):
            with pytest.raises(MisuseError, match="32 bytes"):
                ada.transport.admit(Contact(PeerId("x"), b"short", (), {}))

    run(main)


def test_one_peer_cannot_hold_connections_without_end() -> None:
    async def main() -> None:
        async with nodes("bob", settings=slower(routes_per_peer=2)) as (bob,):
            key = TransportKey.generate()
            bob.transport.admit(foul_contact("many", key))
            fouls = [Foul(zmq.DEALER, bob, "data", key) for _ in range(4)]
            for number, foul in enumerate(fouls, 1):
                await foul.connect().socket.send(b"x")
                await eventually(lambda number=number: len(bob.frames) == number)
            assert bob.count("connections_cut") == 2
            for foul in fouls:
                foul.context.destroy(linger=0)

    run(main)


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + b"\0" * 200,
    "zmtp 1.0": b"\x01\x00",
    "half a greeting": b"\xff\0\0\0\0\0\0\0\1\x7f\3",
    "null mechanism": b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL" + b"\0" * 48,
    "curve, then an endless frame": b"\xff\0\0\0\0\0\0\0\1\x7f\3\0CURVE".ljust(66, b"\0")
    + b"\x06"
    + struct.pack(">Q", 2**63 - 1),
    "noise": bytes(range(256)) * 40,
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_at_any_port_is_counted_at_most(what: str) -> None:
    def throw(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as stranger:
            try:
                stranger.sendall(GARBAGE[what])
                stranger.shutdown(socket.SHUT_WR)
                while stranger.recv(4096):
                    pass
            except OSError:
                return  # it was hung up on, which is as good

    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            for name in PORTS:
                await asyncio.to_thread(throw, ada.transport.ports[name])
            bob.send(ada, b"fine")
            await eventually(lambda: ada.frames)
            assert ada.received() == b"fine"
            assert not ada.failures

    run(main)


def test_starting_and_closing_leaks_no_descriptor() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def main() -> None:
        async def once() -> None:
            async with nodes("ada", "bob") as (ada, bob):
                ada.send(bob, b"x")
                ada.transport.subscribe("t")
                await eventually(lambda: bob.frames)

        await once()
        before = descriptors()
        for _ in range(3):
            await once()
        await eventually(lambda: descriptors() <= before)

    if os.path.isdir("/proc/self/fd"):
        run(main)
