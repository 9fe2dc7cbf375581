"""Publications: who hears what, and what a slow reader costs the others."""

from __future__ import annotations

import asyncio

import pytest
import zmq
from transport_lab import QUICK, Foul, Node, apart, eventually, foul_contact, nodes, run, slower

from keys import PeerId, TransportKey
from p2p.errors import MisuseError, PayloadTooLarge
from p2p.links import frame_of

MIB = 1024 * 1024


async def heard(publisher: Node, subscriber: Node, topic: str) -> None:
    """Publish until it is heard: the subscription has arrived. Then forget all that."""
    subscriber.transport.subscribe(topic)
    async with asyncio.timeout(5):
        while not subscriber.publications:
            publisher.transport.publish(topic, b"anyone?")
            await asyncio.sleep(0.002)
    publisher.transport.publish(topic, b"last")
    await eventually(lambda: subscriber.publications[-1][2].endswith(b"last"))
    subscriber.publications.clear()


def joined(node: Node) -> bytes:
    return b"".join(apart(payload) for _, _, payload in node.publications)


def test_a_publication_arrives_with_the_publishers_name() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            await heard(ada, bob, "news")
            ada.transport.publish("news", b"1")
            await eventually(lambda: bob.publications)
            assert bob.publications == [(ada.peer_id, "news", b"1")]
            assert not ada.publications

    run(main)


def test_topics_match_as_a_whole_and_not_by_prefix() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            await heard(ada, bob, "agent.1")
            for topic in ("agent.10", "agent", "agent.1.x", "agent.1"):
                ada.transport.publish(topic, topic.encode())
            await eventually(lambda: bob.publications)
            assert bob.publications == [(ada.peer_id, "agent.1", b"agent.1")]

    run(main)


def test_publications_of_one_turn_share_a_frame() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            await heard(ada, bob, "x")
            for letter in b"abc":
                ada.transport.publish("x", bytes([letter]))
                ada.transport.publish("y", b"not for you")
            await eventually(lambda: bob.publications)
            assert bob.publications == [(ada.peer_id, "x", frame_of([b"a", b"b", b"c"]))]

    run(main)


def test_everything_published_at_the_pace_of_the_readers_arrives_in_order() -> None:
    async def main() -> None:
        async with nodes("ada", "bob", "cid") as (ada, bob, cid):
            await heard(ada, bob, "x")
            await heard(ada, cid, "x")
            await eventually(lambda: joined(bob).endswith(b"last"))
            bob.publications.clear()
            for number in range(30_000):
                ada.transport.publish("x", number.to_bytes(4, "big"))
                if number % 200 == 0:
                    await asyncio.sleep(0)
                if ada.transport.topics_queued_bytes > 100_000:
                    await eventually(lambda: ada.transport.topics_queued_bytes < 50_000)
            whole = b"".join(number.to_bytes(4, "big") for number in range(30_000))
            await eventually(lambda: len(joined(bob)) == len(joined(cid)) == len(whole))
            assert joined(bob) == joined(cid) == whole
            assert ada.count("topics_lossy_frames") == 0

    run(main)


def test_a_peer_admitted_later_is_heard_too() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,), nodes("bob") as (bob,):
            bob.transport.subscribe("news")
            bob.admit(ada)
            ada.admit(bob)
            await heard(ada, bob, "news")

    run(main)


def test_without_a_subscription_nobody_is_dialled() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            ada.transport.publish("news", b"x")
            await asyncio.sleep(0)
            assert bob.count("dials") == 0
            await heard(ada, bob, "news")
            assert bob.count("dials") == 1

    run(main)


def test_after_the_last_unsubscription_the_connection_ends() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            await heard(ada, bob, "x")
            await heard(ada, bob, "y")
            bob.transport.unsubscribe("x")
            await heard(ada, bob, "y")
            ada.transport.publish("x", b"for nobody")
            ada.transport.publish("y", b"for bob")
            await eventually(lambda: bob.publications)
            assert bob.publications == [(ada.peer_id, "y", b"for bob")]
            bob.transport.unsubscribe("y")
            server = ada.transport._assembly.topics
            await eventually(lambda: not server._subscriptions)
            bob.transport.unsubscribe("y")

    run(main)


def test_a_publisher_that_restarts_under_a_new_key_is_heard_again() -> None:
    async def main() -> None:
        async with nodes("bob") as (bob,):
            for _ in range(2):
                async with nodes("ada") as (ada,):
                    ada.admit(bob)
                    bob.admit(ada)
                    await heard(ada, bob, "news")

    run(main)


