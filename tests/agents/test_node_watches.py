"""Watches of the store on whole nodes in virtual time: no gap, and nothing comes twice."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from keeping_lab import cut_off, in_lab, leader_of, network_of
from node_lab import NodeLab, until

from agents.errors import NoQuorum
from agents.keeping.api import KvChange, KvListing
from agents.node import Node
from agents.replicated import KV_TAG, command_for
from consensus.kv import encode_put


class Watcher:
    """Keeps all that a watch yields."""

    def __init__(
        self, node: Node, prefix: str, *, since: int | None = None, listing: bool = False
    ) -> None:
        self.seen: list[KvChange | KvListing] = []
        self.node = node
        watch = node.net.kv.watch(prefix, since=since, listing=listing)

        async def follow() -> None:
            async with contextlib.aclosing(watch) as changes:
                async for change in changes:
                    self.seen.append(change)

        self.task = asyncio.create_task(follow())

    @property
    def changes(self) -> list[KvChange]:
        return [item for item in self.seen if isinstance(item, KvChange)]

    @property
    def listings(self) -> list[KvListing]:
        return [item for item in self.seen if isinstance(item, KvListing)]

    async def close(self) -> None:
        assert not self.task.done()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def test_watchers_see_what_happens_and_why(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcd")
        watchers = [Watcher(node, "config/") for node in nodes]
        await asyncio.sleep(0.5)
        kv = nodes[0].net.kv
        first = await kv.put("config/a", 1, ttl=1)
        await kv.put("other", 1)
        await kv.put("config/b", [2])
        await kv.delete("config/b")
        await until(lambda: all(len(w.changes) == 4 for w in watchers))
        for watcher in watchers:
            assert [(c.key, c.value, c.cause) for c in watcher.changes] == [
                ("config/a", 1, "put"),
                ("config/b", [2], "put"),
                ("config/b", None, "deleted"),
                ("config/a", None, "expired"),
            ]
            assert watcher.changes[0].version == watcher.changes[0].resume == first
            await watcher.close()

    in_lab(tmp_path, scenario)


def test_a_watch_goes_on_behind_where_it_was(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcd")
        kv = nodes[0].net.kv
        versions = [await kv.put("k", n) for n in range(5)]
        for node in nodes:
            watcher = Watcher(node, "k", since=versions[1])
            await until(lambda: len(watcher.changes) == 3)  # noqa: B023 - awaited at once
            assert [change.value for change in watcher.changes] == [2, 3, 4]
            await watcher.close()

    in_lab(tmp_path, scenario)


def test_a_listing_comes_first_where_it_is_wanted(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcd")
        kv = nodes[0].net.kv
        big = b"x" * 200_000  # so that the listing has many pages
        for n in range(12):
            await kv.put(f"k/{n:02}", big)
        watcher = Watcher(nodes[3], "k/", listing=True)
        await asyncio.sleep(0.003)
        writing = [asyncio.create_task(kv.put(f"k/{n:02}", n)) for n in range(12)]
        await asyncio.gather(*writing)

        def told() -> dict[str, object]:
            state: dict[str, object] = {}
            for item in watcher.seen:
                if isinstance(item, KvListing):
                    state = {key: entry.value for key, entry in item.entries.items()}
                else:
                    state[item.key] = item.value
            return state

        await until(lambda: told() == {f"k/{n:02}": n for n in range(12)})
        assert len(watcher.listings) == 1
        seen = [change.version for change in watcher.changes]
        assert seen == sorted(set(seen))
        for change in watcher.changes:
            listed = watcher.listings[0].entries[change.key]
            assert change.version > listed.version
        await watcher.close()

    in_lab(tmp_path, scenario)


@pytest.mark.parametrize("seed", range(3))
def test_a_watch_has_no_gap_when_the_leader_dies(tmp_path: Path, seed: int) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcd")
        leader = leader_of(lab)
        watchers = [Watcher(node, "k") for node in nodes if node is not leader]
        await asyncio.sleep(0.5)

        async def write() -> None:
            for value in range(100):
                await nodes[3].net.kv.put("k", value, timeout=30)

        writing = asyncio.create_task(write())
        await until(lambda: len(watchers[0].changes) > 10 + 30 * seed)
        lab.crash(leader)
        await writing
        await until(lambda: all(len(w.changes) >= 100 for w in watchers))
        for watcher in watchers:
            assert [change.value for change in watcher.changes] == list(range(100))
            assert not watcher.listings
            await watcher.close()

    in_lab(tmp_path, scenario, seed=seed)


def test_a_watch_waits_while_nobody_leads_but_does_not_begin_then(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcd")
        watchers = [Watcher(node, "k") for node in nodes]
        await asyncio.sleep(0.5)
        cut_off(lab, nodes[0])
        cut_off(lab, nodes[1])
        await asyncio.sleep(40)
        with pytest.raises(NoQuorum):
            await anext(nodes[0].net.kv.watch("k"))
        lab.network.heal()
        await until(lambda: all(len(n.peer.presence.present()) == 3 for n in nodes), 60)
        await nodes[2].net.kv.put("k", 1, timeout=60)
        await until(lambda: all(w.changes for w in watchers))
        for watcher in watchers:
            await watcher.close()

    in_lab(tmp_path, scenario)


def test_over_a_snapshot_a_watch_lists_anew_and_goes_on(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        leader = leader_of(lab)
        behind = next(node for node in nodes if node is not leader)
        kv = leader.net.kv
        await kv.put("k/old", 0)
        await kv.put("k/kept", 1)
        watcher = Watcher(behind, "k/")
        await asyncio.sleep(0.5)
        await kv.put("k/seen", 2)
        await until(lambda: watcher.changes)
        cut_off(lab, behind)
        await kv.delete("k/old")
        replica = leader.quorum.replica
        assert replica is not None
        for first in range(0, 11_000, 500):  # more than the log keeps behind a snapshot
            puts = (encode_put("bulk", b"\xc0") for _ in range(first, first + 500))
            await asyncio.gather(*(replica.propose(command_for(KV_TAG, 0, c)) for c in puts))
        made = replica.make_snapshot()
        assert made is not None
        await until(lambda: replica.status.base_index > 500)
        lab.network.heal()
        await until(lambda: behind.quorum.kv.index >= made and watcher.listings, 60)
        await kv.put("k/new", 3)
        await until(lambda: watcher.changes[-1].value == 3, 60)
        (listing,) = watcher.listings
        assert {key: entry.value for key, entry in listing.entries.items()} == {
            "k/kept": 1,
            "k/seen": 2,
        }
        assert [change.key for change in watcher.changes] == ["k/seen", "k/new"]
        await watcher.close()

    in_lab(tmp_path, scenario)
