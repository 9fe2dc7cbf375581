"""Topics between whole peers on virtual time: what is lost comes back, or is counted."""

from __future__ import annotations

import asyncio
import sys

import pytest
from peer_lab import Lab, in_lab, until

from keys import Role
from p2p import (
    BadTopic,
    MisuseError,
    NotEnoughSubscribers,
    Papers,
    PayloadTooLarge,
    Peer,
    PermissionDenied,
    Publication,
    Subscription,
)

READERS: list[asyncio.Future[None]] = []


def heard(subscription: Subscription) -> list[Publication]:
    """Collect in the background what comes, in order."""
    got: list[Publication] = []

    async def read() -> None:
        while batch := await subscription.next_batch(1000):
            got.extend(batch)

    READERS.append(asyncio.ensure_future(read()))
    return got


async def joined(publisher: Peer, topic: str, count: int = 1) -> None:
    await publisher.wait_subscribers(topic, count, 30)


@pytest.mark.parametrize("seed", range(5))
def test_a_lossy_network_loses_nothing_that_is_kept(seed: int) -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        a.keep_history("news", messages=300)
        got = heard(b.subscribe("news"))
        await joined(a, "news")
        a.publish("news", b"0")
        await until(lambda: got)
        lab.network.faults.loss = 0.2
        for n in range(1, 300):
            a.publish("news", b"%d" % n)
            await asyncio.sleep(0.01)
        lab.network.faults.loss = 0.0
        await until(lambda: len(got) >= 300)
        assert [one.payload for one in got] == [b"%d" % n for n in range(300)]
        assert all(one.gap == 0 for one in got)
        assert b.counters()["topics_repaired"] > 10

    in_lab(scenario, seed)


def test_a_loss_at_the_end_is_found_without_a_further_message() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        got = heard(b.subscribe("news"))
        await joined(a, "news")
        a.publish("news", b"first")
        await until(lambda: got)
        lab.network.faults.loss = 1.0
        a.publish("news", b"last")
        await asyncio.sleep(0.01)
        lab.network.faults.loss = 0.0
        await until(lambda: len(got) == 2, 5)
        assert (got[1].payload, got[1].gap) == (b"last", 0)

    in_lab(scenario)


def test_what_is_no_longer_kept_is_counted_as_a_gap() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        a.keep_history("news", messages=10)
        got = heard(b.subscribe("news"))
        await joined(a, "news")
        a.publish("news", b"1")
        await until(lambda: got)
        lab.network.faults.loss = 1.0
        for n in range(50):
            a.publish("news", b"%d" % n)
            await asyncio.sleep(0.001)
        lab.network.faults.loss = 0.0
        a.publish("news", b"52")
        await until(lambda: got[-1].sequence == 52)
        assert sum(one.gap for one in got) + len(got) == 52
        assert got[1].gap > 0
        assert b.counters()["topics_lost"] == got[1].gap

    in_lab(scenario)


def test_without_repair_nothing_is_asked_for() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        got = heard(b.subscribe("news", repair=False))
        await joined(a, "news")
        a.publish("news", b"1")
        await until(lambda: got)
        lab.network.faults.loss = 1.0
        a.publish("news", b"2")
        await asyncio.sleep(0.01)
        lab.network.faults.loss = 0.0
        a.publish("news", b"3")
        await until(lambda: len(got) == 2)
        assert (got[1].sequence, got[1].gap) == (3, 1)

    in_lab(scenario)


def test_a_late_joiner_gets_the_last_messages_of_all_publishers_itself_among_them() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        for n in range(1, 11):
            a.publish("t/x", b"a%d" % n)
            b.publish("t/y", b"b%d" % n)
        await asyncio.sleep(1)
        got = heard(b.subscribe("t/", replay=3))
        await until(lambda: len(got) == 6)
        a.publish("t/x", b"a11")
        await until(lambda: len(got) == 7)
        assert [p.payload for p in got if p.topic == "t/x"] == [b"a8", b"a9", b"a10", b"a11"]
        assert [p.payload for p in got if p.topic == "t/y"] == [b"b8", b"b9", b"b10"]
        assert all(p.gap == 0 for p in got)

    in_lab(scenario)


