"""Whole peers on virtual time: one is revoked, everybody cuts it, nobody takes it back."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from peer_lab import WALL_MS, Lab, in_lab, until

from keys import (
    Action,
    KeystoreError,
    Permission,
    Principal,
    Revocations,
    Role,
    Trust,
    entry_of_key,
    pack_list,
    verify,
)
from keys.refusals import CertificateRevoked
from p2p import ConnectionLost, Incoming, MemberState, Peer, PermissionDenied
from p2p.links import Lane
from p2p.trusting import HEAD, LIST, Freshness, Strictness
from p2p.wire import Kind, encode_payload


async def slow(incoming: Incoming, payload: bytes) -> bytes:
    await asyncio.sleep(20)
    return payload


async def echo(incoming: Incoming, payload: bytes) -> bytes:
    return payload


def revoke(lab: Lab, at: Peer, whom: Peer) -> None:
    """The issuer's list comes to this peer."""
    at.trusting.take(lab.authority.revoke(at.trusting.revocations, lab.authority.entry_of(whom)))


def knows(peer: Peer, lab: Lab) -> bool:
    return len(peer.trusting.revocations) == 1


def test_a_revoked_peer_is_cut_off_everywhere_within_a_second_and_is_told() -> None:
    async def scenario(lab: Lab) -> None:
        a, b, c, bad = await lab.up("a", "b", "c", "bad")
        revoke(lab, a, bad)
        for peer in (a, b, c):
            await until(lambda peer=peer: peer.session_of(bad.peer_id) is None, 1)  # type: ignore[misc]
            assert bad.peer_id not in peer.presence.present()
        await until(lambda: bad.failed is not None and bad.failed.done(), 1)
        assert bad.failed is not None
        error = bad.failed.result()
        assert isinstance(error, CertificateRevoked)
        assert "'bad' was revoked by 'lab-issuer'" in str(error)
        await asyncio.sleep(30)
        for peer in (a, b, c):
            assert bad.peer_id not in peer.presence.present(), "it did not come back"
            assert len(peer.presence.present()) == 2, "and the others stayed"

    in_lab(scenario)


def test_what_runs_with_a_revoked_peer_ends_with_a_typed_error_in_both_directions() -> None:
    async def scenario(lab: Lab) -> None:
        cancelled: list[bool] = []

        async def stopped(incoming: Incoming, payload: bytes) -> bytes:
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                cancelled.append(True)
                raise
            return payload

        a, bad = lab.peer("a"), lab.peer("bad")
        a.serve("stopped", stopped, permission=Permission.CALL)
        bad.serve("slow", slow, permission=Permission.CALL)
        await lab.up("a", "bad")
        ours = asyncio.ensure_future(a.request(bad.peer_id, "slow", b"", timeout_s=15))
        theirs = asyncio.ensure_future(bad.request(a.peer_id, "stopped", b"", timeout_s=15))
        await asyncio.sleep(0.5)
        revoke(lab, a, bad)
        with pytest.raises(ConnectionLost, match=r"bad .*was revoked by 'lab-issuer'.*stolen"):
            await asyncio.wait_for(ours, 1)
        with pytest.raises(ConnectionLost):
            await asyncio.wait_for(theirs, 5)
        await until(lambda: bool(cancelled), 1)

    in_lab(scenario)


def test_nothing_that_a_revoked_peer_says_counts_while_it_is_being_told() -> None:
    async def scenario(lab: Lab) -> None:
        heard: list[bytes] = []
        a, bad = lab.peer("a"), lab.peer("bad")
        a.serve_notice("note", lambda _, p: heard.append(p), permission=Permission.CALL)
        await lab.up("a", "bad")
        bad.notify(a.peer_id, "note", b"before")
        await until(lambda: heard == [b"before"])
        revoke(lab, a, bad)
        for _ in range(10):  # its connection lives a moment longer, so that it hears why
            bad.notify(a.peer_id, "note", b"after")
            await asyncio.sleep(0.01)
        assert heard == [b"before"]

    in_lab(scenario)


def test_streams_and_subscriptions_of_a_revoked_peer_end() -> None:
    async def scenario(lab: Lab) -> None:
        a, bad = await lab.up("a", "bad")
        subscription = bad.subscribe("news")
        await until(lambda: a.links()[bad.peer_id].subscriptions == 1)
        revoke(lab, a, bad)
        await asyncio.sleep(0.5)
        assert bad.peer_id not in a.links(), "no lane, no subscription, nothing is left of it"
        a.publish("news", b"secret")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(aiter(subscription)), 3)

    in_lab(scenario)


