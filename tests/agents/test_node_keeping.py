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