def test_a_publisher_that_comes_later_replays_too_and_a_history_may_take_many_pages() -> None:
    async def scenario(lab: Lab) -> None:
        (b,) = await lab.up("b")
        got = heard(b.subscribe("big/", replay=40, buffer=5000))
        a = lab.peer("a")
        await a.__aenter__()
        for topic in ("big/1", "big/2", "big/3"):
            a.keep_history(topic, messages=100, bytes_=10_000_000)
            for n in range(1, 51):
                a.publish(topic, b"%d" % n * 20_000)
        await until(lambda: len(got) >= 120, 60)
        for topic in ("big/1", "big/2", "big/3"):
            seen = [one.sequence for one in got if one.topic == topic]
            assert seen[-40:] == list(range(11, 51))

    in_lab(scenario)


def test_a_publisher_that_was_started_again_is_a_new_beginning_and_no_gap() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        got = heard(b.subscribe("news", replay=10))
        await joined(a, "news")
        for n in range(5):
            a.publish("news", b"%d" % n)
        await until(lambda: len(got) == 5)
        await a.__aexit__(None, None, None)
        own = a._own.credentials
        later = a.incarnation + (1 << 21)
        papers = Papers(own.identity, own.chain, own.trust, own.name, later)
        again = lab.peer("a", papers=papers)
        await again.__aenter__()
        again.publish("news", b"anew")  # before anybody hears it
        await until(lambda: len(got) == 6)
        assert (got[5].sequence, got[5].gap, got[5].payload) == (1, 0, b"anew")
        await joined(again, "news")
        again.publish("news", b"on")
        await until(lambda: len(got) == 7)
        assert (got[6].sequence, got[6].gap) == (2, 0)

    in_lab(scenario)


def test_after_a_partition_what_was_missed_comes_without_a_further_message() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        got = heard(b.subscribe("news"))
        await joined(a, "news")
        a.publish("news", b"1")
        await until(lambda: got)
        lab.network.partition([lab.worlds["a"].host], [lab.worlds["b"].host])
        for n in range(2, 6):
            a.publish("news", b"%d" % n)
        await until(lambda: not a.presence.present() and not b.presence.present(), 60)
        await asyncio.sleep(10)
        lab.network.heal()
        await until(lambda: len(got) == 5, 60)
        assert [one.payload for one in got] == [b"1", b"2", b"3", b"4", b"5"]
        assert all(one.gap == 0 for one in got)

    in_lab(scenario)


def test_a_restricted_message_reaches_only_those_who_may_read_it() -> None:
    async def scenario(lab: Lab) -> None:
        boss = lab.peer("boss", papers=lab.authority.papers("boss", Role.MANAGER))
        a, b, _ = await lab.up("a", "b", "boss")
        managers, services = heard(boss.subscribe("pay")), heard(b.subscribe("pay"))
        mine = heard(a.subscribe("pay"))
        await joined(a, "pay", 2)
        sent: list[bytes] = []
        publish = a._transport.publish
        a._transport.publish = lambda topic, data: (sent.append(data), publish(topic, data))  # type: ignore[method-assign]
        a.publish("pay", b"for all")
        secret = a.publish("pay", b"secret", only=lambda who: bool(who.roles & Role.MANAGER))
        a.publish("pay", b"for all again")
        await until(lambda: len(managers) == 3 and len(services) == 2)
        await asyncio.sleep(5)
        assert {p.payload for p in managers} == {b"for all", b"secret", b"for all again"}
        assert [p.payload for p in services] == [b"for all", b"for all again"]
        assert [p.gap for p in managers + services] == [0] * 5
        assert [p.payload for p in mine] == [b"for all", b"for all again"]
        assert secret == 2
        assert not any(b"secret" in data for data in sent)
        late, allowed = heard(b.subscribe("pay", replay=9)), heard(boss.subscribe("pay", replay=9))
        await until(lambda: len(late) == 2 and len(allowed) == 3)
        assert [p.payload for p in allowed] == [b"for all", b"secret", b"for all again"]
        assert [p.payload for p in late] == [b"for all", b"for all again"]

    in_lab(scenario)


