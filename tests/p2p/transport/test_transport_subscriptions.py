"""Names of topics, who listens to which, and subscribers that ask to be waited for."""

from __future__ import annotations

import asyncio
import time

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from transport_lab import Foul, Node, eventually, foul_contact, nodes, run, slower

from keys import TransportKey
from p2p.errors import MisuseError
from p2p.topic_names import HOLD, SEAM, subscription_name, subtrees_above, wire_name
from p2p.transport.subscriptions import MAX_WORDS, Subscriptions

KIB = 1024
HALF_MIB = 512 * KIB
topics = st.text("ab/", min_size=1, max_size=8)


def hears(subscribed: str, topic: str) -> bool:
    """The rule in plain words: the same name, or somewhere below one that ends with a slash."""
    return subscribed == topic or (subscribed.endswith("/") and topic.startswith(subscribed))


@given(topics, topics.filter(lambda topic: not topic.endswith("/")))
def test_the_prefix_on_the_wire_and_the_table_both_say_who_hears_what(
    subscribed: str, topic: str
) -> None:
    asked, name = subscription_name(subscribed, 255), wire_name(topic, 255)
    table: Subscriptions[str] = Subscriptions(limit=9, name_bytes=255)
    table.add("ada", asked)
    assert name.startswith(asked) == hears(subscribed, topic)
    assert (table.of(name) == {"ada"}) == hears(subscribed, topic)


@pytest.mark.parametrize("topic", ["", "\0", "a\0b", "\udc80", "é" * 128])
def test_what_cannot_be_a_name(topic: str) -> None:
    with pytest.raises(MisuseError, match="no topic"):
        subscription_name(topic, 255)


def test_a_subtree_is_subscribed_to_and_not_published_on() -> None:
    assert subscription_name("metrics/", 255) == b"metrics/"
    with pytest.raises(MisuseError, match="subtree"):
        wire_name("metrics/", 255)


def test_all_subtrees_above_a_topic_are_found() -> None:
    assert subtrees_above(b"a/b/c\0") == [b"a/", b"a/b/"]
    assert subtrees_above(b"/a\0") == [b"/"]
    assert subtrees_above(b"abc\0") == []


WORDS = frozenset({HOLD, *(SEAM + b"%d" % number for number in range(MAX_WORDS))})
steps = st.tuples(
    st.sampled_from(["add", "remove", "forget"]),
    st.sampled_from("xyz"),
    st.sampled_from([b"a\0", b"a/", b"a/b\0", b"b\0", *WORDS, b"too long a name\0"]),
)


@given(st.lists(steps))
def test_the_table_keeps_no_more_than_its_limit_and_knows_what_it_keeps(
    actions: list[tuple[str, str, bytes]],
) -> None:
    table: Subscriptions[str] = Subscriptions(limit=3, name_bytes=9)
    kept: dict[str, set[bytes]] = {}
    for action, connection, name in actions:
        mine = kept.get(connection, set())
        if action == "forget":
            table.forget(connection)
            kept.pop(connection, None)
        elif action == "remove":
            table.remove(connection, name)
            mine.discard(name)
        else:
            is_full = len(mine & WORDS) == MAX_WORDS if name in WORDS else len(mine - WORDS) == 3
            fits = name in mine or (len(name) <= 10 and not is_full)
            assert table.add(connection, name) is fits
            kept[connection] = mine | {name} if fits else mine
        table.check_invariants()
    assert table.holding() == {one for one, names in kept.items() if HOLD in names}
    for connection, names in kept.items():
        assert table.count(connection) == len(names - WORDS)


def test_a_subscriber_that_holds_may_subscribe_to_as_much_as_any_other() -> None:
    table: Subscriptions[str] = Subscriptions(limit=2, name_bytes=9)
    for names in ((HOLD, b"a\0", b"b\0"), (b"a\0", b"b\0", HOLD)):
        assert [table.add("ada", name) for name in names] == [True] * 3
        assert not table.add("ada", b"c\0")
        assert table.count("ada") == 2
        table.forget("ada")
        table.check_invariants()


def test_a_subtree_hears_what_is_below_it_under_its_own_name() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            bob.transport.subscribe("task/")
            bob.transport.subscribe("task/1")
            await eventually(lambda: ada.transport.subscribers("task/1"))
            for topic in ("task", "tasks", "task.1", "task/10", "task/1", "task/1/log"):
                ada.transport.publish(topic, topic.encode())
            await eventually(lambda: len(bob.publications) == 3)
            assert [(topic, payload) for _, topic, payload in bob.publications] == [
                ("task/10", b"task/10"),
                ("task/1", b"task/1"),
                ("task/1/log", b"task/1/log"),
            ]
            bob.publications.clear()
            bob.transport.unsubscribe("task/")
            await eventually(lambda: not ada.transport.subscribers("task/10"))
            ada.transport.publish("task/10", b"for nobody")
            ada.transport.publish("task/1", b"for bob")
            await eventually(lambda: bob.publications)
            assert bob.publications == [(ada.peer_id, "task/1", b"for bob")]

    run(main)