def test_one_that_was_away_learns_it_before_the_revoked_one_counts() -> None:
    """Both were cut off from the rest when it was revoked; the revoked one is there first."""

    async def scenario(lab: Lab) -> None:
        heard: list[bytes] = []
        away = lab.peer("away")
        away.serve_notice("note", lambda _, p: heard.append(p), permission=Permission.CALL)
        a, b, bad, _ = await lab.up("a", "b", "bad", "away")
        host = {name: world.host for name, world in lab.worlds.items()}
        lab.network.cut([host["away"]], [host["a"], host["b"], host["bad"]])
        lab.network.cut([host["bad"]], [host["a"], host["b"]])
        await asyncio.sleep(20)
        revoke(lab, a, bad)
        await until(lambda: knows(b, lab), 2)
        assert not knows(away, lab)
        lab.network.heal()
        lab.network.cut([host["bad"]], [host["a"], host["b"]])

        async def insist() -> None:
            while True:
                with_it = bad.session_of(away.peer_id)
                if with_it is not None:
                    bad.notify(away.peer_id, "note", b"believe me")
                await asyncio.sleep(0.01)

        insisting = asyncio.create_task(insist())
        await until(lambda: knows(away, lab), 20)
        await asyncio.sleep(5)
        insisting.cancel()
        assert heard == []
        assert away.session_of(bad.peer_id) is None
        assert {a.peer_id, b.peer_id} <= set(away.presence.present())

    in_lab(scenario)


def test_one_that_begins_with_an_older_list_is_brought_up_to_date_before_it_counts() -> None:
    async def scenario(lab: Lab) -> None:
        heard: list[bytes] = []
        a = lab.peer("a")
        a.serve_notice("note", lambda _, p: heard.append(p), permission=Permission.CALL)
        a, bad = await lab.up("a", "bad")
        revoke(lab, a, bad)
        late = lab.peer("late")
        await late.__aenter__()
        await until(lambda: a.session_of(late.peer_id) is not None)
        late.notify(a.peer_id, "note", b"hello")
        await until(lambda: heard == [b"hello"], 2)
        assert knows(late, lab), "what it said was held until it knew"
        assert a.counters()["trusting_held"] > 0

    in_lab(scenario)


@pytest.mark.parametrize("seed", range(6))
def test_whoever_hears_which_list_first_all_come_to_know_the_same(seed: int) -> None:
    async def scenario(lab: Lab) -> None:
        peers = await lab.up(*"abcdef")
        signed = []
        known = Revocations()
        for index in range(4):
            nobody = entry_of_key(bytes([index]) * 32, lab.authority.middle, WALL_MS)
            listed = lab.authority.revoke(known, nobody)
            known = known.taking(listed)
            signed.append(listed)
        order = sorted(range(4), key=lambda n: (n * 7 + seed * 3) % 5)
        for at, index in enumerate(order):
            if signed[index].list.sequence > _sequence(peers[at]):
                peers[at].trusting.take(signed[index])
        await until(lambda: len({p.trusting.heads for p in peers}) == 1, 5)
        assert peers[0].trusting.revocations.head == known.head

    in_lab(scenario, seed + 1)


def _sequence(peer: Peer) -> int:
    return max((each.list.sequence for each in peer.trusting.revocations), default=0)


def test_a_list_is_kept_before_it_is_adopted_and_before_anybody_is_told() -> None:
    async def scenario(lab: Lab) -> None:
        steps: list[str] = []
        papers = lab.authority.papers("a")

        def keep(revocations: Revocations) -> Trust:
            steps.append(f"kept with {len(a.trusting.revocations)} in force")
            return replace(a.trust, revocations=revocations)

        a = lab.peer("a", papers=replace(papers, keep=keep))
        b, bad = lab.peer("b"), lab.peer("bad")
        b.trusting.listen(lambda: steps.append("b knows"))
        await lab.up("a", "b", "bad")
        revoke(lab, a, bad)
        await until(lambda: knows(b, lab), 1)
        assert steps == ["kept with 0 in force", "b knows"]

    in_lab(scenario)


def test_a_peer_that_cannot_keep_a_list_stops_and_tells_nobody() -> None:
    async def scenario(lab: Lab) -> None:
        def keep(revocations: Revocations) -> Trust:
            raise KeystoreError("the disk is full")

        a = lab.peer("a", papers=replace(lab.authority.papers("a"), keep=keep))
        b, bad = lab.peer("b"), lab.peer("bad")
        await lab.up("a", "b", "bad")
        revoke(lab, b, bad)
        await until(lambda: a.failed is not None and a.failed.done(), 1)
        assert not knows(a, lab)

    in_lab(scenario)


def test_garbage_and_forged_lists_change_nothing() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        forged = bytearray(
            pack_list(lab.authority.revoke(Revocations(), lab.authority.entry_of(a)))
        )
        forged[-1] ^= 1
        before = b.trusting.heads
        for payload in (b"", b"\xc1", encode_payload(bytes(forged)), encode_payload([1, 2])):
            for method in (LIST, "trust.head", "trust.want"):
                a.notify(b.peer_id, method, payload)
        await asyncio.sleep(1)
        assert b.trusting.heads == before
        assert a.peer_id in b.presence.present()
        assert b.counters()["trusting_lists_refused"] == 1
        assert b.counters()["trusting_malformed"] > 0

    in_lab(scenario)


