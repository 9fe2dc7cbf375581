"""Tables of peers without links to each other, in virtual time: passed on, repaired, refused."""

from __future__ import annotations

import asyncio

import pytest
from peer_lab import Lab, in_lab, until

from p2p import AdvertSeen, Peer, PresenceEvent, SwimSettings
from p2p.adverts import Page, Proof, digest_of, encode_page, signed_body
from p2p.adverts.relay_messages import pages_message
from p2p.adverts.relaying import MAX_STRIKES
from p2p.members import reaching

FEW = SwimSettings(mesh=2, rings=1, links=4)  # beyond five members, two neighbours each


@pytest.fixture(autouse=True)
def soon_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaching, "IDLE_MS", 5_000)


def told(peer: Peer, what: str) -> int:
    return peer.counters().get(f"membership_adverts_{what}", 0)


def links_of(peer: Peer) -> set[str]:
    return {session.peer_id for session in peer.gathering.sessions}


async def sparse(lab: Lab, count: int = 12) -> list[Peer]:
    """Peers with links to their neighbours, and hardly any other."""
    names = [f"n{number}" for number in range(count)]
    peers = [lab.peers.get(name) or lab.peer(name, settings=FEW) for name in names]
    for peer in peers:
        await peer.__aenter__()
    await until(lambda: all(len(peer.presence.present()) >= count - 1 for peer in peers))
    await until(lambda: all(len(links_of(peer)) <= 3 for peer in peers), 600)
    return peers


def knows(peer: Peer, owner: Peer, entries: dict[str, bytes]) -> bool:
    return dict(peer.presence.adverts.entries_of(owner.peer_id)) == entries


def all_know(peers: list[Peer], owner: Peer, entries: dict[str, bytes]) -> bool:
    return all(knows(peer, owner, entries) for peer in peers if peer is not owner)


def hops(peers: list[Peer], start: Peer) -> dict[str, int]:
    """How many links away everybody is."""
    by_id = {peer.peer_id: peer for peer in peers}
    found, edge = {start.peer_id: 0}, [start]
    while edge:
        after = []
        for peer in edge:
            for other in links_of(peer):
                if other in by_id and other not in found:
                    found[other] = found[peer.peer_id] + 1  # type: ignore[index]
                    after.append(by_id[other])  # type: ignore[index]
        edge = after
    return found  # type: ignore[return-value]


def test_what_one_offers_is_known_to_all_within_two_seconds() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        owner = peers[3]
        assert max(hops(peers, owner).values()) >= 3
        owner.presence.adverts.change({"agent": b"first"})
        await until(lambda: all_know(peers, owner, {"agent": b"first"}), 2)
        owner.presence.adverts.change({"agent": b"second", "other": b"x"})
        await until(lambda: all_know(peers, owner, {"agent": b"second", "other": b"x"}), 2)
        owner.presence.adverts.change({"agent": None})
        await until(lambda: all_know(peers, owner, {"other": b"x"}), 2)
        for peer in peers:
            peer.presence.adverts._tables.check_invariants()

    in_lab(scenario)


def test_at_rest_nothing_is_passed_on_asked_for_or_compared() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        for number, peer in enumerate(peers):
            peer.presence.adverts.change({f"agent {number}": b"x" * 40})
        await asyncio.sleep(10)
        summaries = {peer.presence.adverts.digest() for peer in peers}
        assert len(summaries) == 1
        assert len(summaries.pop()) == 8
        what = ("relays_told", "relays_asked", "compared", "given")
        before = [told(peer, each) for peer in peers for each in what]
        await asyncio.sleep(60)
        assert [told(peer, each) for peer in peers for each in what] == before

    in_lab(scenario)