def test_what_a_member_without_the_permission_publishes_is_refused_and_dropped() -> None:
    async def scenario(lab: Lab) -> None:
        lab.peer("eye", papers=lab.authority.papers("eye", Role.OBSERVER))
        eye, b = await lab.up("eye", "b")
        got = heard(b.subscribe("news"))
        await joined(eye, "news")
        with pytest.raises(PermissionDenied, match="publish"):
            eye.publish("news", b"x")
        eye._topics._publishing._own = b.principal  # a member that does not keep to the rules
        eye.publish("news", b"x")
        await until(lambda: b.counters().get("topics_publications_not_permitted"))
        assert not got

    in_lab(scenario)


def test_a_reader_that_blocks_holds_its_publishers_and_loses_nothing() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        subscription = b.subscribe("news", buffer=100, policy="block")
        await joined(a, "news")
        for n in range(1, 2001):
            a.publish("news", bytes(1000))
            if n % 50 == 0:
                await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        assert subscription.waiting < 1000
        got: list[Publication] = []
        while len(got) < 2000:
            got += await subscription.next_batch(64)
            await asyncio.sleep(0.001)
        assert [one.sequence for one in got] == list(range(1, 2001))
        assert not any(one.gap for one in got)

    in_lab(scenario)


def test_names_and_payloads_that_cannot_be_are_refused() -> None:
    async def scenario(lab: Lab) -> None:
        (a,) = await lab.up("a")
        for name in ("", "x" * 256, "a\0b", "below/"):
            with pytest.raises(BadTopic):
                a.publish(name, b"")
        with pytest.raises(BadTopic):
            a.subscribe("")
        with pytest.raises(PayloadTooLarge):
            a.publish("a", bytes(900_001))
        with pytest.raises(MisuseError, match="str"):
            a.publish("a", "text")  # type: ignore[arg-type]
        with pytest.raises(NotEnoughSubscribers, match="0 of 1"):
            await a.wait_subscribers("a", 1, 0.5)

    in_lab(scenario)


def test_what_was_published_before_a_subscription_of_ones_own_is_history_to_it() -> None:
    async def scenario(lab: Lab) -> None:
        [ada] = await lab.up("ada")
        for n in range(3):
            ada.publish("news", b"%d" % n)
        late, early = ada.subscribe("news", replay=2), ada.subscribe("news")
        ada.publish("news", b"after")
        assert [(await anext(late)).payload for _ in range(3)] == [b"1", b"2", b"after"]
        assert (await anext(early)).payload == b"after"

    in_lab(scenario)


@pytest.mark.usefixtures("uncollected")
def test_ending_one_of_many_subscriptions_of_a_topic_looks_at_no_other() -> None:
    """A program may let go of thousands at once, and its node has other work."""

    async def scenario(lab: Lab) -> None:
        ada, _ = await lab.up("ada", "bob")

        def steps(count: int) -> int:
            """Lines that run to end the first of so many."""
            subscriptions = [ada.subscribe("news") for _ in range(count)]
            lines = 0

            def trace(frame: object, event: str, arg: object) -> object:
                nonlocal lines
                lines += event == "line"
                return trace

            sys.settrace(trace)  # type: ignore[arg-type]
            subscriptions[0].close()
            sys.settrace(None)
            for subscription in subscriptions[1:]:
                subscription.close()
            return lines

        steps(1)  # the first one ever asks the classes what they are
        assert 0 < steps(1_000) == steps(10)

    in_lab(scenario)
