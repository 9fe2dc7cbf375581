"""Whole peers that tell by SWIM who is alive: small as before, and larger than a full mesh."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

import pytest
from peer_lab import Authority, Lab, in_lab, until

from keys import PeerId, Permission, decode_id
from p2p import (
    Address,
    AdvertSeen,
    HeartbeatSeen,
    MemberChange,
    MemberState,
    Papers,
    Peer,
    PeerUnreachable,
    PresenceEvent,
    Stream,
    SwimSettings,
)
from p2p.members import reaching, sign_as
from p2p.members.messages import PAPERS, papers_from_wire, wanted_message
from p2p.members.strangers import MAX_IN_VAIN, MAX_WAITING
from p2p.rpc import Incoming
from p2p.swimming import MAX_STRIKES, MESSAGE
from p2p.wire import encode_payload

ALIVE, DEAD, LEFT = MemberState.ALIVE, MemberState.DEAD, MemberState.LEFT
SMALL = SwimSettings()
FEW = SwimSettings(mesh=2, rings=1, links=4)  # beyond five members, two neighbours each


@pytest.fixture(autouse=True)
def soon_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaching, "IDLE_MS", 5_000)


async def up(lab: Lab, count: int, settings: SwimSettings = SMALL) -> list[Peer]:
    peers = [lab.peer(f"n{number}", settings=settings) for number in range(count)]
    for peer in peers:
        peer.serve("echo", echo, permission=Permission.CALL)
        await peer.__aenter__()
    await until(lambda: all(len(peer.presence.present()) >= count - 1 for peer in peers))
    return peers


async def echo(incoming: Incoming, payload: bytes) -> bytes:
    return payload


def changes(peer: Peer, seen: list[MemberChange]) -> None:
    def note(event: PresenceEvent) -> None:
        if isinstance(event, MemberChange):
            seen.append(event)

    peer.watch(note)


def links_of(peer: Peer) -> set[str]:
    return {session.peer_id for session in peer.gathering.sessions}


async def parted(peers: list[Peer], most: int) -> None:
    """Links that nobody needs end, when they have been idle for long."""
    await until(lambda: all(len(links_of(peer)) <= most for peer in peers), 600)


def test_who_is_told_of_has_a_link_while_everybody_has_one_to_everybody() -> None:
    async def scenario(lab: Lab) -> None:
        told: list[bool] = []
        first = lab.peer("first", settings=SMALL)

        def note(event: PresenceEvent) -> None:
            if isinstance(event, MemberChange) and event.after is ALIVE:
                session = first.session_of(event.peer_id)
                told.append(session is not None and session.incarnation == event.incarnation)

        first.watch(note)
        await first.__aenter__()
        await up(lab, 9)
        await until(lambda: len(first.presence.present()) == 9)
        assert told == [True] * 9

    in_lab(scenario)


def test_a_crash_among_ten_is_seen_by_all() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await up(lab, 10)
        await asyncio.sleep(3)
        loop = asyncio.get_running_loop()
        lab.worlds["n0"].crash()
        began = loop.time()
        gone = peers[0].peer_id
        await until(lambda: all(p.presence.state_of(gone) is DEAD for p in peers[1:]))
        assert loop.time() - began <= 2.0
        lab.peers.pop("n0")

    in_lab(scenario)


def test_a_goodbye_is_heard_by_all_at_once() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await up(lab, 12)
        leaving = lab.peers.pop("n3")
        await leaving.__aexit__(None, None, None)
        rest = [peer for peer in peers if peer is not leaving]
        await until(lambda: all(p.presence.state_of(leaving.peer_id) is LEFT for p in rest), 0.5)

    in_lab(scenario)


def test_a_restart_ends_the_start_before_and_a_refutation_ends_nothing() -> None:
    async def scenario(lab: Lab) -> None:
        seen: list[MemberChange] = []
        papers = lab.authority.papers("n0")
        lab.peer("n0", papers=papers, settings=SMALL)
        a = lab.peer("a", settings=SMALL)
        changes(a, seen)
        n0, _ = await lab.up("n0", "a")
        first = n0.incarnation
        lab.worlds["n0"].crash()
        again = Papers(
            papers.identity, papers.chain, papers.trust, "n0", papers.incarnation + (1 << 21)
        )
        n0 = lab.peer("n0", papers=again, settings=SMALL)
        await n0.__aenter__()
        await until(lambda: seen[-1].after is ALIVE and seen[-1].incarnation > first)
        ended = [each for each in seen if each.after is DEAD]
        assert [each.incarnation for each in ended] == [first]
        n0.presence._renew()  # type: ignore[attr-defined]
        n0.papers.make_record()
        before = len(seen)
        await asyncio.sleep(3)
        assert len(seen) == before, "another record of the same start is no news to those above"

    in_lab(scenario)


def test_what_is_asked_of_a_start_as_soon_as_it_is_met_is_not_lost_with_the_one_before() -> None:
    async def scenario(lab: Lab) -> None:
        lab.network.faults.latency_ms = (20, 40)  # a session is there, its first word is not
        seen: list[MemberChange] = []
        papers = lab.authority.papers("n0")
        lab.peer("n0", papers=papers)
        a = lab.peer("a")
        changes(a, seen)
        n0, _ = await lab.up("n0", "a")
        lab.worlds["n0"].crash()
        door = Address(lab.worlds["a"].host, a.ports["door"])
        later = replace(papers, incarnation=papers.incarnation + (1 << 21))
        n0 = lab.peer("n0", papers=later, seeds=(door,))
        n0.serve("echo", echo, permission=Permission.CALL)
        await n0.__aenter__()

        def is_new() -> bool:
            session = a.session_of(n0.peer_id)
            return session is not None and session.incarnation == n0.incarnation

        await until(is_new)
        assert await a.request(n0.peer_id, "echo", b"x", timeout_s=5) == b"x"
        await until(lambda: seen[-1].after is ALIVE)
        assert [each.after for each in seen] == [ALIVE, DEAD, ALIVE]

    in_lab(scenario)


def test_status_and_adverts_reach_everybody_of_a_small_network() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await up(lab, 14)
        heard: set[str] = set()
        adverts: set[str] = set()

        def note(event: PresenceEvent) -> None:
            if isinstance(event, HeartbeatSeen) and event.status == b"busy":
                heard.add(event.peer_id)
            if isinstance(event, AdvertSeen):
                adverts.update(event.changes)

        peers[0].watch(note)
        for number, peer in enumerate(peers):
            peer.report_status(lambda: b"busy")
            peer.presence.adverts.change({f"n{number}": b"offered"})
        await until(lambda: len(heard) == 13 and len(adverts) == 13, 5)

    in_lab(scenario)


def test_one_that_cannot_be_heard_by_anybody_is_gone_and_comes_back() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await up(lab, 5)
        hosts = [lab.worlds[f"n{number}"].host for number in range(5)]
        lab.network.partition(hosts[:1], hosts[1:])
        gone = peers[0].peer_id
        await until(lambda: all(p.presence.state_of(gone) is DEAD for p in peers[1:]), 10)
        await until(lambda: not peers[0].presence.present(), 30)
        lab.network.heal()
        await until(lambda: all(len(p.presence.present()) == 4 for p in peers), 60)

    in_lab(scenario)


def test_above_the_full_mesh_links_are_few_and_everybody_is_known() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await up(lab, 12, FEW)
        await parted(peers, 5)
        assert all(len(peer.presence.present()) == 11 for peer in peers)
        by_name = {peer.peer_id: peer.label(peer.peer_id) for peer in peers}
        for peer in peers:
            assert all(peer.label(other) == by_name[other] for other in by_name)
        await asyncio.sleep(20)
        assert all(len(peer.presence.present()) == 11 for peer in peers), "nobody is missed"

    in_lab(scenario)


def test_who_has_no_link_is_introduced_when_it_is_asked() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await up(lab, 12, FEW)
        await parted(peers, 5)
        for peer in peers:
            far = next(p for p in peers if p is not peer and p.peer_id not in links_of(peer))
            assert await peer.request(far.peer_id, "echo", b"hello", timeout_s=2.0) == b"hello"
            assert far.peer_id in links_of(peer)

    in_lab(scenario)


def test_notices_wait_for_the_introduction_in_their_order() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await up(lab, 12, FEW)
        await parted(peers, 5)
        a = peers[0]
        far = next(p for p in peers[1:] if p.peer_id not in links_of(a))
        got: list[bytes] = []
        far.serve_notice("note", lambda peer, data: got.append(data), permission=Permission.CALL)
        for number in range(reaching.MAX_HELD):
            a.notify(far.peer_id, "note", b"%d" % number)
        with pytest.raises(PeerUnreachable):
            a.notify(far.peer_id, "note", b"one too many")
        await until(lambda: len(got) == reaching.MAX_HELD, 5)
        assert got == [b"%d" % number for number in range(reaching.MAX_HELD)]

    in_lab(scenario)


def test_a_stream_is_opened_to_one_that_was_never_met() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await up(lab, 12, FEW)
        await parted(peers, 5)
        a = peers[0]
        far = next(p for p in peers[1:] if p.peer_id not in links_of(a))

        async def double(incoming: Incoming, payload: bytes, stream: Stream) -> None:
            await stream.write(payload * 2)

        far.serve_stream("double", double, permission=Permission.CALL)
        stream = await a.open_stream(far.peer_id, "double", b"ab")
        assert [chunk async for chunk in stream] == [b"abab"]

    in_lab(scenario)


def test_a_member_that_does_not_answer_at_its_door_is_unreachable_in_time() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await up(lab, 12, FEW)
        await parted(peers, 5)
        a = peers[0]
        far = next(p for p in peers[1:] if p.peer_id not in links_of(a))
        name = next(name for name, peer in lab.peers.items() if peer is far)
        lab.network.partition([lab.worlds["n0"].host], [lab.worlds[name].host])
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(PeerUnreachable):
            await a.request(far.peer_id, "echo", b"", timeout_s=1.0)
        assert loop.time() - began <= 1.0
        with pytest.raises(PeerUnreachable):
            await a.request(far.peer_id, "echo", b"", timeout_s=1.0)
        lab.network.heal()

    in_lab(scenario)


def test_a_link_that_is_kept_stays_and_one_that_is_not_ends_at_both_sides() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await up(lab, 12, FEW)
        await parted(peers, 5)
        a = peers[0]
        two = [p for p in peers[1:] if p.peer_id not in links_of(a)][:2]
        kept, used = two
        a.keep_links(lambda: [kept.peer_id], "it votes")
        await until(lambda: kept.peer_id in links_of(a), 10)
        await a.request(used.peer_id, "echo", b"", timeout_s=2.0)
        await until(lambda: used.peer_id not in links_of(a), 600)
        await until(lambda: a.peer_id not in links_of(used), 1)
        assert kept.peer_id in links_of(a)
        a.keep_links(list, "it votes")
        await until(lambda: kept.peer_id not in links_of(a), 600)

    in_lab(scenario)


def test_the_revoked_are_gone_everywhere_also_where_they_were_never_met() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await up(lab, 12, FEW)
        await parted(peers, 5)
        bad, a = peers[5], peers[0]
        lab.peers.pop("n5")
        listed = lab.authority.revoke(a.trusting.revocations, lab.authority.entry_of(bad))
        a.trusting.take(listed)
        rest = [peer for peer in peers if peer is not bad]
        await until(lambda: all(bad.peer_id not in p.presence.present() for p in rest), 10)
        await asyncio.sleep(20)
        assert all(bad.peer_id not in p.presence.present() for p in rest), "nor do they come back"
        assert all(bad.peer_id not in p._company._book for p in rest)
        await bad.__aexit__(None, None, None)

    in_lab(scenario)


def test_two_networks_that_never_met_become_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is larger than what is dialled at once; hints say where the others are."""
    monkeypatch.setattr(reaching, "FIRST_DIALS", 4)

    async def scenario(lab: Lab) -> None:
        halves = [[lab.peer(f"{side}{n}", settings=FEW) for n in range(8)] for side in "ab"]
        hosts = [[lab.worlds[f"{side}{n}"].host for n in range(8)] for side in "ab"]
        lab.network.partition(*hosts)
        for peer in (*halves[0], *halves[1]):
            await peer.__aenter__()
        for half in halves:
            await until(lambda half=half: all(len(p.presence.present()) == 7 for p in half), 60)  # type: ignore[misc]
        lab.network.heal()
        everybody = [*halves[0], *halves[1]]
        await until(lambda: all(len(p.presence.present()) == 15 for p in everybody), 60)

    in_lab(scenario)