def test_questions_without_end_are_answered_within_bounds() -> None:
    async def scenario(lab: Lab) -> None:
        a, b, bad = await lab.up("a", "b", "bad")
        revoke(lab, b, bad)
        await asyncio.sleep(1)
        for _ in range(2_000):
            a.notify(b.peer_id, "trust.want", encode_payload([]))
        await asyncio.sleep(1)
        assert b.counters()["trusting_too_often"] > 1_500

    in_lab(scenario)


@pytest.mark.parametrize(
    ("strictness", "permission", "refused"),
    [
        (Strictness.OFF, Permission.CERT_REVOKE, False),
        (Strictness.ADMIN, Permission.CERT_REVOKE, True),
        (Strictness.ADMIN, Permission.RAFT_ADMIN, True),
        (Strictness.ADMIN, Permission.CALL, False),
        (Strictness.ALL, Permission.CALL, True),
        (Strictness.ALL, Permission.MEMBERSHIP, False),
    ],
)
def test_what_a_stale_list_withholds(
    strictness: Strictness, permission: Permission, refused: bool
) -> None:
    lab = Lab()
    principal = _principal(lab)
    freshness = Freshness(strictness)
    listed = lab.authority.revoke(Revocations())
    late_ms = listed.list.next_update_ms + 1
    assert not freshness.look(Revocations(), late_ms), "without a list, nothing is stale"
    assert not freshness.look(Revocations().taking(listed), late_ms - 1)
    freshness.look(Revocations().taking(listed), late_ms)
    assert freshness.seen(principal).may(permission) is not refused
    freshness.look(Revocations().taking(listed), late_ms - 1)
    assert freshness.seen(principal) is principal


def _principal(lab: Lab) -> Principal:
    papers = lab.authority.papers("admin", Role.ADMIN | Role.SERVICE)
    return verify(papers.chain, papers.trust, WALL_MS)


def test_a_request_that_is_withheld_says_that_a_list_is_stale() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = lab.peer("a", papers=lab.authority.papers("a", Role.ADMIN)), lab.peer("b")
        b.serve("echo", echo, permission=Permission.CERT_REVOKE)
        await lab.up("a", "b")
        assert await a.request(b.peer_id, "echo", b"1", timeout_s=1) == b"1"
        b.trusting.take(lab.authority.revoke(Revocations()))
        b.trusting.freshness.look(b.trusting.revocations, WALL_MS + 8 * 86_400_000)
        with pytest.raises(PermissionDenied, match="a revocation list is stale"):
            await a.request(b.peer_id, "echo", b"2", timeout_s=1)
        assert MemberState.ALIVE is b.presence.state_of(a.peer_id)

    in_lab(scenario)


@pytest.mark.parametrize("strictness", [Strictness.ADMIN, Strictness.ALL])
def test_a_right_that_was_used_before_is_withheld_as_well_and_given_back(
    strictness: Strictness,
) -> None:
    """What the guard remembers of somebody's rights is not older than they are."""

    async def scenario(lab: Lab) -> None:
        a = lab.peer("a", papers=lab.authority.papers("a", Role.ADMIN | Role.SERVICE))
        b = lab.peer("b")
        await lab.up("a", "b")
        action = Action.CONFIGURE if strictness is Strictness.ADMIN else Action.READ
        b.trusting.freshness.strictness = strictness

        def may() -> bool:
            who = b.principal_of(a.peer_id)
            assert who is not None
            return b.guard.may(who, action, "policy")

        assert may()
        b.trusting.take(lab.authority.revoke(Revocations()))
        wall_ms = b.trusting._clock.wall_ms
        b.trusting._clock.wall_ms = lambda: wall_ms() + 8 * 86_400_000  # type: ignore[method-assign]
        b.trusting.look()
        assert not may()
        b.trusting._clock.wall_ms = wall_ms  # type: ignore[method-assign]
        b.trusting.look()
        assert may()

    in_lab(scenario)


def test_a_frame_of_thousands_of_words_is_parted_at_once() -> None:
    """Half of it is about revocations and half is to be held back: no word is looked for twice."""

    class Word:
        looks = 0
        kind = int(Kind.NOTIFY)

        def __init__(self, target: str) -> None:
            self.target = target

        def __eq__(self, other: object) -> bool:
            Word.looks += 1
            return self is other

        __hash__ = object.__hash__

    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        words = [Word(name) for name in (HEAD, "note") * 500]
        taken: list[Word] = []
        a.trusting._exchange.on_envelopes = lambda *_: None  # type: ignore[method-assign]
        a.trusting.hold_frame(
            b.peer_id,
            Lane.CONTROL,
            words,  # type: ignore[arg-type]
            100,
            lambda peer_id, lane, some: taken.extend(some),  # type: ignore[arg-type]
        )
        assert [each.target for each in taken] == ["note"] * 500
        assert Word.looks < 1000

    in_lab(scenario)
