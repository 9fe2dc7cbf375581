"""Who may publish and read which topic, by role, namespace and policy, between whole peers."""

from __future__ import annotations

import asyncio

import pytest
from peer_lab import Lab, in_lab, until
from test_peer_topics_restricted import heard

from keys import Role
from keys.policies import parse_policy
from p2p import Peer, PermissionDenied
from p2p.pubsub.messages import decode_run
from p2p.wire import decode_frame

EVERYTHING = '[[rule]]\nname = "all"\neffect = "allow"\nwho = "*"\nactions = "*"\nwhat = "*"\n'


def denying(who: str, action: str, what: str) -> str:
    return (
        f'version = 1\n{EVERYTHING}[[rule]]\nname = "no"\neffect = "deny"\n'
        f'who = "{who}"\nactions = "{action}"\nwhat = "{what}"\n'
    )


def tapped(peer: Peer) -> list[bytes]:
    """What this peer sends where everybody could listen."""
    sent: list[bytes] = []
    publish = peer._transport.publish

    def tap(topic: str, data: bytes) -> None:
        for envelope in decode_frame(data)[0]:
            sent.extend(one for one in decode_run(envelope.payload) or () if one is not None)
        publish(topic, data)

    peer._transport.publish = tap  # type: ignore[method-assign]
    return sent


def test_while_an_observer_is_here_contents_do_not_go_where_it_could_listen() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        got = heard(b.subscribe("news"))
        await a.wait_subscribers("news", 1, 30)
        sent = tapped(a)
        a.publish("news", b"1")
        await until(lambda: len(got) == 1)
        eye = lab.peer("eye", papers=lab.authority.papers("eye", Role.OBSERVER))
        await eye.__aenter__()
        await until(lambda: a.session_of(eye.peer_id))
        eye._transport.subscribe("news")  # past its own node's objection
        await until(lambda: eye.peer_id in a._transport.subscribers("news"))
        a.publish("news", b"2")
        a.publish("conclave/health", b"well")
        await until(lambda: len(got) == 2)
        await asyncio.sleep(3)
        assert sent == [b"1", b"well"]
        assert [(one.payload, one.gap) for one in got] == [(b"1", 0), (b"2", 0)]

    in_lab(scenario)


def test_an_observer_reads_what_is_about_the_network_and_its_history() -> None:
    async def scenario(lab: Lab) -> None:
        lab.peer("eye", papers=lab.authority.papers("eye", Role.OBSERVER))
        a, eye = await lab.up("a", "eye")
        a.publish("conclave/health", b"1")
        a.publish("news/x", b"2")
        got = heard(eye.subscribe("conclave/", replay=5))
        await until(lambda: len(got) == 1)
        with pytest.raises(PermissionDenied, match="eye lacks the permission SUBSCRIBE,"):
            eye.subscribe("news/x")
        with pytest.raises(PermissionDenied, match="eye lacks the permission PUBLISH,"):
            eye.publish("conclave/health", b"3")

    in_lab(scenario)


def test_a_topic_in_a_namespace_is_published_and_read_within_it() -> None:
    async def scenario(lab: Lab) -> None:
        for name, namespaces in (("shop", ("shop",)), ("bank", ("bank",)), ("all", ("*",))):
            lab.peer(name, papers=lab.authority.papers(name, namespaces=namespaces))
        shop, bank, both = await lab.up("shop", "bank", "all")
        with pytest.raises(PermissionDenied, match=r"in the namespace 'shop'.*bank"):
            bank.subscribe("shop:news/")
        with pytest.raises(PermissionDenied, match=r"in the namespace 'shop'.*bank"):
            bank.publish("shop:news/x", b"")
        allowed, mine = heard(both.subscribe("shop:news/")), heard(shop.subscribe("shop:news/x"))
        bank._transport.subscribe("shop:news/x")
        await shop.wait_subscribers("shop:news/x", 2, 30)
        sent = tapped(shop)
        shop.publish("shop:news/x", b"1")
        await until(lambda: allowed and mine)
        assert not sent
        # A member that does not keep to the rules is dropped where it is read, and told of.
        denied: list[tuple[str, str, str, str]] = []
        shop.guard.on_denied.append(lambda who, *rest: denied.append((who.name, *rest)))
        bank._topics._publishing._own = both.principal
        bank.publish("shop:news/x", b"forged")
        bank.publish("shop:news/x", b"forged")
        await until(lambda: shop.counters().get("topics_publications_not_permitted", 0) >= 2)
        await asyncio.sleep(3)
        assert [one.payload for one in mine] == [b"1"]
        assert denied == [("bank", "publish", "shop:news/x", "namespace")]

    in_lab(scenario)


def test_a_policy_counts_while_subscriptions_run_and_for_what_was_published_before() -> None:
    async def scenario(lab: Lab) -> None:
        a, b, c = await lab.up("a", "b", "c")
        subscription = b.subscribe("pay/today")
        others = heard(c.subscribe("pay/today"))
        await a.wait_subscribers("pay/today", 2, 30)
        sent = tapped(a)
        a.publish("pay/today", b"1")
        await until(lambda: others)
        assert [one.payload for one in await subscription.next_batch(9)] == [b"1"]
        policy = parse_policy(denying("name:b", "subscribe", "pay/*"))
        a.guard.set_replicated(policy)
        a.publish("pay/today", b"2")
        await until(lambda: len(others) == 2)
        await asyncio.sleep(3)
        assert sent == [b"1"]
        assert subscription.waiting == 0
        # b has not heard of the policy yet
        late, tree = b.subscribe("pay/today", replay=9), b.subscribe("pay/", replay=9)
        await asyncio.sleep(5)
        assert late.offered == tree.offered == 0
        b.guard.set_replicated(policy)
        with pytest.raises(PermissionDenied, match="rule 'no' of the replicated policy denies b"):
            await subscription.next_batch(9)
        with pytest.raises(PermissionDenied, match="rule 'no'"):
            b.subscribe("pay/")
        b.guard.set_replicated(None)
        a.guard.set_replicated(None)
        again = heard(b.subscribe("pay/", replay=9))
        await until(lambda: len(again) == 2)
        a.publish("pay/today", b"3")
        await until(lambda: len(again) == len(others) == 3)
        assert sent == [b"1", b"3"]

    in_lab(scenario)


def test_who_may_publish_no_more_hears_it_at_once_and_is_dropped_by_those_who_know() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        got = heard(b.subscribe("news", replay=5))
        await a.wait_subscribers("news", 1, 30)
        a.publish("news", b"0")
        await until(lambda: got)
        policy = parse_policy(denying("name:a", "publish", "news"))
        b.guard.set_file(policy)
        a.publish("news", b"1")
        a.publish("news", b"2", only=lambda _: True)
        await until(lambda: b.counters().get("topics_publications_not_permitted", 0) >= 2)
        await asyncio.sleep(5)  # nor by way of a repair
        assert [one.payload for one in got] == [b"0"]
        a.guard.set_file(policy)
        with pytest.raises(PermissionDenied, match="rule 'no' of the file policy denies a"):
            a.publish("news", b"3")

    in_lab(scenario)