def test_papers_are_given_to_members_who_ask_and_only_what_is_known() -> None:
    async def scenario(lab: Lab) -> None:
        a, b, c = await up(lab, 3)
        nobody = Authority("elsewhere", seed=9).papers("x").identity.peer_id
        asked = wanted_message([b.peer_id, c.peer_id, nobody])
        pairs = papers_from_wire(await a.request(b.peer_id, PAPERS, asked, timeout_s=1.0))
        assert pairs is not None
        assert {chain for chain, _ in pairs} == {p.papers.chain.encode() for p in (b, c)}
        garbage = await a.request(b.peer_id, PAPERS, b"\xc1", timeout_s=1.0)
        assert papers_from_wire(garbage) == ()

    in_lab(scenario)


def made_up(subject: PeerId, by: Peer, number: int) -> bytes:
    """That this subject has left, as nobody but its own key could say."""
    raw, identity = decode_id(subject), by.papers.credentials.identity
    said = sign_as(identity, by.trust.network_id, bytes((3,)) + raw + number.to_bytes(8, "big"))
    return encode_payload([1, 5, [], [[3, raw, number, said, b""]]])


def test_who_passes_on_what_nobody_has_signed_is_cut_off() -> None:
    async def scenario(lab: Lab) -> None:
        a, b, c = await up(lab, 3)
        expelled: list[str] = []
        a.watch_incidents(lambda each: expelled.append(getattr(each, "reason", "")))
        for number in range(MAX_STRIKES):
            assert not expelled
            b.notify(a.peer_id, MESSAGE, made_up(c.peer_id, b, c.incarnation + 100 + number))
        await until(lambda: "it sends garbage" in expelled, 1)
        assert c.presence.state_of(a.peer_id) is ALIVE
        assert a.presence.state_of(c.peer_id) is ALIVE
        await until(lambda: len(a.presence.present()) == 2, 60)

    in_lab(scenario)


