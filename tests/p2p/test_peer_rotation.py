"""Peers in virtual time that change their keys while they work."""

from __future__ import annotations

import asyncio
import random

import pytest
from peer_lab import Lab, in_lab, until
from rotation_lab import Work

from p2p import MemberState, NotRunning, Peer


def keys_of(peer: Peer, others: list[Peer]) -> set[bytes]:
    """By which keys the others know this peer."""
    sessions = [other.session_of(peer.peer_id) for other in others]
    return {session.curve_public for session in sessions if session is not None}


@pytest.mark.parametrize("seed", range(4))
def test_all_rotate_again_and_again_and_nothing_is_lost_or_fails(seed: int) -> None:
    async def scenario(lab: Lab) -> None:
        for name in "abc":
            lab.peer(name)
        work = Work(list(lab.peers.values()))
        peers = await lab.up("a", "b", "c")
        reading = await work.listen()
        working = asyncio.ensure_future(work.run())
        seen: set[bytes] = set()

        async def rotate(peer: Peer) -> None:
            rng = random.Random(f"{seed} {peer.name}")
            for _ in range(10):
                rotated = await peer.rotate_keys()
                assert rotated.missed == ()
                others = [other for other in peers if other is not peer]
                assert keys_of(peer, others) == {rotated.key}
                seen.add(rotated.key)
                await asyncio.sleep(rng.random())

        await asyncio.gather(*(rotate(peer) for peer in peers))
        assert len(seen) == 30
        work.going = False
        await working
        await until(work.is_settled)
        work.judge()
        assert work.calls > 300
        for task in reading:
            task.cancel()

    in_lab(scenario, seed)


def test_who_was_away_learns_the_new_record_when_it_is_back() -> None:
    async def scenario(lab: Lab) -> None:
        a, b, c = await lab.up("a", "b", "c")
        lab.network.partition([lab.worlds["a"].host, lab.worlds["b"].host], [lab.worlds["c"].host])
        rotated = await a.rotate_keys()
        assert rotated.missed in ((), (c.peer_id,))
        assert keys_of(a, [b]) == {rotated.key}
        await until(lambda: a.presence.state_of(c.peer_id) is MemberState.DEAD, 120)
        lab.network.heal()
        await until(lambda: keys_of(a, [c]) == {rotated.key}, 120)
        await until(lambda: c.presence.state_of(a.peer_id) is MemberState.ALIVE)

    in_lab(scenario)


def test_a_peer_that_dies_in_the_middle_of_a_rotation_is_taken_in_when_it_starts_again() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = await lab.up("a", "b")
        papers = lab.authority.papers("c")
        c = lab.peer("c", papers=papers)
        await c.__aenter__()
        await until(lambda: len(a.presence.present()) == 2)
        rotating = asyncio.ensure_future(c.rotate_keys())
        await asyncio.sleep(0.0015)
        assert not rotating.done()
        lab.worlds["c"].crash()
        lab.peers.pop("c")
        later = type(papers)(
            papers.identity, papers.chain, papers.trust, "c", papers.incarnation + (1 << 21)
        )
        again = lab.peer("again", papers=later)
        await again.__aenter__()
        await until(lambda: len(again.presence.present()) == 2, 60)
        assert keys_of(again, [a, b]) == {again._own.keys()[0].public}
        rotating.cancel()
        await c.__aexit__(None, None, None)

    in_lab(scenario)


def test_two_who_ask_at_once_get_one_rotation_and_none_gets_one_of_a_closed_peer() -> None:
    async def scenario(lab: Lab) -> None:
        a, _ = await lab.up("a", "b")
        first, second = await asyncio.gather(a.rotate_keys(), a.rotate_keys())
        assert first == second
        assert a.counters()["key_rotations"] == 1
        third = asyncio.ensure_future(a.rotate_keys())
        await asyncio.sleep(0)
        third.cancel()
        await until(lambda: a.counters()["key_rotations"] == 2)
        await a.__aexit__(None, None, None)
        with pytest.raises(NotRunning):
            await a.rotate_keys()

    in_lab(scenario)


def test_keys_are_changed_when_it_is_time_and_not_by_all_at_once() -> None:
    async def scenario(lab: Lab) -> None:
        peers = await lab.up("a", "b")
        for peer in peers:
            peer.rotate_keys_every(3600)
        await asyncio.sleep(3600 * 0.79)
        assert [peer.counters()["key_rotations"] for peer in peers] == [0, 0]
        before = [peer._own.record().sequence for peer in peers]
        await asyncio.sleep(3600 * 0.22)
        assert [peer.counters()["key_rotations"] for peer in peers] == [1, 1]
        assert [peer._own.record().sequence for peer in peers] == [each + 1 for each in before]
        made = {peer._own._made_ms // 1000 for peer in peers}
        assert len(made) == 2
        for peer in peers:
            peer.rotate_keys_every(0)
        await asyncio.sleep(3600 * 3)
        assert [peer.counters()["key_rotations"] for peer in peers] == [1, 1]

    in_lab(scenario)


def test_a_rotation_ends_no_call_and_leaves_one_secret() -> None:
    async def scenario(lab: Lab) -> None:
        a, b = lab.peer("a"), lab.peer("b")
        work = Work([a, b])
        await lab.up("a", "b")
        call = asyncio.ensure_future(a.request(b.peer_id, "slow", b"", timeout_s=60))
        await until(lambda: work.ran)
        await b.rotate_keys()
        assert not call.done()
        assert len(b._own.keys()) == 1
        session = a.session_of(b.peer_id)
        assert session is not None
        assert session.sequence - session.incarnation == 1, "the same start"
        assert await call == b""

    in_lab(scenario)