def test_a_large_table_is_told_of_by_its_heading_and_asked_for_once() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        table = {f"agent {n}": b"x" * 200 for n in range(500)}
        owner = peers[5]
        before = {peer.peer_id: told(peer, "given_bytes") for peer in peers}
        owner.presence.adverts.change(table)
        await until(lambda: all_know(peers, owner, table), 4)
        size = sum(map(len, table.values()))
        given = sum(told(peer, "given_bytes") - before[peer.peer_id] for peer in peers)
        assert given < 1.5 * size * (len(peers) - 1), "each asks one other for it, once"

    in_lab(scenario)


def test_a_newcomer_knows_what_all_offer() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        for number, peer in enumerate(peers):
            peer.presence.adverts.change({f"agent {number}": b"x" * 300})
        await asyncio.sleep(3)
        late = lab.peer("late", settings=FEW)
        await late.__aenter__()
        late.presence.adverts.change({"new": b"y"})
        everybody = [*peers, late]
        for number, peer in enumerate(peers):
            await until(lambda n=number, p=peer: knows(late, p, {f"agent {n}": b"x" * 300}), 4)
        await until(lambda: all_know(everybody, late, {"new": b"y"}), 3)

    in_lab(scenario)


def test_who_is_gone_offers_nothing_anywhere_and_who_returns_does_again() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        owner = peers[4]
        owner.presence.adverts.change({"agent": b"x"})
        await until(lambda: all_know(peers, owner, {"agent": b"x"}), 2)
        hosts = [lab.worlds[f"n{n}"].host for n in range(12)]
        lab.network.partition([hosts[4]], hosts[:4] + hosts[5:])
        await until(lambda: all_know(peers, owner, {}), 20)
        await asyncio.sleep(20)
        assert all_know(peers, owner, {}), "nobody tells of it again"
        lab.network.heal()
        await until(lambda: all_know(peers, owner, {"agent": b"x"}), 60)

    in_lab(scenario)


def test_what_was_changed_on_both_sides_of_a_partition_is_known_after_it() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        hosts = [lab.worlds[f"n{n}"].host for n in range(12)]
        lab.network.partition(hosts[:6], hosts[6:])
        await asyncio.sleep(20)
        for number, peer in enumerate(peers):
            peer.presence.adverts.change({f"agent {number}": b"of my side"})
        await asyncio.sleep(20)
        lab.network.heal()

        def all_agree() -> bool:
            return all(
                knows(peer, owner, {f"agent {n}": b"of my side"})
                for n, owner in enumerate(peers)
                for peer in peers
                if peer is not owner
            )

        await until(all_agree, 60)

    in_lab(scenario)


def test_what_is_not_urgent_is_told_seldom_and_goes_along_with_what_is() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        owner = peers[0]
        adverts = owner.presence.adverts
        adverts.change({"load": b"0"})
        await until(lambda: all_know(peers, owner, {"load": b"0"}), 2)
        before = told(owner, "told")
        for step in range(1, 13):
            adverts.change({"load": b"%d" % step}, is_urgent=False)
            await asyncio.sleep(1)
        links = len(links_of(owner))
        assert links <= told(owner, "told") - before <= 3 * (links + 1)
        adverts.change({"load": b"last"}, is_urgent=False)
        adverts.change({"health": b"failed"})
        await until(lambda: all_know(peers, owner, {"load": b"last", "health": b"failed"}), 2)

    in_lab(scenario)


def test_those_above_hear_of_each_change_once() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        owner, seen = peers[0], []

        def note(event: PresenceEvent) -> None:
            if isinstance(event, AdvertSeen) and event.peer_id == owner.peer_id:
                seen.append(dict(event.changes))

        far = next(p for p in peers if hops(peers, owner)[p.peer_id] >= 3)
        far.watch(note)
        owner.presence.adverts.change({"agent": b"x", "other": b"y"})
        await asyncio.sleep(3)
        owner.presence.adverts.change({"agent": b"z"})
        await asyncio.sleep(3)
        assert seen == [{"agent": b"x", "other": b"y"}, {"agent": b"z"}]

    in_lab(scenario)


