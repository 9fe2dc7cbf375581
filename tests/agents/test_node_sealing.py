"""Sealed messages between whole nodes in virtual time."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from pathlib import Path

import pytest
from node_lab import NodeLab, in_lab, until
from sealed_lab import SECRET, Later, three

from agents import InvalidArguments
from agents.errors import NoSealingKey
from agents.node import Node
from agents.sealing import sealing_operations
from keys import Chain, Revocations, entry_of_key, next_list
from keys.sealing import (
    SealedByStranger,
    SealedForOtherPurpose,
    SealedForOthers,
    SealedMalformed,
    SealedReplayed,
    SealedTooOld,
    SealingKeyGone,
    Suite,
    hybrid_problem,
)
from p2p import PeerUnreachable


async def again(lab: NodeLab, node: Node, name: str) -> Node:
    """The same home, started once more."""
    from p2p.memory import MemoryWorld

    await node.__aexit__(None, None, None)
    lab.worlds[name] = MemoryWorld(lab.network, 77)
    fresh = Node(type(node.keystore).open(node.home), lab.worlds[name], (), local_door=False)
    lab.nodes[name] = fresh
    await fresh.__aenter__()
    return fresh


def test_a_message_opens_for_its_readers_and_says_who_sealed_it(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob, eve = await three(lab)
        data = await ada.net.seal({"code": SECRET}, to=["bob", ada.peer.peer_id])
        assert SECRET.encode() not in data
        for node in (bob, ada):
            found = await node.net.unseal(data)
            assert (found.sender, found.name) == (ada.peer.peer_id, "ada")
            assert found.value == {"code": SECRET}
            assert abs(found.sealed_at - lab.worlds["ada"].clock.wall_ms() / 1000) < 60
        with pytest.raises(SealedForOthers):
            await eve.net.unseal(data)
        with pytest.raises(SealedForOtherPurpose):
            await bob.net.unseal(data, purpose="pay")
        with pytest.raises(SealedMalformed):
            await bob.net.unseal(b"no such thing")
        assert bob.sealing.counts["opened"] == 1
        assert bob.sealing.counters()["sealing_refused_sealed_purpose"] == 1

    in_lab(tmp_path, scenario, voters=1)


def test_a_message_is_taken_once_and_what_is_stored_again_and_again(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob, _ = await three(lab)
        data = await ada.net.seal(1, to="bob")
        assert (await bob.net.unseal(data)).value == 1
        with pytest.raises(SealedReplayed):
            await bob.net.unseal(data)
        for _ in range(2):
            assert (await bob.net.unseal(data, stored=True)).value == 1

    in_lab(tmp_path, scenario, voters=1)


def test_a_restart_takes_no_message_again_and_can_still_read_what_is_stored(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob, _ = await three(lab)
        data = await ada.net.seal(1, to="bob")
        await bob.net.unseal(data)
        bob = await again(lab, bob, "bob")
        with pytest.raises(SealedReplayed):
            await bob.net.unseal(data)
        assert (await bob.net.unseal(data, stored=True)).value == 1
        await until(lambda: len(bob.peer.presence.present()) == 2)
        await asyncio.sleep(3)
        fresh = await ada.net.seal(2, to="bob")
        assert (await bob.net.unseal(fresh)).value == 2

    in_lab(tmp_path, scenario, voters=1)


def test_what_is_stored_opens_while_its_sender_is_away(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob, _ = await three(lab)
        data = await ada.net.seal(SECRET, to="bob")
        bob = await again(lab, bob, "bob")
        lab.crash(ada)
        assert bob.peer.session_of(ada.peer.peer_id) is None
        found = await bob.net.unseal(data, stored=True)
        assert (found.sender, found.name, found.value) == (ada.peer.peer_id, "ada", SECRET)

    in_lab(tmp_path, scenario, voters=1)


def test_sealing_for_one_who_is_away_works_while_its_key_is_known(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob, eve = await three(lab)
        await ada.net.seal(1, to="bob")
        gone = (bob.peer.peer_id, eve.peer.peer_id)
        for node in (bob, eve):
            lab.crash(node)
        await until(lambda: not ada.peer.presence.present(), 60)
        assert await ada.net.seal(2, to=gone[0])
        with pytest.raises(NoSealingKey, match="its key is not known here"):
            await ada.net.seal(3, to=gone[1])
        with pytest.raises(PeerUnreachable):
            await ada.net.seal(3, to="bob")
        with pytest.raises(InvalidArguments):
            await ada.net.seal(3, to=[])

    in_lab(tmp_path, scenario, voters=1)


def test_keys_are_renewed_each_day_and_thrown_away_in_time(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada = await lab.up("ada")
        ada.sealing._clock = clock = Later(ada)  # type: ignore[assignment]
        data = await ada.net.seal(SECRET, to="ada")
        first = ada.sealing.statement.number
        for _ in range(24 * 7 - 1):
            clock.ahead_ms += 3_600_000
            ada.sealing._tidy()
        assert ada.sealing.statement.number > first
        assert (await ada.net.unseal(data, stored=True)).value == SECRET
        for _ in range(24):
            clock.ahead_ms += 3_600_000
            ada.sealing._tidy()
        with pytest.raises(SealedTooOld):
            await ada.net.unseal(data, stored=True)
        for _ in range(24 * 2):
            clock.ahead_ms += 3_600_000
            ada.sealing._tidy()
        with pytest.raises(SealingKeyGone):
            await ada.net.unseal(data, stored=True)

    in_lab(tmp_path, scenario, voters=1)


def test_a_clock_that_is_wrong_for_a_moment_costs_no_key(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada = await lab.up("ada")
        ada.sealing._clock = clock = Later(ada)  # type: ignore[assignment]
        data = await ada.net.seal(SECRET, to="ada")
        clock.wall_ms = lambda: ada.world.clock.wall_ms() + 10**11  # type: ignore[method-assign]
        ada.sealing._tidy()
        del clock.wall_ms  # type: ignore[method-assign]
        clock.ahead_ms = 7_200_000
        ada.sealing._tidy()
        assert (await ada.net.unseal(data, stored=True)).value == SECRET
        assert ada.sealing.statement.holds_at(clock.wall_ms())

    in_lab(tmp_path, scenario, voters=1)


def test_the_two_lines_of_the_store(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob, eve = await three(lab)
        data = await ada.net.seal({"pay": 7}, to=["ada", "bob"], purpose="payroll")
        await ada.net.kv.put("payroll/may", data)
        found = await bob.net.unseal(
            await bob.net.kv.get("payroll/may"), purpose="payroll", stored=True
        )
        assert (found.name, found.value) == ("ada", {"pay": 7})
        with pytest.raises(SealedForOthers):
            stored = await eve.net.kv.get("payroll/may")
            await eve.net.unseal(stored, purpose="payroll", stored=True)

    in_lab(tmp_path, scenario, voters=1)


def test_a_program_cannot_seal_what_looks_like_a_nodes_own(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob, _ = await three(lab)
        data = await ada.net.seal(1, to="bob", purpose="stream")
        with pytest.raises(SealedForOtherPurpose, match="program/stream"):
            bob.sealing.unseal(data, "stream", is_stored=True)
        assert set(sealing_operations(bob).requests) == {"seal", "unseal", "unseal_result"}

    in_lab(tmp_path, scenario, voters=1)


@pytest.mark.skipif(hybrid_problem() is not None, reason=f"no hybrid here: {hybrid_problem()}")
def test_a_hybrid_node_and_one_that_is_not_seal_for_each_other(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob, _ = await three(lab)
        bob._suite = Suite.HYBRID
        await bob.__aexit__(None, None, None)
        from p2p.memory import MemoryWorld

        world = lab.worlds["bob"] = MemoryWorld(lab.network, 78)
        keystore = type(bob.keystore).open(bob.home)
        bob = Node(keystore, world, (), local_door=False, sealing=Suite.HYBRID)
        lab.nodes["bob"] = bob
        await bob.__aenter__()
        await until(lambda: len(bob.peer.presence.present()) == 2)
        await until(lambda: len(ada.peer.presence.present()) == 2)
        assert bob.sealing.statement.suite is Suite.HYBRID
        data = await ada.net.seal(SECRET, to=["bob", "eve"])
        assert (await bob.net.unseal(data)).value == SECRET
        assert (await ada.net.unseal(await bob.net.seal(1, to="ada"))).value == 1

    in_lab(tmp_path, scenario, voters=1)


def test_whoever_is_revoked_seals_nothing_and_nothing_is_sealed_for_it(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob, eve = await three(lab)
        data = await bob.net.seal(1, to=["ada", "eve"])
        await ada.net.seal(1, to="bob")
        issuer = ada.keystore._issuer_key
        assert issuer is not None
        above = Chain(ada.keystore.chain.certificates[1:])
        now_ms = lab.worlds["ada"].clock.wall_ms()
        entry = entry_of_key(bob.keystore.chain.leaf.key_id, above.leaf, now_ms)
        listed = next_list(issuer, above, Revocations(), [entry], now_ms)
        known = Revocations().taking(listed)
        ada.peer.papers.adopt_trust(replace(ada.peer.papers.trust, revocations=known))
        assert ada.peer.session_of(bob.peer.peer_id) is not None  # nobody was cut off yet
        for stored in (False, True):
            with pytest.raises(SealedByStranger):
                await ada.net.unseal(data, stored=stored)
        with pytest.raises(NoSealingKey, match="no member any more"):
            await ada.net.seal(2, to="bob")
        assert (await eve.net.unseal(data)).value == 1  # it has not heard of it

    in_lab(tmp_path, scenario, voters=1)


def test_text_of_sealed_messages_survives_paper(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada = await lab.up("ada")
        text = base64.b64encode(await ada.net.seal(b"\x00\xff", to="ada"))
        assert (await ada.net.unseal(base64.b64decode(text))).value == b"\x00\xff"

    in_lab(tmp_path, scenario, voters=1)
