"""Restricted messages, permissions and foul members, between whole peers on virtual time."""

from __future__ import annotations

import asyncio

import pytest
from peer_lab import Lab, in_lab, until

from keys import Principal, Role
from p2p import BadTopic, MisuseError, Peer, PermissionDenied, Publication, Subscription
from p2p.pubsub.messages import Alone, encode_alone, encode_run
from p2p.wire import Envelope, Kind, encode_envelope, encode_payload

READERS: list[asyncio.Future[None]] = []


def heard(subscription: Subscription) -> list[Publication]:
    """Collect in the background what comes, in order."""
    got: list[Publication] = []

    async def read() -> None:
        while batch := await subscription.next_batch(1000):
            got.extend(batch)

    READERS.append(asyncio.ensure_future(read()))
    return got


def is_manager(who: Principal) -> bool:
    return bool(who.roles & Role.MANAGER)


async def manager_and_service(lab: Lab) -> tuple[Peer, Peer, Peer]:
    lab.peer("boss", papers=lab.authority.papers("boss", Role.MANAGER))
    a, b, boss = await lab.up("a", "b", "boss")
    return a, b, boss


@pytest.mark.parametrize("seed", range(5))
def test_a_lossy_network_loses_no_restricted_message_and_shows_it_to_nobody_else(seed: int) -> None:
    async def scenario(lab: Lab) -> None:
        a, b, boss = await manager_and_service(lab)
        managers, services = heard(boss.subscribe("pay")), heard(b.subscribe("pay"))
        await a.wait_subscribers("pay", 2, 30)
        a.keep_history("pay", messages=300)
        a.publish("pay", b"1")
        await until(lambda: managers and services)
        lab.network.faults.loss = 0.2
        for n in range(2, 121):
            a.publish("pay", b"%d" % n, only=is_manager if n % 3 == 0 else None)
            await asyncio.sleep(0.02)
        lab.network.faults.loss = 0.0
        await until(lambda: len(managers) >= 120 and len(services) >= 80, 60)
        await asyncio.sleep(5)
        secret = [int(one.payload) for one in managers if int(one.payload) % 3 == 0]
        public = [int(one.payload) for one in managers if int(one.payload) % 3]
        assert secret == list(range(3, 121, 3))
        assert public == [n for n in range(1, 121) if n % 3]
        assert [int(one.payload) for one in services] == public
        assert not any(one.gap for one in managers + services)
        assert all(one.sequence == int(one.payload) for one in managers)

    in_lab(scenario, seed)


def test_the_last_restricted_message_is_missed_without_a_further_one() -> None:
    async def scenario(lab: Lab) -> None:
        a, b, boss = await manager_and_service(lab)
        managers, services = heard(boss.subscribe("pay")), heard(b.subscribe("pay"))
        await a.wait_subscribers("pay", 2, 30)
        a.publish("pay", b"open")
        await until(lambda: managers and services)
        lab.network.faults.loss = 1.0
        a.publish("pay", b"secret", only=is_manager)
        await asyncio.sleep(0.01)
        lab.network.faults.loss = 0.0
        await until(lambda: len(managers) == 2, 5)
        assert (managers[1].payload, managers[1].gap) == (b"secret", 0)
        await asyncio.sleep(5)
        assert len(services) == 1

    in_lab(scenario)


def test_after_a_partition_restricted_messages_come_too() -> None:
    async def scenario(lab: Lab) -> None:
        a, _, boss = await manager_and_service(lab)
        managers = heard(boss.subscribe("pay"))
        await a.wait_subscribers("pay", 1, 30)
        a.publish("pay", b"open")
        await until(lambda: managers)
        others = [world.host for name, world in lab.worlds.items() if name != "a"]
        lab.network.partition([lab.worlds["a"].host], others)
        for n in range(3):
            a.publish("pay", b"%d" % n, only=is_manager)
        await until(lambda: a.peer_id not in boss.presence.present(), 60)
        lab.network.heal()
        await until(lambda: len(managers) == 4, 60)
        assert [one.payload for one in managers] == [b"open", b"0", b"1", b"2"]

    in_lab(scenario)


def test_restricted_messages_that_are_no_longer_kept_are_a_gap() -> None:
    async def scenario(lab: Lab) -> None:
        a, _, boss = await manager_and_service(lab)
        a.keep_history("pay", messages=0)
        managers = heard(boss.subscribe("pay"))
        await a.wait_subscribers("pay", 1, 30)
        a.publish("pay", b"1", only=is_manager)
        await until(lambda: managers)
        lab.network.faults.loss = 1.0
        a.publish("pay", b"2", only=is_manager)
        await asyncio.sleep(0.01)
        lab.network.faults.loss = 0.0
        a.publish("pay", b"3", only=is_manager)
        await until(lambda: len(managers) == 2)
        assert [(one.payload, one.gap) for one in managers] == [(b"1", 0), (b"3", 1)]
        assert boss.counters()["topics_lost"] >= 1

    in_lab(scenario)