def page_of(peer: Peer, owner: Peer) -> Page:
    """What a peer would pass on of another's table, from the beginning."""
    page = peer.presence.adverts._tables.page(owner.peer_id, 0, 10_000)
    assert page is not None
    return page


def tell(liar: Peer, to: Peer, owner: Peer, page: Page) -> None:
    news = pages_message([(owner.peer_id, encode_page(page))])
    liar.notify(to.peer_id, "adverts.news", news)


def refused(peer: Peer) -> int:
    return told(peer, "relays_refused")


def test_a_relay_that_changes_what_it_passes_on_is_refused_and_cut_off() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        owner = peers[3]
        owner.presence.adverts.change({"agent": b"true"})
        await until(lambda: all_know(peers, owner, {"agent": b"true"}), 2)
        far = hops(peers, owner)
        liars = [p for p in peers if far[p.peer_id] == 2]
        victims = [p for p in peers if far[p.peer_id] == 3]
        pairs = ((a, b) for a in liars for b in victims if b.peer_id in links_of(a))
        liar, victim = next(pairs)
        expelled: list[str] = []
        victim.watch_incidents(lambda each: expelled.append(getattr(each, "reason", "")))
        page = page_of(liar, owner)
        assert page.proof is not None
        newer = page._replace(upto=page.upto + 5, latest=page.latest + 5)
        own = liar.presence.adverts._own.since(0)
        lies = [
            newer,  # another version than the signed one
            newer._replace(entries=(("agent", b"lie"),)),
            newer._replace(incarnation=page.incarnation + (1 << 20)),
            newer._replace(proof=own.proof),  # signed, by somebody else
            page._replace(  # of the lower hash, as if the owner had signed two
                entries=(("agent", b"lie"),), proof=Proof(bytes(16), page.proof.signature)
            ),
        ]
        for number, lie in enumerate(lies, 1):
            tell(liar, victim, owner, lie)
            await until(lambda n=number: refused(victim) == n, 1)
            assert knows(victim, owner, {"agent": b"true"})
        assert not expelled
        for _ in range(MAX_STRIKES - len(lies)):
            tell(liar, victim, owner, lies[0])
        await until(lambda: "it sends garbage" in expelled, 1)
        await asyncio.sleep(30)
        assert all_know(peers, owner, {"agent": b"true"})
        assert victim.presence.is_present(liar.peer_id), "it is let in again"

    in_lab(scenario)


def test_what_is_not_newer_is_no_lie_and_changes_nothing() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        owner = peers[3]
        owner.presence.adverts.change({"agent": b"old"})
        await until(lambda: all_know(peers, owner, {"agent": b"old"}), 2)
        relay = next(p for p in peers if hops(peers, owner)[p.peer_id] == 2)
        old = page_of(relay, owner)
        owner.presence.adverts.change({"agent": b"new"})
        await until(lambda: all_know(peers, owner, {"agent": b"new"}), 2)
        for peer in peers:
            if peer.peer_id in links_of(relay):
                tell(relay, peer, owner, old)
        tell(relay, owner, owner, old)
        await asyncio.sleep(5)
        assert all_know(peers, owner, {"agent": b"new"})
        assert not any(refused(peer) for peer in peers)

    in_lab(scenario)


def test_what_an_earlier_start_has_signed_is_over() -> None:
    async def scenario(lab: Lab) -> None:
        papers = lab.authority.papers("n0")
        lab.peer("n0", papers=papers, settings=FEW)
        peers = await sparse(lab)
        owner = peers[0]
        owner.presence.adverts.change({"agent": b"before"})
        await until(lambda: all_know(peers, owner, {"agent": b"before"}), 2)
        old = page_of(peers[5], owner)
        lab.worlds["n0"].crash()
        again = papers.__class__(
            papers.identity, papers.chain, papers.trust, "n0", papers.incarnation + (1 << 21)
        )
        owner = lab.peer("n0", papers=again, settings=FEW)
        await owner.__aenter__()
        owner.presence.adverts.change({"agent": b"after"})
        await until(lambda: all_know(peers[1:], owner, {"agent": b"after"}), 20)
        late = lab.peer("late", settings=FEW)
        await late.__aenter__()
        await until(lambda: late.presence.is_present(owner.peer_id), 10)
        late.presence.adverts.gone(owner.peer_id)  # as if it had heard nothing of it yet
        teller = next(p for p in peers[1:] if p.peer_id in links_of(late))
        tell(teller, late, owner, old)
        await asyncio.sleep(0.1)
        assert knows(late, owner, {}) or knows(late, owner, {"agent": b"after"})
        await until(lambda: knows(late, owner, {"agent": b"after"}), 10)

    in_lab(scenario)


