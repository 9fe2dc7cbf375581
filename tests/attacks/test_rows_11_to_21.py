"""Rows 11 to 21: floods, exhaustion, and members that break the rules of ZeroMQ itself."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zmq
from transport_lab import QUICK, Foul, Node, eventually, foul_contact, nodes, run, slower
from zmtp_lab import MORE, Raw, frame, resident_bytes

from keys import PeerId, TransportKey
from p2p.links import Lane

ROOT = Path(__file__).resolve().parents[2]


def test_row_11_when_nobody_checks_keys_nobody_gets_in_and_the_node_closes() -> None:
    async def main() -> None:
        async with nodes("alpha") as (alpha,):  # its own test is a minute away
            friend = Node("friend")
            alpha.admit(friend)
            assert alpha.transport._assembly is not None
            alpha.transport._assembly.zap.stop()
            for key in (friend.key, TransportKey.generate()):
                async with await Raw.to(alpha.transport.ports["data"]) as raw:
                    with contextlib.suppress(TimeoutError, asyncio.IncompleteReadError):
                        async with asyncio.timeout(0.5):
                            assert await raw.shake_hands(key, alpha.key.public) != b"READY"
            assert not alpha.frames
        async with nodes("alpha", settings=slower(self_test_interval_ms=50)) as (alpha,):
            assert alpha.transport._assembly is not None
            alpha.transport._assembly.zap.stop()
            await eventually(lambda: alpha.failures, "the node says that it stopped")
            assert "lets peers in has died" in str(alpha.failures[0])

    run(main)


async def flood(port: int, is_over: Callable[[int], bool]) -> int:
    """Open connections as fast as this process can, and drop each at once."""
    made = 0
    while not is_over(made):
        for _ in range(50):
            with contextlib.suppress(OSError), socket.socket() as one:
                one.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    one.connect(("127.0.0.1", port))
                made += 1
        await asyncio.sleep(0)
    return made


def test_row_12_a_flood_of_connections_stops_no_member() -> None:
    async def main() -> None:
        async with nodes("alpha", "friend") as (alpha, friend):
            friend.send(alpha, b"<")
            await eventually(lambda: alpha.received() == b"<")
            passed, began_s = 0, time.perf_counter()

            def is_over(made: int) -> bool:
                return made > 1000 and passed > 20 and time.perf_counter() > began_s + 1.5

            attack = asyncio.create_task(flood(alpha.transport.ports["data"], is_over))
            while not attack.done():
                before = len(alpha.frames)
                friend.send(alpha, b".")
                await eventually(lambda before=before: len(alpha.frames) > before)
                passed += 1
            made = await attack
            assert passed > made / 5000, f"only {passed} messages passed beside {made} connections"
            assert friend.states() in ([], [*friend.states()[:1]]), "the link never broke"
            await eventually(lambda: alpha.count("handshakes_failed") > 0, "it shows in figures")

    run(main)


_BESIEGED = textwrap.dedent(
    """
    import asyncio, resource, sys
    from dataclasses import replace
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
    sys.path[:0] = sys.argv[1:2]
    from transport_lab import Node, eventually, foul_contact, slower
    from keys import TransportKey
    async def main():
        alpha = Node("alpha", slower(handshake_timeout_ms=60_000))
        async with alpha.transport:
            for number, key in enumerate(sys.argv[2:]):
                contact = foul_contact(f"friend {number}", TransportKey.generate())
                alpha.transport.admit(replace(contact, curve_public=bytes.fromhex(key)))
            alpha.on_frame = alpha.transport.send
            print(alpha.transport.ports["data"], alpha.key.public.hex(), flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            await eventually(lambda: alpha.count("connections_shed") > 100)
            said = sorted({payload.decode() for _, _, payload in alpha.frames})
            print(alpha.count("connections_shed"), *said, flush=True)
    asyncio.run(main())
    """
)


def test_row_13_whoever_uses_up_descriptors_is_shed_and_members_stay() -> None:
    friends = [Node("friend"), Node("newcomer")]
    keys = [friend.key.public.hex() for friend in friends]
    with subprocess.Popen(
        [sys.executable, "-c", _BESIEGED, str(ROOT / "tests/p2p/transport"), *keys],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as node:
        assert node.stdin is not None
        assert node.stdout is not None
        port, public = node.stdout.readline().split()
        alpha = foul_contact("alpha", TransportKey.generate(), {"data": int(port)})
        alpha = replace(alpha, curve_public=bytes.fromhex(public))

        async def main() -> None:
            friend, newcomer = friends
            async with friend.transport, newcomer.transport:
                for each in friends:
                    each.transport.admit(alpha)
                friend.transport.send(alpha.peer_id, Lane.DATA, b"before")
                await eventually(lambda: friend.states())
                crowd = [socket.socket() for _ in range(900)]
                for one in crowd:
                    one.setblocking(False)
                    with contextlib.suppress(OSError):
                        one.connect(("127.0.0.1", int(port)))
                friend.transport.send(alpha.peer_id, Lane.DATA, b"after")
                await eventually(lambda: b"after" in friend.received())
                while b"new" not in newcomer.received():  # it may be cut as one of the silent
                    newcomer.transport.send(alpha.peer_id, Lane.DATA, b"new")
                    await asyncio.sleep(0.02)
                node.stdin.write("\n")
                node.stdin.flush()
                told.append(await asyncio.to_thread(node.stdout.readline))
                for one in crowd:
                    one.close()

        told: list[str] = []
        run(main)
        shed, *said = told[0].split()
        node.stdin.close()
        assert node.wait(20) == 0
    assert set(said) >= {"before", "after", "new"}
    assert int(shed) > 100


def test_row_14_a_frame_belongs_to_the_key_and_never_to_a_routing_id() -> None:
    async def main() -> None:
        async with nodes("alpha") as (alpha,):
            keys = {name: TransportKey.generate() for name in ("victim", "thief")}
            for name, key in keys.items():
                alpha.transport.admit(foul_contact(name, key))
            port, public = alpha.transport.ports["data"], alpha.key.public
            async with await Raw.to(port) as victim, await Raw.to(port) as thief:
                await victim.shake_hands(keys["victim"], public, identity=b"\1same-id")
                await victim.say(victim.message(b"by the victim"))
                await eventually(lambda: len(alpha.frames) == 1)
                await thief.shake_hands(keys["thief"], public, identity=b"\1same-id")
                await thief.say(thief.message(b"by the thief"))
                alpha.transport.send(PeerId("victim"), Lane.DATA, b"secret")
                _, sealed = await victim.next_frame()
                assert sealed.startswith(b"\7MESSAGE")
                await asyncio.sleep(0.1)
                who = {payload: sender for sender, _, payload in alpha.frames}
                assert who[b"by the victim"] == "victim"
                assert who.get(b"by the thief", "thief") == "thief"
                alpha.transport.expel(PeerId("thief"))
                assert await thief.closed()

    run(main)


@pytest.mark.parametrize(
    "identity", [b"", b"\1" * 255, b"\1" * 300, b"\0" * 5, b"\1" * 70_000], ids=len
)
def test_row_15_odd_routing_ids_do_no_harm(identity: bytes) -> None:
    async def main() -> None:
        async with nodes("alpha", "friend") as (alpha, friend):
            key = TransportKey.generate()
            alpha.transport.admit(foul_contact("odd", key))
            async with await Raw.to(alpha.transport.ports["data"]) as raw:
                with contextlib.suppress(
                    ConnectionError, asyncio.IncompleteReadError, TimeoutError
                ):
                    async with asyncio.timeout(1):
                        await raw.shake_hands(key, alpha.key.public, identity=identity)
                        await raw.say(raw.message(b"odd"))
                        await asyncio.sleep(0.05)
            friend.send(alpha, b"after")
            await eventually(lambda: b"after" in alpha.received())
            assert {sender for sender, _, _ in alpha.frames} <= {"odd", "friend"}

    run(main)


def test_row_16_what_a_peer_says_of_itself_in_properties_has_no_effect() -> None:
    async def main() -> None:
        async with nodes("alpha", "friend") as (alpha, friend):
            key = TransportKey.generate()
            alpha.transport.admit(foul_contact("liar", key))
            lies = {
                b"User-Id": friend.key.public.hex().encode(),
                b"user-id": friend.key.public.hex().encode(),
                b"X-Role": b"admin",
                b"Peer-Address": b"10.0.0.1",
            }
            async with await Raw.to(alpha.transport.ports["data"]) as raw:
                assert await raw.shake_hands(key, alpha.key.public, extra=lies) == b"READY"
                await raw.say(raw.message(b"whose is this?"))
                await eventually(lambda: alpha.frames)
            assert alpha.frames == [("liar", Lane.DATA, b"whose is this?")]

    run(main)


@pytest.mark.parametrize("lane", ["data", "bulk", "topics"])
def test_row_17_a_message_without_end_is_cut_before_it_fills_the_memory(
    lane: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What counts is what was read, and the bulk thread gives way to whatever else a machine runs.
    monkeypatch.setattr("p2p.transport.sockets.gentle_bulk_thread", contextlib.nullcontext)

    async def main() -> None:
        settings = slower(unfinished_bytes=4 << 20, unfinished_check_ms=20)
        async with nodes("alpha", "friend", settings=settings) as (alpha, friend):
            key = TransportKey.generate()
            alpha.transport.admit(foul_contact("endless", key))
            kind = b"SUB" if lane == "topics" else b"DEALER"
            before = resident_bytes()
            async with await Raw.to(alpha.transport.ports[lane]) as raw:
                assert await raw.shake_hands(key, alpha.key.public, kind=kind) == b"READY"
                sent = 0
                for _ in range(4000):
                    if alpha.count("connections_unfinished"):
                        break
                    await raw.say(raw.message(bytes(60_000), MORE))
                    await asyncio.sleep(0)  # the node lives on this loop too
                    sent += 60_000
                assert alpha.count("connections_unfinished") == 1, f"after {sent:,} bytes"
                assert await raw.closed()
            assert resident_bytes() - before < 128 << 20
            friend.send(alpha, b"after")
            await eventually(lambda: b"after" in alpha.received())

    run(main)


def test_row_17_whoever_sends_much_in_whole_messages_is_not_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("p2p.transport.sockets.gentle_bulk_thread", contextlib.nullcontext)

    async def main() -> None:
        settings = slower(unfinished_bytes=16 << 20, unfinished_check_ms=5)
        async with nodes("alpha", "friend", settings=settings) as (alpha, friend):
            for _ in range(60):
                friend.send_body(alpha, b"part", bytes(900_000))
                await asyncio.sleep(0.005)
            await eventually(lambda: len(alpha.bodies) == 60)
            assert alpha.count("connections_unfinished") == 0
            assert friend.count("connections_unfinished") == 0

    run(main)


def test_row_17_the_side_that_was_dialled_cannot_do_it_either() -> None:
    async def main() -> None:
        settings = slower(unfinished_bytes=4 << 20, unfinished_check_ms=20)
        async with nodes("alpha", settings=settings) as (alpha,):
            key, context = TransportKey.generate(), zmq.Context()
            with context.socket(zmq.ROUTER) as foul:
                foul.setsockopt(zmq.LINGER, 0)
                foul.setsockopt(zmq.SNDHWM, 0)
                foul.curve_secretkey = key.export_secret()
                foul.curve_server = True
                cut = foul.get_monitor_socket(zmq.EVENT_DISCONNECTED)
                port = foul.bind_to_random_port("tcp://127.0.0.1")
                alpha.transport.admit(foul_contact("foul", key, {"data": port}))
                alpha.transport.send(PeerId("foul"), Lane.DATA, b"hello")
                await eventually(lambda: foul.poll(0))
                routing_id, _ = foul.recv_multipart()
                foul.send(routing_id, zmq.SNDMORE)
                for _ in range(1000):
                    if alpha.count("connections_unfinished"):
                        break
                    with contextlib.suppress(zmq.ZMQError):
                        foul.send(bytes(60_000), zmq.SNDMORE)
                    await asyncio.sleep(0.001)
                # libzmq sends parts only when the last one is there: then it is one large message.
                foul.send(b"", 0)
                await eventually(
                    lambda: (
                        alpha.count("connections_unfinished") + alpha.count("dropped_malformed") > 0
                    )
                )
                # libzmq 4.3.5 aborts (`session_base.cpp:233`) when a socket is closed that has sent
                # half of a message, at the moment when its connection breaks: here the attacker's,
                # in our process. Once it has seen that it was cut it has nothing left to trip over.
                await eventually(lambda: cut.poll(0))
                foul.disable_monitor()
            context.destroy(linger=0)

    run(main)


@pytest.mark.parametrize("parts", [2, 3, 200])
def test_row_18_too_many_parts_and_empty_frames_are_counted_and_cut(parts: int) -> None:
    async def main() -> None:
        async with nodes("alpha") as (alpha,):
            key = TransportKey.generate()
            alpha.transport.admit(foul_contact("foul", key))
            for lane in ("control", "data"):
                async with await Raw.to(alpha.transport.ports[lane]) as raw:
                    assert await raw.shake_hands(key, alpha.key.public) == b"READY"
                    said = [raw.message(b"", MORE) for _ in range(parts - 1)]
                    await raw.say(b"".join(said) + raw.message(b""))
                    assert await raw.closed()
            assert alpha.count("dropped_malformed") == 2
            assert not alpha.frames

    run(main)


@pytest.mark.parametrize(
    "ping",
    [
        b"\4PING\0\0" + b"x" * 10_000,
        b"\4PING\0\0",
        b"\4PING",
        b"\4PING\xff\xff" + b"c" * 16,
        b"\4PONG" + b"x" * 300,
        b"\6CANCELx",
        b"\377PING",
        b"",
    ],
)
def test_row_19_odd_pings_are_ignored_or_cut(ping: bytes) -> None:
    async def main() -> None:
        async with nodes("alpha", "friend") as (alpha, friend):
            key = TransportKey.generate()
            alpha.transport.admit(foul_contact("foul", key))
            async with await Raw.to(alpha.transport.ports["data"]) as raw:
                assert await raw.shake_hands(key, alpha.key.public) == b"READY"
                for _ in range(50):
                    await raw.say(raw.message(ping, 2))
                await raw.say(frame(ping, 4))
            friend.send(alpha, b"after")
            await eventually(lambda: b"after" in alpha.received())
            assert {sender for sender, _, _ in alpha.frames} <= {"friend", "foul"}

    run(main)


def test_row_20_subscriptions_without_end_are_cut_at_the_limit_and_forgotten() -> None:
    async def main() -> None:
        async with nodes("alpha") as (alpha,):
            key = TransportKey.generate()
            alpha.transport.admit(foul_contact("greedy", key))
            before = resident_bytes()
            async with await Raw.to(alpha.transport.ports["topics"]) as raw:
                assert await raw.shake_hands(key, alpha.key.public, kind=b"SUB") == b"READY"
                for number in range(30_000):
                    if raw.reader.at_eof() or alpha.count("topics_cut_subscriptions"):
                        break
                    await raw.say(raw.message(b"\1topic/%032d\0" % number))
                assert await raw.closed()
            assert alpha.count("topics_cut_subscriptions") >= 1
            await eventually(
                lambda: alpha.transport.subscribers("topic/" + "0" * 32) == frozenset()
            )
            assert resident_bytes() - before < 64 << 20

    run(main)


@pytest.mark.parametrize("name", [b"", b"n", b"news", b"news\0more", b"\0", b"\0x", b"a\0b/"])
def test_row_21_only_a_whole_topic_or_subtree_can_be_subscribed_to(name: bytes) -> None:
    async def main() -> None:
        async with nodes("alpha") as (alpha,):
            key = TransportKey.generate()
            alpha.transport.admit(foul_contact("nosy", key))
            with Foul(zmq.SUB, alpha, "topics", key) as foul:
                foul.socket.setsockopt(zmq.SUBSCRIBE, name)
                foul.connect()
                await eventually(lambda: alpha.count("topics_cut_subscriptions"))
                for _ in range(20):
                    alpha.transport.publish("news/secret", b"hush")
                    await asyncio.sleep(0.002)
                assert alpha.transport.subscribers("news/secret") == frozenset()

    run(main)


def test_row_21_topics_and_subtrees_are_heard_as_before() -> None:
    async def main() -> None:
        async with nodes("alpha", "friend", settings=QUICK) as (alpha, friend):
            for topic in ("news", "stocks/"):
                friend.transport.subscribe(topic)
            await eventually(lambda: alpha.transport.subscribers("news"))
            await eventually(lambda: alpha.transport.subscribers("stocks/a"))
            alpha.transport.publish("stocks/a", b"1")
            await eventually(lambda: friend.publications == [("alpha", "stocks/a", b"1")])
            assert alpha.count("topics_cut_subscriptions") == 0

    run(main)