@pytest.mark.parametrize("topic", ["", "a\0b", "x" * 256])
def test_a_topic_that_cannot_be_is_misuse(topic: str) -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,):
            for call in (ada.transport.subscribe, ada.transport.unsubscribe):
                with pytest.raises(MisuseError, match="no topic"):
                    call(topic)
            with pytest.raises(MisuseError, match="no topic"):
                ada.transport.publish(topic, b"x")

    run(main)


def test_the_largest_publication_arrives_and_a_larger_one_is_refused() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            await heard(ada, bob, "big")
            limit = QUICK.frame_limit_bytes - len("big") - 1
            ada.transport.publish("big", b"x" * limit)
            with pytest.raises(PayloadTooLarge):
                ada.transport.publish("big", b"x" * (limit + 1))
            await eventually(lambda: len(joined(bob)) == limit)

    run(main)


def test_a_subscriber_that_does_not_read_holds_nobody_up_for_long_and_is_counted() -> None:
    async def main() -> None:
        settings = slower(high_water_frames=4, topics_patience_ms=30, topics_budget_bytes=4 * MIB)
        async with nodes("ada", "bob", settings=settings) as (ada, bob):
            key = TransportKey.generate()
            ada.transport.admit(foul_contact("asleep", key))
            with Foul(zmq.SUB, ada, "topics", key) as foul:
                foul.socket.setsockopt(zmq.RCVHWM, 1)
                foul.socket.subscribe(b"news\0")
                foul.connect()
                await heard(ada, bob, "news")
                await eventually(lambda: len(ada.transport.subscribers("news")) == 2)
                for number in range(40):
                    ada.transport.publish("news", bytes([number]) * (MIB // 2))
                    due_bytes = (number + 1) * (MIB // 2)
                    await eventually(lambda due=due_bytes: len(joined(bob)) == due)
                    assert ada.transport.topics_queued_bytes <= 5 * MIB
            assert ada.count("topics_lossy_frames") > 0
            assert bytes(joined(bob)[:: MIB // 2]) == bytes(range(40))

    run(main)


def test_a_subscriber_that_asks_for_too_much_is_cut() -> None:
    async def main() -> None:
        settings = slower(subscriptions_per_peer=10)
        async with nodes("ada", "bob", settings=settings) as (ada, bob):
            key = TransportKey.generate()
            ada.transport.admit(foul_contact("greedy", key))
            await heard(ada, bob, "news")
            with Foul(zmq.SUB, ada, "topics", key) as foul:
                for number in range(11):
                    foul.socket.subscribe(b"%d\0" % number)
                foul.connect()
                await eventually(lambda: ada.count("topics_cut_subscriptions"))
                assert ada.count("connections_cut") == 1
            await heard(ada, bob, "news")

    run(main)


def test_what_is_no_subscription_is_counted_and_dropped() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,):
            key = TransportKey.generate()
            ada.transport.admit(foul_contact("chatty", key))
            with Foul(zmq.XSUB, ada, "topics", key) as foul:
                foul.connect()
                await foul.socket.send(b"hello upstream")
                await eventually(lambda: ada.count("dropped_malformed") == 1)
                await foul.socket.send_multipart([b"\1a\0", b"more"])
                await eventually(lambda: ada.count("dropped_malformed") >= 2)

    run(main)


def test_a_publisher_cannot_speak_for_another_or_under_a_topic_nobody_asked_for() -> None:
    async def main() -> None:
        async with nodes("bob") as (bob,):
            key = TransportKey.generate()
            with zmq.Context() as context, context.socket(zmq.XPUB) as foul:
                foul.setsockopt(zmq.LINGER, 0)
                foul.curve_secretkey = key.export_secret()
                foul.curve_server = True
                port = foul.bind_to_random_port("tcp://127.0.0.1")
                ports = {"control": 1, "data": 1, "topics": port}
                bob.transport.admit(foul_contact("liar", key, ports))
                bob.transport.subscribe("news")
                await eventually(lambda: foul.poll(0))
                foul.send_multipart([b"news\0from ada", b"a second part"])
                await eventually(lambda: bob.count("dropped_malformed") == 1)
                foul.send(b"news\0from ada")
                await eventually(lambda: bob.publications)
                assert bob.publications == [(PeerId("liar"), "news", b"from ada")]

    run(main)
