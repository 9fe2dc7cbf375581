"""Topics between whole peers over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from time import time

import pytest
from peer_lab import Authority

from p2p import LanSettings, LanWorld, Peer, Publication, SubscriberTooSlow

pytestmark = pytest.mark.e2e
LOOPBACK = "127.0.0.1"
DEADLINE_S = 20.0


@asynccontextmanager
async def peers_of(names: str) -> AsyncIterator[list[Peer]]:
    now_ms = int(time() * 1000)
    authority = Authority("lab", wall_ms=now_ms)
    peers: list[Peer] = []
    async with AsyncExitStack() as stack:
        for name in names:
            seeds = tuple(f"{LOOPBACK}:{peer.ports['door']}" for peer in peers[:1])
            settings = LanSettings(host=LOOPBACK, seeds=seeds, mdns=False)
            peer = Peer(authority.papers(name, incarnation=now_ms), LanWorld(settings))
            peers.append(await stack.enter_async_context(peer))
        async with asyncio.timeout(DEADLINE_S):
            while not all(len(peer.presence.present()) == len(names) - 1 for peer in peers):
                await asyncio.sleep(0.01)
        yield peers


def run(main: Callable[..., Coroutine[None, None, None]], names: str = "ab") -> None:
    async def whole() -> None:
        async with peers_of(names) as peers:
            await main(*peers)

    asyncio.run(asyncio.wait_for(whole(), 2 * DEADLINE_S))


async def publish(publisher: Peer, topic: str, count: int, payload: bytes = b"x") -> None:
    """Publish at the pace of the slowest subscriber."""
    for _ in range(count):
        publisher.publish(topic, payload)
        await publisher.room_to_publish()


def test_a_burst_at_the_pace_of_its_subscriber_loses_nothing() -> None:
    async def main(a: Peer, b: Peer) -> None:
        count = 200_000
        subscription = b.subscribe("burst", buffer=2000, policy="block")
        await a.wait_subscribers("burst", 1, DEADLINE_S)
        publishing = asyncio.ensure_future(publish(a, "burst", count, bytes(64)))
        due = 1
        while due <= count:
            for one in await subscription.next_batch(1000):
                assert (one.sequence, one.gap) == (due, 0)
                due += 1
        await publishing
        assert subscription.dropped == 0

    run(main)


def test_who_reads_one_by_one_gets_the_same() -> None:
    async def main(a: Peer, b: Peer) -> None:
        subscription = b.subscribe("one/", buffer=500, policy="block")
        await a.wait_subscribers("one/x", 1, DEADLINE_S)
        publishing = asyncio.ensure_future(publish(a, "one/x", 20_000))
        got: list[int] = []
        async for one in subscription:
            got.append(one.sequence)
            if one.sequence == 20_000:
                break
        await publishing
        assert got == list(range(1, 20_001))

    run(main)


def test_a_subscriber_that_does_not_read_pays_as_its_policy_says() -> None:
    async def main(a: Peer, b: Peer) -> None:
        oldest = b.subscribe("slow", buffer=100, policy="drop_oldest")
        newest = b.subscribe("slow", buffer=100, policy="drop_newest")
        strict = b.subscribe("slow", buffer=100, policy="error")
        await a.wait_subscribers("slow", 1, DEADLINE_S)
        await publish(a, "slow", 5000)
        async with asyncio.timeout(DEADLINE_S):
            while oldest.dropped < 4900 or newest.dropped < 4900:
                await asyncio.sleep(0.01)
        last: list[Publication] = await oldest.next_batch(1000)
        assert [one.sequence for one in last] == list(range(4901, 5001))
        assert last[0].gap == 4900
        first = await newest.next_batch(1000)
        assert [one.sequence for one in first] == list(range(1, 101))
        a.publish("slow", b"next")
        (after,) = await newest.next_batch(1000)
        assert (after.sequence, after.gap) == (5001, 4900)
        assert len(await strict.next_batch(1000)) == 100
        with pytest.raises(SubscriberTooSlow, match="'slow'"):
            await strict.next_batch(1000)

    run(main)


def test_a_publisher_waits_for_a_subscriber_that_blocks_and_goes_on_with_it() -> None:
    async def main(a: Peer, b: Peer) -> None:
        payload = bytes(8000)
        subscription = b.subscribe("block", buffer=100, policy="block")
        await a.wait_subscribers("block", 1, DEADLINE_S)
        publishing = asyncio.ensure_future(publish(a, "block", 5000, payload))
        done, _ = await asyncio.wait([publishing], timeout=0.5)
        assert not done  # 40 MB are more than all buffers on the way
        got = 0
        while got < 5000:
            for one in await subscription.next_batch(50):
                got += 1
                assert (one.sequence, one.gap) == (got, 0)
            await asyncio.sleep(0)
        await publishing

    run(main)


def test_thousands_of_subscriptions_each_hear_their_own_topic() -> None:
    async def main(a: Peer, b: Peer) -> None:
        topics = [f"task/{n}" for n in range(2000)]
        subscriptions = {topic: b.subscribe(topic, buffer=4) for topic in topics}
        for topic in topics:
            await a.wait_subscribers(topic, 1, DEADLINE_S)
        for topic in topics:
            a.publish(topic, topic.encode())
        async with asyncio.timeout(DEADLINE_S):
            for topic, subscription in subscriptions.items():
                one = await anext(subscription)
                assert (one.topic, one.payload, one.gap) == (topic, topic.encode(), 0)
        assert not any(subscription.waiting for subscription in subscriptions.values())
        for subscription in subscriptions.values():
            subscription.close()
        async with asyncio.timeout(DEADLINE_S):
            while any(a._transport.subscribers(topic) for topic in topics):
                await asyncio.sleep(0.01)

    run(main)


def test_hundreds_of_topics_come_through_one_subtree_each_in_its_order() -> None:
    async def main(a: Peer, b: Peer) -> None:
        subscription = b.subscribe("metrics/", buffer=2000, policy="block")
        beside = b.subscribe("metrics2/x")
        topics = [f"metrics/host{n}/cpu" for n in range(300)]
        await a.wait_subscribers(topics[0], 1, DEADLINE_S)

        async def publish_all() -> None:
            for _ in range(100):
                for topic in topics:
                    a.publish(topic, topic.encode())
                    await a.room_to_publish()

        publishing = asyncio.ensure_future(publish_all())
        due = dict.fromkeys(topics, 1)
        for _ in range(100 * len(topics)):
            one = await anext(subscription)
            assert (one.sequence, one.gap, one.payload) == (due[one.topic], 0, one.topic.encode())
            due[one.topic] += 1
        await publishing
        assert subscription.dropped == 0
        assert not beside.waiting

    run(main)


def test_who_reads_loses_nothing_while_a_publisher_waits_for_another() -> None:
    """What has not left yet is not told of as if it had been lost on the way."""

    async def main(a: Peer, b: Peer, c: Peer) -> None:
        count, payload = 5000, bytes(8000)
        blocks = b.subscribe("pace", buffer=100, policy="block")
        reads = c.subscribe("pace", buffer=count)
        await a.wait_subscribers("pace", 2, DEADLINE_S)
        publishing = asyncio.ensure_future(publish(a, "pace", count, payload))
        await asyncio.sleep(2.0)  # its head would be told after half a second, and asked for
        assert not publishing.done()
        for subscription in (blocks, reads):
            due = 1
            while due <= count:
                for one in await subscription.next_batch(100):
                    assert (one.sequence, one.gap) == (due, 0)
                    due += 1
        await publishing

    run(main, "abc")
