"""Keys of the store on whole nodes in virtual time: writes, reads, conditions, time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from keeping_lab import cut_off, in_lab, leader_of, network_of
from node_lab import NodeLab, until

from agents.errors import (
    CompareFailed,
    InvalidArguments,
    KeyInvalid,
    NoQuorum,
    OutcomeUnknown,
    ValueTooLarge,
)
from agents.node import Node
from agents.replicated import KV_TAG, command_for
from consensus.kv import Cause, Change, Changes


def test_any_node_writes_and_reads_the_latest(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcd")
        value = {"name": "small", "layers": [1, 2.5, None], "raw": b"\x00"}
        for node in nodes:
            version = await node.net.kv.put("config/model", value)
            for other in nodes:
                entry = await other.net.kv.entry("config/model")
                assert entry is not None
                assert (entry.value, entry.version, entry.age) == (value, version, 0.0)
        assert await nodes[3].net.kv.get("config/none") is None
        assert await nodes[0].net.kv.delete("config/model") is True
        assert await nodes[1].net.kv.delete("config/model") is False
        assert await nodes[2].net.kv.get("config/model") is None

    in_lab(tmp_path, scenario)


def test_conditions_hold_where_they_are_decided(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        kv = (await network_of(lab, "a", 1))[0].net.kv
        first = await kv.compare_set("k", 1, absent=True)
        with pytest.raises(CompareFailed) as caught:
            await kv.compare_set("k", 2, absent=True)
        assert caught.value.found == first
        second = await kv.compare_set("k", 2, version=first)
        with pytest.raises(CompareFailed):
            await kv.compare_set("k", 3, version=first)
        await kv.compare_set("k", 3, expect=2)
        with pytest.raises(CompareFailed):
            await kv.delete("k", version=second)
        with pytest.raises(CompareFailed) as caught:
            await kv.compare_set("other", 1, expect=None)
        assert caught.value.found is None
        with pytest.raises(InvalidArguments):
            await kv.compare_set("k", 3)

    in_lab(tmp_path, scenario, voters=1)


def test_what_the_store_does_not_take_is_refused_by_name(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        kv = (await network_of(lab, "a", 1))[0].net.kv
        with pytest.raises(KeyInvalid, match="1 to 512 bytes"):
            await kv.put("", 1)
        with pytest.raises(KeyInvalid, match="network's own"):
            await kv.put("conclave/autopilot", "off")
        with pytest.raises(ValueTooLarge, match="300,0"):
            await kv.put("k", b"x" * 300_000)
        with pytest.raises(InvalidArguments, match="time to live"):
            await kv.put("k", 1, ttl=0)

    in_lab(tmp_path, scenario, voters=1)


def test_counting_together_loses_no_count(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")

        async def count(node: int) -> None:
            kv, done = nodes[node].net.kv, 0
            while done < 10:
                entry = await kv.entry("count")
                try:
                    if entry is None:
                        await kv.compare_set("count", 1, absent=True)
                    else:
                        await kv.compare_set("count", entry.value + 1, version=entry.version)
                except CompareFailed:
                    continue
                done += 1

        await asyncio.gather(*(count(node) for node in (0, 1, 2)))
        assert await nodes[0].net.kv.get("count") == 30

    in_lab(tmp_path, scenario)


def test_more_writes_at_once_than_a_session_takes_all_run(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        versions = await asyncio.gather(*(nodes[0].net.kv.put(f"k/{n}", n) for n in range(300)))
        assert len(set(versions)) == 300
        found = [key async for key, _ in nodes[1].net.kv.list("k/")]
        assert len(found) == 300
        assert found == sorted(found)

    in_lab(tmp_path, scenario)


def changes_of(node: Node, prefix: str = "") -> list[Change]:
    found = node.quorum.kv.changes_since(0, 100_000, prefix=prefix)
    assert isinstance(found, Changes)
    return list(found.changes)


@pytest.mark.parametrize("seed", range(4))
def test_a_leader_that_dies_in_the_middle_of_writes_makes_none_run_twice(
    tmp_path: Path, seed: int
) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcd")
        leader = leader_of(lab)
        writing = asyncio.gather(
            *(nodes[3].net.kv.put(f"k/{n}", n, timeout=30) for n in range(100))
        )
        await until(lambda: leader.quorum.kv.get(f"k/{15 * seed}"))
        lab.crash(leader)
        versions = await writing
        survivor = next(node for node in nodes[:3] if node is not leader)
        await until(lambda: survivor.quorum.kv.get("k/99"))
        changes = changes_of(survivor, "k/")
        assert sorted(change.key for change in changes) == sorted(f"k/{n}" for n in range(100))
        assert {change.key: change.log_index for change in changes} == {
            f"k/{n}": version for n, version in enumerate(versions)
        }

    in_lab(tmp_path, scenario, seed=seed)


def test_without_a_quorum_a_write_did_not_happen_or_may_have(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        leader = leader_of(lab)
        await leader.net.kv.put("k", 1)
        cut_off(lab, leader)
        with pytest.raises(OutcomeUnknown, match="read before you go on") as caught:
            await leader.net.kv.put("k", 2, timeout=1)
        assert not caught.value.definite
        await asyncio.sleep(5)
        with pytest.raises(NoQuorum) as definite:
            await leader.net.kv.put("k", 3, timeout=1)
        assert definite.value.definite
        with pytest.raises(NoQuorum):
            await leader.net.kv.get("k", timeout=1)
        other = next(node for node in nodes if node is not leader)
        assert await other.net.kv.get("k") == 1
        lab.network.heal()
        await until(lambda: leader.quorum.leader() is not None)
        assert await leader.net.kv.put("k", 4, timeout=30)
        assert 3 not in [c.value for c in changes_of(other) if c.key == "k"]

    in_lab(tmp_path, scenario)


def test_a_session_that_was_evicted_is_replaced_and_nothing_runs_twice(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        await nodes[0].net.kv.put("k", 1)
        session = nodes[0].keeping.client._session
        assert session is not None
        replica = leader_of(lab).quorum.replica
        assert replica is not None
        await replica.propose(command_for(KV_TAG, 0, session.end()))
        await nodes[0].net.kv.put("k", 2)
        assert [change.cause for change in changes_of(leader_of(lab), "k")] == [Cause.PUT] * 2

    in_lab(tmp_path, scenario)


def test_a_session_is_kept_while_the_node_is_up_and_ended_with_it(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcd")
        store = nodes[0].quorum.kv
        await nodes[3].net.kv.put("k", 1)
        await until(lambda: store.session_count() == 1)
        await asyncio.sleep(200)
        assert store.session_count() == 1
        assert await nodes[3].net.kv.put("k", 2)
        await nodes[3].__aexit__(None, None, None)
        await until(lambda: store.session_count() == 0, 3)

    in_lab(tmp_path, scenario)


def test_a_key_runs_out_by_decision_everywhere_and_never_early(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        clock = nodes[0].world.clock
        began_ms = clock.now_ms()
        await nodes[0].net.kv.put("k", 1, ttl=2)
        entry = await nodes[1].net.kv.entry("k")
        assert entry is not None
        assert entry.expires_in is not None
        assert 1.5 < entry.expires_in <= 2
        await until(lambda: not any(n.quorum.kv.get("k") for n in nodes))
        assert 2000 <= clock.now_ms() - began_ms <= 2400
        for node in nodes:
            assert [c.cause for c in changes_of(node, "k")] == [Cause.PUT, Cause.EXPIRED]
        await nodes[0].net.kv.put("k", 2, ttl=2)
        await nodes[0].net.kv.put("k", 3)  # without an end of its own
        await asyncio.sleep(5)
        assert await nodes[0].net.kv.get("k") == 3

    in_lab(tmp_path, scenario)


def test_a_new_leader_ends_what_is_over_and_not_earlier(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        leader = leader_of(lab)
        other = next(node for node in nodes if node is not leader)
        clock = other.world.clock
        began_ms = clock.now_ms()
        await leader.net.kv.put("k", 1, ttl=3)
        await until(lambda: other.quorum.kv.get("k"))
        await asyncio.sleep(1)
        lab.crash(leader)
        await until(lambda: other.quorum.kv.get("k") is None)
        assert 3000 <= clock.now_ms() - began_ms <= 9000

    in_lab(tmp_path, scenario)


def test_a_stale_read_is_no_older_than_it_says(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcd")
        leader = leader_of(lab)
        follower = next(node for node in nodes[:3] if node is not leader)
        clock = leader.world.clock
        answered: list[tuple[int, int]] = []  # (ms, value)

        async def write() -> None:
            for value in range(200):
                await leader.net.kv.put("k", value)
                answered.append((clock.now_ms(), value))
                await asyncio.sleep(0.05)

        async def read(node: Node) -> float:
            oldest = 0.0
            while not writing.done():
                entry = await node.net.kv.entry("k", stale_ok=True)
                if entry is not None and entry.age is not None:
                    oldest = max(oldest, entry.age)
                    since_ms = clock.now_ms() - entry.age * 1000
                    assert entry.value >= max(
                        (v for ms, v in answered if ms <= since_ms), default=0
                    )
                await asyncio.sleep(0.07)
            return oldest

        writing = asyncio.create_task(write())
        reading = [asyncio.create_task(read(node)) for node in (leader, follower, nodes[3])]
        await asyncio.sleep(3)
        cut_off(lab, follower)
        await writing
        ages = [await task for task in reading]
        assert ages[0] < 2
        assert ages[1] > 5  # it knows that it is cut off
        assert await follower.net.kv.get("k", stale_ok=True) is not None
        lab.network.heal()

    in_lab(tmp_path, scenario)
