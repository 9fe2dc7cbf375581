"""What doors tell of revocations to one that was away, and how much lists may cost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from peer_lab import WALL_MS, Authority, Lab, in_lab, until

from keys import CertificateRevoked, PeerId, Revocations, entry_of_key, pack_list
from p2p import Peer
from p2p.admission.door_side import DoorHandshake
from p2p.admission.handshake import Handshake
from p2p.links import Lane
from p2p.trusting import LIST
from p2p.trusting.trusting import TOLD_BURST_BYTES, TOLD_BYTES_PER_S


def revoke(lab: Lab, at: Peer, whom: Peer) -> None:
    """The issuer's list comes to this peer."""
    at.trusting.take(lab.authority.revoke(at.trusting.revocations, lab.authority.entry_of(whom)))


def knows(peer: Peer, lab: Lab) -> bool:
    return len(peer.trusting.revocations) == 1


def test_one_that_was_revoked_while_it_was_away_learns_it_at_the_first_door_and_stops() -> None:
    async def scenario(lab: Lab) -> None:
        a, b, bad = await lab.up("a", "b", "bad")
        host = {name: world.host for name, world in lab.worlds.items()}
        lab.network.cut([host["bad"]], [host["a"], host["b"]])
        await asyncio.sleep(20)
        revoke(lab, a, bad)
        await asyncio.sleep(60)
        assert bad.failed is not None
        assert not bad.failed.done(), "nobody could tell it"
        lab.network.heal()
        await until(lambda: bad.failed is not None and bad.failed.done(), 40)
        assert isinstance(bad.failed.result(), CertificateRevoked)
        assert len(bad.trusting.revocations) == 1
        assert bad.counters()["trusting_told_at_doors"] >= 1
        assert a.session_of(bad.peer_id) is None
        assert b.session_of(bad.peer_id) is None

    in_lab(scenario)


def test_one_that_was_revoked_knocks_at_no_door_while_it_stops() -> None:
    async def scenario(lab: Lab) -> None:
        a, b, bad = await lab.up("a", "b", "bad")
        revoke(lab, a, bad)
        await until(lambda: bad.failed is not None and bad.failed.done())
        before = bad.gathering.counters().get("introduction_certificate", 0)
        await asyncio.sleep(60)  # as one that hands over what it had to do
        assert a.session_of(bad.peer_id) is None
        assert b.session_of(bad.peer_id) is None
        assert bad.gathering.counters().get("introduction_certificate", 0) - before <= 2
        assert bad.gathering.dialling == 0

    in_lab(scenario)


def test_one_that_no_door_tells_by_which_list_asks_again_within_half_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Doors tell one peer now and then only, and it may have been told before it lost the list."""

    async def scenario(lab: Lab) -> None:
        a, _ = await lab.up("a", "b")
        bad = lab.peer("bad")
        revoke(lab, a, bad)
        await asyncio.sleep(1)
        monkeypatch.setattr(DoorHandshake, "_refuse", Handshake._refuse)
        await bad.__aenter__()
        await until(lambda: bad.gathering.counts["introduction_certificate"] >= 2)
        await asyncio.sleep(1)
        assert bad.failed is not None
        assert not bad.failed.done()
        monkeypatch.undo()
        await until(lambda: bad.failed is not None and bad.failed.done(), 31)

    in_lab(scenario)


def test_what_a_door_says_of_us_without_a_signature_stops_nobody() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        ours = lab.authority.revoke(Revocations(), lab.authority.entry_of(a))
        packed = pack_list(ours)
        other = Authority("other", seed=99)
        foreign = pack_list(other.revoke(Revocations(), other.entry_of(a)))
        for wrong in (b"", b"\x92", packed[:-1], packed[:400] + b"\0" + packed[401:], foreign):
            a.trusting.told(wrong)
        assert a.counters()["trusting_lists_refused"] == 5
        await asyncio.sleep(10)
        assert a.failed is not None
        assert not a.failed.done()
        assert b.session_of(a.peer_id) is not None

    in_lab(scenario)


def test_a_small_question_is_not_answered_by_megabytes_without_end() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        many = [
            entry_of_key(bytes([n % 256, n // 256]) * 16, lab.authority.middle, WALL_MS)
            for n in range(1000)
        ]
        listed = lab.authority.revoke(Revocations(), *many)
        a.trusting.take(listed)
        await until(lambda: knows(b, lab))
        size = len(pack_list(listed))
        sent: list[int] = []
        notify = a._exchange.notify

        def counted(to: PeerId, method: str, payload: bytes, **how: Any) -> None:
            sent.append(len(payload) if method == LIST else 0)
            notify(to, method, payload, **how)

        a._exchange.notify = counted  # type: ignore[method-assign]
        for _ in range(60):
            for _ in range(16):
                b.notify(a.peer_id, "trust.want", b"\x90", lane=Lane.CONTROL)
            await asyncio.sleep(1)
        assert sum(sent) <= TOLD_BURST_BYTES + 61 * TOLD_BYTES_PER_S + size
        assert sum(sent) < 0.6 * 60 * 16 * size, "it would have been all of that"
        assert a.counters()["trusting_told_too_much"] > 0
        del a._exchange.notify
        await asyncio.sleep(2)
        assert b.trusting.heads == a.trusting.heads

    in_lab(scenario)
