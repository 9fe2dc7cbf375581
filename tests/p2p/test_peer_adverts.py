"""Adverts among whole peers in virtual time: what liars, losses and newcomers lead to."""

from __future__ import annotations

import asyncio

from peer_lab import Lab, in_lab, until

from p2p import Peer
from p2p.adverts import Page

PROOF_BYTES = 90  # of a table that others may pass on, with SWIM


def told(peer: Peer, what: str) -> int:
    return peer.counters().get(f"membership_adverts_{what}", 0)


def test_who_never_offered_anything_says_so_with_its_beats_and_is_not_asked() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        tables = a.presence.adverts._tables
        await until(lambda: tables.standing(b.peer_id) == (b.incarnation, 0), 2)
        await asyncio.sleep(5)
        assert told(a, "asked") == told(b, "asked") == 0
        b.presence.adverts.offer({"agent": b"x"})
        await until(lambda: a.presence.adverts.entries_of(b.peer_id) == {"agent": b"x"}, 1)

    in_lab(scenario)


def test_a_newcomer_gets_all_by_pages_and_then_only_changes() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        table = {f"agent {n}": b"x" * 100 for n in range(500)}
        b.presence.adverts.offer(table)
        await until(lambda: a.presence.adverts.entries_of(b.peer_id) == table, 2)
        asked = told(a, "asked")
        assert asked <= 4, "for four pages"
        before = told(b, "told_bytes")
        b.presence.adverts.change({"agent 7": b"y", "agent 8": None})
        await until(lambda: len(a.presence.adverts.entries_of(b.peer_id)) == 499, 1)
        assert told(b, "told_bytes") - before < 60 + PROOF_BYTES
        await asyncio.sleep(5)
        assert told(a, "asked") == asked
        assert told(a, "digest_wrong") == 0

    in_lab(scenario)


def test_one_that_says_there_is_more_and_never_gives_it_is_asked_once_a_heartbeat() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        b.presence.adverts.offer({"agent": b"x"})
        await until(lambda: a.presence.adverts.entries_of(b.peer_id), 2)
        own = b.presence.adverts._own
        own.version = 99
        own.since = lambda *_: Page(own.incarnation, 0, 1, 99, (("agent", b"x"),))  # type: ignore[method-assign]
        own._hash = None
        before = told(a, "asked")
        await asyncio.sleep(10)
        assert 5 < told(a, "asked") - before < 30

    in_lab(scenario)


def test_one_whose_digest_is_never_right_is_asked_for_all_once_a_minute() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        b.presence.adverts.offer({"agent": b"x"})
        await until(lambda: a.presence.adverts.entries_of(b.peer_id), 2)
        before = told(a, "asked")
        b.presence.adverts.change({"agent": b"y"})
        b.presence.adverts._own._hash = b"lies lies lies !"
        await asyncio.sleep(110)
        assert told(a, "asked") - before == 2
        assert told(a, "digest_wrong") > 20, "one beat of six says it at rest"
        assert a.presence.adverts.entries_of(b.peer_id) == {"agent": b"y"}

    in_lab(scenario)


def test_what_a_stranger_or_garbage_says_of_its_agents_counts_nothing() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        for payload in (b"", b"\xc1", b"\x95\x01\x00\x01\x01\x91\x91\xa1x"):
            b.notify(a.peer_id, "adverts.changed", payload)
        await until(lambda: told(a, "malformed") == 3, 1)
        lab.network.partition([lab.worlds["a"].host], [lab.worlds["b"].host])
        b.presence.adverts.offer({"agent": b"x"})
        await asyncio.sleep(10)
        assert a.presence.adverts.entries_of(b.peer_id) == {}

    in_lab(scenario)