def test_a_predicate_that_raises_raises_at_the_publisher_or_lets_nobody_read() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        got = heard(b.subscribe("t"))
        await a.wait_subscribers("t", 1, 30)
        with pytest.raises(ZeroDivisionError):
            a.publish("t", b"x", only=lambda _: bool(1 // 0))
        first = a.publish("t", b"x", only=lambda who: who.peer_id == a.peer_id or bool(1 // 0))
        a.publish("t", b"y")
        await until(lambda: got)
        assert first == 1
        assert [one.payload for one in got] == [b"y"]
        assert a.counters()["topics_predicates_failed"] >= 1

    in_lab(scenario)


def test_who_may_not_subscribe_is_refused_and_gets_nothing_restricted() -> None:
    async def scenario(lab: Lab) -> None:
        lab.peer("eye", papers=lab.authority.papers("eye", Role.OBSERVER))
        a, eye = await lab.up("a", "eye")
        with pytest.raises(PermissionDenied, match="subscrib"):
            eye.subscribe("pay")
        allowed = eye._topics._own
        eye._topics._own = a.principal  # a member that does not keep to the rules
        got = heard(eye.subscribe("pay", replay=5))
        eye._topics._own = allowed
        await a.wait_subscribers("pay", 1, 30)
        a.publish("pay", b"secret", only=lambda _: True)
        await asyncio.sleep(5)
        assert not got

    in_lab(scenario)


def test_names_that_are_no_topics_are_refused_here_and_dropped_from_others() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        got = heard(b.subscribe("t/"))
        await a.wait_subscribers("t/x", 1, 30)
        for name in ("t//x", "/t", "t/\x1b[2J", "\n"):
            with pytest.raises(BadTopic):
                a.publish(name, b"")
            with pytest.raises(BadTopic):
                a.subscribe(name)
            with pytest.raises(BadTopic):
                a.keep_history(name)
        with pytest.raises(MisuseError, match="replay"):
            a.subscribe("t", replay=-1)
        foul = "t/\x1b[2J"  # what a member sends that does not keep to the rules
        run = Envelope(Kind.PUBLICATION, 9, 1, foul, 0, 1, b"", encode_run([b"x"]))
        a._transport.publish(foul, encode_envelope(run))
        a.notify(b.peer_id, "topics.restricted", encode_alone(Alone(foul, 9, 1, 0, b"x")))
        a.notify(b.peer_id, "topics.heads", encode_payload([[foul, 9, 1, 0]]))
        await until(lambda: b.counters().get("topics_publications_malformed") == 2)
        await until(lambda: b.counters().get("topics_heads_malformed") == 1)
        assert not got

    in_lab(scenario)


def test_a_topic_that_began_during_a_partition_is_replayed_where_that_was_wanted() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        wanting, other = heard(b.subscribe("t/", replay=10)), heard(b.subscribe("t/"))
        await a.wait_subscribers("t/old", 1, 30)
        a.publish("t/old", b"before")
        await until(lambda: wanting and other)
        lab.network.partition([lab.worlds["a"].host], [lab.worlds["b"].host])
        for n in range(3):
            a.publish("t/new", b"%d" % n)
        a.publish("t/old", b"meanwhile")
        await until(lambda: not b.presence.present(), 60)
        lab.network.heal()
        await until(lambda: len(wanting) == 5 and len(other) == 2, 60)
        assert [one.payload for one in wanting if one.topic == "t/new"] == [b"0", b"1", b"2"]
        assert [one.payload for one in other] == [b"before", b"meanwhile"]
        await a.wait_subscribers("t/new", 1, 30)
        a.publish("t/new", b"3")
        await until(lambda: len(wanting) == 6 and len(other) == 3)
        assert not any(one.gap for one in wanting + other)

    in_lab(scenario)


def test_a_reader_that_holds_its_publishers_gets_a_long_history_at_its_own_pace() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        a.keep_history("long", messages=300, bytes_=30_000_000)
        for n in range(1, 201):
            a.publish("long", b"%d" % n * 30_000)
            await asyncio.sleep(0)
        subscription = b.subscribe("long", buffer=2, policy="block", replay=200)
        await until(lambda: subscription.waiting)
        await asyncio.sleep(20)
        assert subscription.waiting_bytes < 2_000_000
        got: list[int] = []
        while len(got) < 200:
            got += [one.sequence for one in await subscription.next_batch(10)]
        assert got == list(range(1, 201))
        assert subscription.dropped == 0

    in_lab(scenario)


def test_drops_are_counted_by_policy_and_stay_counted_when_a_subscription_ends() -> None:
    async def scenario(lab: Lab) -> None:
        (a,) = await lab.up("a")
        oldest = a.subscribe("t", buffer=2)
        newest = a.subscribe("t", buffer=3, policy="drop_newest")
        a.subscribe("t", buffer=4, policy="error")
        for _ in range(10):
            a.publish("t", b"")
        await asyncio.sleep(0)
        counters = a.counters()
        assert counters["topics_dropped_drop_oldest"] == 8
        assert counters["topics_dropped_drop_newest"] == 7
        assert counters["topics_dropped_error"] == 6
        oldest.close()
        newest.close()
        assert a.counters()["topics_dropped_drop_oldest"] == 8

    in_lab(scenario)