def test_a_publisher_knows_who_listens() -> None:
    async def main() -> None:
        async with nodes("ada", "bob", "cid") as (ada, bob, cid):
            bob.transport.subscribe("news/today")
            cid.transport.subscribe("news/")
            both = {bob.peer_id, cid.peer_id}
            await eventually(lambda: ada.transport.subscribers("news/today") == both)
            assert ada.transport.subscribers("news/other") == {cid.peer_id}
            assert ada.transport.subscribers("newspaper") == frozenset()
            assert ada.transport.links()[cid.peer_id].subscriptions == 1
            bob.transport.unsubscribe("news/today")
            await eventually(lambda: ada.transport.subscribers("news/today") == {cid.peer_id})
            ada.transport.expel(cid.peer_id)
            assert ada.transport.subscribers("news/today") == frozenset()

    run(main)


def test_a_subscriber_that_is_gone_listens_no_more() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,):
            async with nodes("bob") as (bob,):
                ada.admit(bob)
                bob.admit(ada)
                bob.transport.subscribe("x")
                await eventually(lambda: ada.transport.subscribers("x") == {bob.peer_id})
            await eventually(lambda: not ada.transport.subscribers("x"))

    run(main)


async def fill(ada: Node, reader: Node) -> int:
    """Publish until something has to wait for a reader that holds; returns how many that were."""
    reader.transport.subscribe("x")
    await eventually(lambda: ada.transport.subscribers("x"))
    reader.transport.hold_topics(True)
    await eventually(lambda: ada.transport.links()[reader.peer_id].holds_topics)
    number = 0
    while ada.transport.topics_queued_bytes < 3 * HALF_MIB:
        ada.transport.publish("x", bytes([number]) * HALF_MIB)
        number += 1
        await asyncio.sleep(0.002)
    return number


def test_who_holds_loses_nothing_and_hears_it_all_when_it_goes_on() -> None:
    async def main() -> None:
        settings = slower(high_water_frames=2, topics_patience_ms=1)
        async with nodes("ada", "bob", settings=settings) as (ada, bob):
            count = await fill(ada, bob)
            await asyncio.sleep(0.1)  # a hundred times what one that is merely slow is granted
            assert not bob.publications
            # From now on it is slow for as long as the threads of libzmq wait for a processor.
            ada.transport._assembly.topics._settings = slower(topics_patience_ms=5_000)
            bob.transport.hold_topics(False)
            await eventually(lambda: len(bob.publications) == count)
            assert [payload[0] for _, _, payload in bob.publications] == list(range(count))
            assert ada.count("topics_lossy_frames") == 0
            await eventually(lambda: not ada.transport.links()[bob.peer_id].holds_topics)

    run(main)


def test_who_goes_on_reading_just_before_the_publisher_stands_still_is_not_left_behind() -> None:
    async def main() -> None:
        async with nodes("ada", "bob", settings=slower(high_water_frames=2)) as (ada, bob):
            server = ada.transport._assembly.topics
            patience_s = server._settings.topics_patience_ms / 1000
            await fill(ada, bob)
            while server._stall.unforgiven_s <= patience_s:
                if ada.transport.topics_queued_bytes < 3 * HALF_MIB:  # the system took some more
                    ada.transport.publish("x", bytes(HALF_MIB))
                await asyncio.sleep(0.002)
            (connection,) = server._subscriptions
            server._note(connection, 0, HOLD)
            time.sleep(1.5 * patience_s)  # noqa: ASYNC251 - the publisher has no processor
            server.flush()
            assert ada.count("topics_lossy_frames") == 0
            assert server._frames, "bob reads nothing still"
            await eventually(lambda: ada.count("topics_lossy_frames"))

    run(main)


def test_who_holds_for_too_long_is_left_behind() -> None:
    async def main() -> None:
        settings = slower(high_water_frames=2, topics_patience_ms=1, topics_hold_patience_ms=100)
        async with nodes("ada", "bob", settings=settings) as (ada, bob):
            bob.transport.subscribe("x")
            await eventually(lambda: ada.transport.subscribers("x"))
            bob.transport.hold_topics(True)
            await eventually(lambda: ada.transport.links()[bob.peer_id].holds_topics)
            while not ada.count("topics_lossy_frames"):
                ada.transport.publish("x", bytes(HALF_MIB))
                await asyncio.sleep(0.002)
            await eventually(lambda: ada.transport.topics_queued_bytes == 0)
            bob.transport.hold_topics(False)
            await eventually(lambda: bob.publications)

    run(main)


