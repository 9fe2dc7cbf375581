"""Agents that stand by, on whole nodes in virtual time: who serves, and who takes over when."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from keeping_lab import cut_off, in_lab
from node_lab import NodeLab, until

from agents import Agent, Context, Fence, StaleToken
from agents.node import Node
from agents.standby import LEASE_S
from p2p import P2PError


class Desk:
    """What several indexers write to, one at a time."""

    def __init__(self) -> None:
        self.fence = Fence(8)
        self.events: list[str] = []
        self.hold = asyncio.Event()
        self.word: dict[str, Any] = {}

    def indexer(self, name: str) -> Agent:
        agent = Agent("indexer", standby=True, capacity=2)

        @agent.on_start
        async def start() -> None:
            self.events.append(f"{name} starts")

        @agent.on_stop
        async def stop() -> None:
            self.events.append(f"{name} stops")

        @agent.health(every=0.5)
        async def check() -> Any:
            return self.word.get(name)

        @agent.serve("index.write")
        async def write(context: Context, wait: bool = False) -> list[Any]:
            if wait:
                await self.hold.wait()
            assert context.fence is not None
            self.fence.check("index", context.fence)
            return [name, context.fence]

        return agent


async def three(lab: NodeLab, desk: Desk) -> dict[str, Node]:
    nodes = {name: await lab.up(name, [desk.indexer(name)]) for name in "abc"}
    nodes["d"] = await lab.up("d")
    await until(lambda: lab.leader() is not None)
    await until(lambda: serving(nodes))
    await until(lambda: nodes["d"].directory.providers("index.write"))
    return nodes


def serving(nodes: dict[str, Node]) -> list[str]:
    """Whose agent would run a call now."""
    return [
        name
        for name, node in nodes.items()
        if name != "d" and not node.host.why_closed("indexer") and not node.advertising.is_leaving
    ]


async def next_after(lab: NodeLab, nodes: dict[str, Node], old: str, limit_s: float) -> float:
    """Wait until another one answers; return after how many seconds."""
    clock = lab.worlds["d"].clock
    began_ms = clock.now_ms()
    async with asyncio.timeout(limit_s):
        while True:
            try:
                name, _ = await nodes["d"].net.call("index.write", deadline=0.5)
            except (P2PError, Exception):  # noqa: BLE001 - nobody serves just now
                await asyncio.sleep(0.02)
                continue
            if name != old:
                return (clock.now_ms() - began_ms) / 1000
            await asyncio.sleep(0.02)


def test_one_serves_and_the_others_stand_by(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        desk = Desk()
        nodes = await three(lab, desk)
        (active,) = serving(nodes)
        assert desk.events == [f"{active} starts"]
        said = [await nodes["d"].net.call("index.write") for _ in range(20)]
        assert {name for name, _ in said} == {active}
        await until(lambda: sum(c.note == "stands by" for _, c in nodes["d"].directory) == 2)
        assert any(c.note.startswith("active, token") for _, c in nodes["d"].directory)
        task = await nodes["d"].net.submit("index.write")
        assert (await task.result(timeout=20))[0] == active

    in_lab(tmp_path, scenario)


def test_another_one_takes_over_when_it_leaves_or_crashes_with_a_greater_token(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        desk = Desk()
        nodes = await three(lab, desk)
        (first,) = serving(nodes)
        _, token = await nodes["d"].net.call("index.write")
        leaving = asyncio.ensure_future(nodes[first].__aexit__(None, None, None))
        took_s = await next_after(lab, nodes, first, 20)
        print("left: taken over after", took_s)
        assert took_s < 2
        await leaving
        lab.nodes.pop(first)
        lab.worlds.pop(first)
        del nodes[first]
        (second,) = serving(nodes)
        _, later = await nodes["d"].net.call("index.write")
        assert later > token
        assert desk.events == [f"{first} starts", f"{first} stops", f"{second} starts"]

    in_lab(tmp_path, scenario)


def test_a_crash_is_taken_over_after_the_lease(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        desk = Desk()
        nodes = await three(lab, desk)
        (first,) = serving(nodes)
        lab.crash(nodes[first])
        took_s = await next_after(lab, nodes, first, 30)
        print("crashed: taken over after", took_s)
        assert took_s < LEASE_S + 3

    in_lab(tmp_path, scenario)


def test_one_that_has_failed_is_stopped_before_the_next_one_starts(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        desk = Desk()
        nodes = await three(lab, desk)
        (first,) = serving(nodes)
        desk.word[first] = ("failed", "no disk")
        took_s = await next_after(lab, nodes, first, 20)
        print("failed: taken over after", took_s)
        (second,) = serving(nodes)
        assert desk.events == [f"{first} starts", f"{first} stops", f"{second} starts"]
        del desk.word[first]
        cards = nodes[first].directory
        await until(lambda: all(c.condition.state == "healthy" for _, c in cards), 30)
        assert serving(nodes) == [second]  # who was well stays

    in_lab(tmp_path, scenario)


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_one_that_is_cut_off_closes_itself_before_another_one_opens(
    tmp_path: Path, seed: int
) -> None:
    async def scenario(lab: NodeLab) -> None:
        desk = Desk()
        nodes = await three(lab, desk)
        (first,) = serving(nodes)
        cut_off(lab, nodes[first])
        seen: list[list[str]] = []

        async def look() -> None:
            while True:
                seen.append(serving(nodes))
                await asyncio.sleep(0.005)

        looking = asyncio.ensure_future(look())
        await until(lambda: serving(nodes) not in ([first], []), 40)
        (second,) = serving(nodes)
        lab.network.heal()
        await asyncio.sleep(10)
        looking.cancel()
        assert max(map(len, seen)) == 1
        assert serving(nodes) == [second]
        stops, starts = f"{first} stops", f"{second} starts"
        assert desk.events.index(stops) < desk.events.index(starts)

    in_lab(tmp_path, scenario, seed=seed)


def test_a_call_that_outlives_its_term_is_refused_by_the_fence(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        desk = Desk()
        nodes = await three(lab, desk)
        (first,) = serving(nodes)
        late = asyncio.ensure_future(nodes["d"].net.call("index.write", True, deadline=60))
        await asyncio.sleep(0.5)
        desk.word[first] = "failed"
        await next_after(lab, nodes, first, 20)
        desk.hold.set()
        with pytest.raises(P2PError, match=StaleToken.__name__):
            await late

    in_lab(tmp_path, scenario)


def test_one_that_cannot_start_lets_another_one_try(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        broken = Agent("indexer", standby=True)

        @broken.on_start
        async def start() -> None:
            raise OSError("no disk")

        @broken.serve("index.write")
        async def write() -> str:
            return "broken"

        a = await lab.up("a", [broken])
        await until(lambda: any(c.condition.state == "failed" for _, c in a.directory), 60)
        desk = Desk()
        b = await lab.up("b", [desk.indexer("b")])
        await until(lambda: desk.events == ["b starts"], 120)
        name, _ = await b.net.call("index.write")
        assert name == "b"

    in_lab(tmp_path, scenario, voters=1)