def test_a_flood_of_words_of_those_who_do_not_exist_is_bounded() -> None:
    async def scenario(lab: Lab) -> None:
        a, b, _ = await up(lab, 3)
        rng = Random(5)
        for _ in range(100):
            said = [[1, rng.randbytes(32), 1, rng.randbytes(64), b"m"] for _ in range(128)]
            b.notify(a.peer_id, MESSAGE, encode_payload([1, 5, [], said]))
            await asyncio.sleep(0.01)
        strangers = a.presence._strangers  # type: ignore[attr-defined]
        assert len(strangers._said) <= MAX_WAITING
        assert len(strangers._in_vain) <= MAX_IN_VAIN
        await until(lambda: not strangers._said, 60)
        assert len(a.presence.members()) == 2
        late = lab.peer("late", settings=SMALL)
        await late.__aenter__()
        await until(lambda: late.peer_id in a.presence.present(), 5)

    in_lab(scenario)


def test_a_member_that_accuses_all_the_time_kills_nobody_and_is_told() -> None:
    async def scenario(lab: Lab) -> None:
        a, b, c = await up(lab, 3)
        identity, network = b.papers.credentials.identity, b.trust.network_id
        swim = c.presence._swim  # type: ignore[attr-defined]
        raw, own = decode_id(c.peer_id), decode_id(b.peer_id)
        for _ in range(400):
            number = swim.incarnation
            body = bytes((2,)) + raw + number.to_bytes(8, "big")
            accused = [2, raw, number, sign_as(identity, network, body), own]
            for to in (a, c):
                b.notify(to.peer_id, MESSAGE, encode_payload([1, 5, [], [accused]]))
            await asyncio.sleep(0.1)
            assert a.presence.state_of(c.peer_id) in (ALIVE, MemberState.SUSPECT)
        assert a.counters()["membership_ignored accusers"] >= 1
        await asyncio.sleep(5)
        assert a.presence.state_of(c.peer_id) is ALIVE

    in_lab(scenario)


def test_garbage_of_a_member_hurts_nobody() -> None:
    async def scenario(lab: Lab) -> None:
        a, b, _ = await up(lab, 3)
        for data in (b"", b"\xc1", bytes(1_000), wanted_message([a.peer_id])):
            a.notify(b.peer_id, "members.message", data)
        await asyncio.sleep(5)
        assert len(b.presence.present()) == 2
        assert b.counters()["membership_dropped: malformed"] == 4

    in_lab(scenario)