def test_who_has_read_everything_loses_nothing_while_another_is_left_behind() -> None:
    """However much waits for the slow one, and however little time libzmq's threads have."""

    async def main() -> None:
        settings = slower(high_water_frames=8, topics_hold_patience_ms=100)
        async with nodes("ada", "bob", "cid", settings=settings) as (ada, bob, cid):
            for node in (bob, cid):
                node.transport.subscribe("x")
            await eventually(lambda: len(ada.transport.subscribers("x")) == 2)
            bob.transport.hold_topics(True)
            await eventually(lambda: ada.transport.links()[bob.peer_id].holds_topics)
            number = 0
            while not ada.count("topics_lossy_frames"):
                while ada.transport.topics_queued_bytes < 64 * 32 * KIB:
                    ada.transport.publish("x", number.to_bytes(4, "big") + bytes(32 * KIB))
                    number += 1
                await asyncio.sleep(0.002)
            await eventually(lambda: len(cid.publications) == number)
            heard = [int.from_bytes(payload[:4], "big") for _, _, payload in cid.publications]
            assert heard == list(range(number))
            assert not bob.publications

    run(main)


def test_what_waits_for_who_holds_is_bounded_in_bytes() -> None:
    async def main() -> None:
        settings = slower(high_water_frames=2, topics_budget_bytes=4 * HALF_MIB)
        async with nodes("ada", "bob", settings=settings) as (ada, bob):
            await fill(ada, bob)
            for _ in range(8):
                ada.transport.publish("x", b"x" * HALF_MIB)
                assert ada.transport.topics_queued_bytes <= 5 * HALF_MIB + KIB
                await asyncio.sleep(0)
            assert ada.count("topics_lossy_frames") > 0

    run(main)


def test_what_a_broken_connection_held_is_counted() -> None:
    async def main() -> None:
        async with nodes("ada", "bob") as (ada, bob):
            bob.transport.subscribe("x")
            await eventually(lambda: ada.transport.subscribers("x"))
            bob.transport.hold_topics(True)
            await eventually(lambda: ada.transport.links()[bob.peer_id].holds_topics)
            for _ in range(10):
                ada.transport.publish("x", b"unread")
                await asyncio.sleep(0.002)
            ada.transport.expel(bob.peer_id)
            await eventually(lambda: bob.count("topics_dropped_held"))
            assert not bob.publications

    run(main)


def test_a_connection_made_while_we_hold_is_held_too() -> None:
    async def main() -> None:
        async with nodes("ada") as (ada,), nodes("bob") as (bob,):
            bob.transport.subscribe("x")
            bob.transport.hold_topics(True)
            ada.admit(bob)
            bob.admit(ada)
            await eventually(lambda: ada.transport.links()[bob.peer_id].holds_topics)
            await eventually(lambda: ada.transport.subscribers("x"))
            ada.transport.publish("x", b"1")
            await asyncio.sleep(0.05)
            assert not bob.publications
            bob.transport.hold_topics(False)
            await eventually(lambda: bob.publications)

    run(main)


def test_a_name_that_is_no_text_reaches_nobody() -> None:
    """A publisher of its own kind may publish anything below a subtree."""

    async def main() -> None:
        async with nodes("bob") as (bob,):
            key = TransportKey.generate()
            with zmq.Context() as context, context.socket(zmq.XPUB) as foul:
                foul.setsockopt(zmq.LINGER, 0)
                foul.curve_secretkey = key.export_secret()
                foul.curve_server = True
                port = foul.bind_to_random_port("tcp://127.0.0.1")
                bob.transport.admit(foul_contact("liar", key, {"topics": port}))
                bob.transport.subscribe("a/")
                await eventually(lambda: foul.poll(0))
                for message in (b"a/\xff\0x", b"a/no end", b"a/fine\0x"):
                    foul.send(message)
                await eventually(lambda: bob.publications)
                assert [topic for _, topic, _ in bob.publications] == ["a/fine"]
                assert bob.count("dropped_malformed") == 2

    run(main)


def test_holding_for_another_topic_buys_a_slow_reader_nothing() -> None:
    async def main() -> None:
        settings = slower(high_water_frames=2, topics_patience_ms=20)
        async with nodes("ada", "bob", settings=settings) as (ada, bob):
            bob.transport.subscribe("other")
            bob.transport.hold_topics(True)
            key = TransportKey.generate()
            ada.transport.admit(foul_contact("asleep", key))
            with Foul(zmq.SUB, ada, "topics", key) as foul:
                foul.socket.setsockopt(zmq.RCVHWM, 1)
                foul.socket.subscribe(b"x\0")
                foul.connect()
                await eventually(lambda: ada.transport.subscribers("x"))
                await eventually(lambda: ada.transport.links()[bob.peer_id].holds_topics)
                while not ada.count("topics_lossy_frames"):
                    ada.transport.publish("x", b"x" * HALF_MIB)
                    await asyncio.sleep(0.002)

    run(main)