def test_an_owner_that_signs_two_tables_of_one_version_ends_alike_everywhere() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        owner = peers[3]
        adverts = owner.presence.adverts
        adverts.change({"agent": b"one"})
        await until(lambda: all_know(peers, owner, {"agent": b"one"}), 2)
        own = adverts._own
        start, version, entries = own.incarnation, own.version, {"agent": b"another"}
        table_hash = digest_of(entries)
        assert own.sign is not None
        signed = own.sign(signed_body(start, version, table_hash))
        page = Page(start, 0, version, version, (*entries.items(),), Proof(table_hash, signed))
        wins = min(own.table_hash(), table_hash)
        far = next(p for p in peers if hops(peers, owner)[p.peer_id] >= 3)
        teller = next(p for p in peers if p.peer_id in links_of(far))
        tell(teller, far, owner, page)
        await asyncio.sleep(20)
        for peer in peers:
            if peer is not owner:
                heading = peer.presence.adverts._relaying._headings.of(owner.peer_id)
                assert heading is not None
                assert heading.table_hash == wins
        assert not any(refused(peer) for peer in peers)

    in_lab(scenario)


def test_garbage_is_counted_and_hurts_nobody() -> None:
    async def scenario(lab: Lab) -> None:
        a, b, *_ = await sparse(lab)
        b = next(p for p in lab.peers.values() if p.peer_id in links_of(a))
        before = told(b, "malformed")
        for data in (b"", b"\xc1", b"\x91\x92\xc4\x01x\xc4\x00"):
            a.notify(b.peer_id, "adverts.news", data)
            for method in ("adverts.tables", "adverts.compare"):
                assert await a.request(b.peer_id, method, data, timeout_s=1) == b"\x90"
        assert told(b, "malformed") == before + 9

    in_lab(scenario)


def test_a_relay_that_promises_what_it_does_not_have_is_asked_in_vain_and_others_serve() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        owner = peers[3]
        table = {f"agent {n}": b"x" * 100 for n in range(50)}
        liar = next(p for p in peers if hops(peers, owner)[p.peer_id] == 1)
        liar.presence.adverts._relaying._page_after = lambda *_: None
        owner.presence.adverts.change(table)
        await until(lambda: all_know(peers, owner, table), 10)

    in_lab(scenario)


def test_one_that_makes_up_headings_keeps_nobody_from_what_others_have() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await sparse(lab)
        owner = peers[3]
        table = {f"agent {n}": b"x" * 100 for n in range(50)}
        far = next(p for p in peers if hops(peers, owner)[p.peer_id] >= 3)
        liar = next(p for p in peers if p.peer_id in links_of(far))

        async def promise() -> None:
            while True:  # it has what nobody has, and gives nothing
                nothing = Proof(bytes(16), bytes(64))
                news = Page(owner.incarnation, 1 << 40, 1 << 40, 1 << 40, (), nothing)
                tell(liar, far, owner, news)
                await asyncio.sleep(0.05)

        promising = asyncio.create_task(promise())
        await asyncio.sleep(1)
        owner.presence.adverts.change(table)
        honest = [p for p in peers if p not in (liar, owner)]
        await until(lambda: all(knows(p, owner, table) for p in honest), 15)
        promising.cancel()

    in_lab(scenario)
