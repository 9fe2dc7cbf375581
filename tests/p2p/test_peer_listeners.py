"""Topics among peers without links to each other, in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from peer_lab import Lab, in_lab, until

from p2p import Peer, SwimSettings, listeners
from p2p.members import reaching
from p2p.pubsub import NotEnoughSubscribers, Publication, Subscription

FEW = SwimSettings(mesh=2, rings=1, links=4)  # beyond five members, two neighbours each


@pytest.fixture(autouse=True)
def soon_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaching, "IDLE_MS", 5_000)


def links_of(peer: Peer) -> set[str]:
    return {session.peer_id for session in peer.gathering.sessions}


async def sparse(lab: Lab, count: int = 12) -> list[Peer]:
    """Peers with links to their neighbours, and hardly any other."""
    peers = [lab.peer(f"n{number}", settings=FEW) for number in range(count)]
    for peer in peers:
        await peer.__aenter__()
    await until(lambda: all(len(peer.presence.present()) >= count - 1 for peer in peers))
    await until(lambda: all(len(links_of(peer)) <= 3 for peer in peers), 600)
    return peers


def far_from(peers: list[Peer], peer: Peer, count: int = 1) -> list[Peer]:
    far = [p for p in peers if p is not peer and p.peer_id not in links_of(peer)]
    assert len(far) >= count
    return far[:count]


def heard(subscription: Subscription) -> list[Publication]:
    got: list[Publication] = []

    async def read() -> None:
        async for publication in subscription:
            got.append(publication)

    asyncio.get_running_loop().create_task(read())
    return got


def payloads(got: list[Publication]) -> list[bytes]:
    return [one.payload for one in got]


def test_who_listens_far_away_hears_from_the_first_message_on() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        a = peers[0]
        (b,) = far_from(peers, a)
        got, below = heard(b.subscribe("news")), heard(b.subscribe("deep/"))
        await asyncio.sleep(2)
        assert b.peer_id not in links_of(a), "nothing is published, and no link is needed"
        for number in range(20):
            a.publish("news", b"%d" % number)
            a.publish("deep/er", b"%d" % number)
            await asyncio.sleep(0.01)
        wanted = [b"%d" % number for number in range(20)]
        await until(lambda: payloads(got) == wanted and payloads(below) == wanted, 3)
        assert [one.gap for one in got] == [0] * 20

    in_lab(scenario)


def test_what_a_single_message_says_reaches_those_far_away() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        a = peers[0]
        far = far_from(peers, a, 5)
        got = [heard(peer.subscribe("news")) for peer in far]
        await asyncio.sleep(2)
        a.publish("news", b"once")
        await until(lambda: all(payloads(each) == [b"once"] for each in got), 3)

    in_lab(scenario)


def test_subscribers_that_are_waited_for_are_linked() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        a = peers[0]
        far = far_from(peers, a, 4)
        got = [heard(peer.subscribe("news")) for peer in far]
        await a.wait_subscribers("news", 4, 5.0)
        a.publish("news", b"to all")
        await until(lambda: all(payloads(each) == [b"to all"] for each in got), 1)
        with pytest.raises(NotEnoughSubscribers):
            await a.wait_subscribers("news", 5, 1.0)

    in_lab(scenario)


def test_a_publisher_keeps_links_to_so_many_listeners_and_counts_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listeners, "MAX_LINKS", 2)

    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        a = peers[0]
        far = far_from(peers, a, 5)
        got = [heard(peer.subscribe("news")) for peer in far]
        await asyncio.sleep(2)
        a.publish("news", b"once")
        await asyncio.sleep(5)
        assert sorted(map(payloads, got)) == [[], [], [], [b"once"], [b"once"]]
        assert a.counters()["topics_listeners_unlinked"] >= 3
        await a.wait_subscribers("news", 2, 1)
        with pytest.raises(NotEnoughSubscribers):
            await a.wait_subscribers("news", 3, 1)

    in_lab(scenario)


def test_links_to_those_who_listen_stay_while_something_is_published_and_then_end() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        a = peers[0]
        (b,) = far_from(peers, a)
        subscription = b.subscribe("news")
        got = heard(subscription)
        await asyncio.sleep(2)
        a.publish("news", b"first")
        await until(lambda: payloads(got) == [b"first"], 3)
        await asyncio.sleep(120)
        assert b.peer_id in links_of(a), "idle, and kept"
        await until(lambda: b.peer_id not in links_of(a), 900)
        a.publish("news", b"much later")
        a.publish("news", b"and more")
        await until(lambda: payloads(got) == [b"first", b"much later", b"and more"], 5)
        assert [one.gap for one in got] == [0, 0, 0]
        subscription.close()
        await until(lambda: b.peer_id not in links_of(a), 60)
        a.publish("news", b"nobody listens")
        await asyncio.sleep(5)
        assert b.peer_id not in links_of(a)

    in_lab(scenario)


def test_a_replay_comes_from_publishers_without_a_link() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        a = peers[0]
        (b,) = far_from(peers, a)
        for number in range(10):
            a.publish("news", b"%d" % number)
        await asyncio.sleep(1)
        got = heard(b.subscribe("news", replay=3))
        await until(lambda: payloads(got) == [b"7", b"8", b"9"], 5)
        a.publish("news", b"10")
        await until(lambda: payloads(got)[3:] == [b"10"], 1)

    in_lab(scenario)


def test_restricted_messages_reach_those_far_away_who_may_read_them() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        a = peers[0]
        b, c = far_from(peers, a, 2)
        got, others = heard(b.subscribe("news")), heard(c.subscribe("news"))
        await asyncio.sleep(2)
        a.publish("news", b"for b", only=lambda who: who.peer_id == b.peer_id)
        a.publish("news", b"for all")
        await until(lambda: payloads(got) == [b"for b", b"for all"], 3)
        await until(lambda: payloads(others) == [b"for all"], 3)

    in_lab(scenario)


def test_a_listener_that_starts_again_hears_what_comes_then() -> None:
    async def scenario(lab: Lab) -> None:
        papers = lab.authority.papers("again")
        b = lab.peer("again", papers=papers, settings=FEW)
        await b.__aenter__()
        peers = await sparse(lab)
        got = heard(b.subscribe("news"))
        await asyncio.sleep(2)
        (a,) = far_from(peers, b)
        a.publish("news", b"before")
        await until(lambda: payloads(got) == [b"before"], 3)
        lab.worlds["again"].crash()
        later = papers.__class__(
            papers.identity, papers.chain, papers.trust, "again", papers.incarnation + (1 << 21)
        )
        b = lab.peer("again", papers=later, settings=FEW)
        await b.__aenter__()
        got = heard(b.subscribe("news"))
        await until(lambda: a.presence.adverts.entries_of(b.peer_id).get("/listens"), 20)
        await asyncio.sleep(2)
        a.publish("news", b"after")
        await until(lambda: payloads(got) == [b"after"], 5)

    in_lab(scenario)


def test_while_everybody_has_a_link_nobody_says_to_what_it_listens() -> None:
    async def scenario(lab: Lab) -> None:
        peers = [lab.peer(f"n{number}", settings=SwimSettings()) for number in range(6)]
        for peer in peers:
            await peer.__aenter__()
        await until(lambda: all(len(peer.presence.present()) == 5 for peer in peers))
        got = heard(peers[1].subscribe("news"))
        await peers[0].wait_subscribers("news", 1, 5)
        peers[0].publish("news", b"hello")
        await until(lambda: payloads(got) == [b"hello"], 1)
        await asyncio.sleep(5)
        assert not any(p.presence.adverts.entries_of(peers[1].peer_id) for p in peers)

    in_lab(scenario)


def test_who_listened_before_the_network_grew_is_heard_of_after_it() -> None:
    async def scenario(lab: Lab) -> None:
        first = [lab.peer(f"old{number}", settings=FEW) for number in range(2)]
        for peer in first:
            await peer.__aenter__()
        a, b = first
        got = heard(b.subscribe("news"))
        await a.wait_subscribers("news", 1, 5)
        a.publish("news", b"small")
        peers = await sparse(lab)
        publisher = far_from(peers, b)[0]
        publisher.publish("news", b"large")
        await until(lambda: payloads(got) == [b"small", b"large"], 5)

    in_lab(scenario)


def test_agents_are_not_told_of_what_a_peer_listens_to() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        a, b = peers[:2]
        seen: list[object] = []
        a.watch(lambda event: seen.append(getattr(event, "changes", None)))
        b.subscribe("news")
        b.presence.adverts.change({"agent": b"x"})
        await until(lambda: {"agent": b"x"} in seen, 5)
        assert not [each for each in seen if each and "/listens" in each]  # type: ignore[operator]
        b.presence.adverts.offer({})
        await until(lambda: {"agent": None} in seen, 5)
        assert b.presence.adverts._own.names() == ("/listens",)

    in_lab(scenario)
