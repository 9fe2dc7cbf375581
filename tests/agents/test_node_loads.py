"""How busy agents and machines are: told by whole nodes, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from clusters_lab import LOOK, eyes, plain
from node_lab import NodeLab, in_lab, until

from agents import Agent
from agents.choosing import FULL
from agents.node import Node
from p2p import Machine

PROOF_BYTES = 90  # of a table that others may pass on


def worker(name: str, served: list[str], capacity: int = 4) -> Agent:
    agent = Agent("worker", capacity=capacity)

    @agent.serve("work.long")
    async def long(seconds: float) -> str:
        served.append(name)
        await asyncio.sleep(seconds)
        return name

    @agent.serve(f"work.{name}")
    async def own(seconds: float) -> str:
        return await long(seconds)

    @agent.serve("work.stream")
    async def stream(count: int) -> AsyncIterator[int]:
        for number in range(count):
            await asyncio.sleep(1)
            yield number

    return agent


def idle() -> Agent:
    agent = Agent("idle")

    @agent.serve("idle.not")
    async def nothing() -> None:
        return None

    return agent


async def pair(lab: NodeLab) -> tuple[Node, Node, list[str]]:
    """Two that work, of which the first one asks, and beside them agents that do nothing."""
    served: list[str] = []
    a = await lab.up("a", [worker("a", served), idle()])
    b = await lab.up("b", [worker("b", served), idle()])
    await until(lambda: lab.leader() is not None)
    await until(lambda: len(a.directory.providers("work.long")) == 2)
    return a, b, served


def load_at(seen_by: Node, of: Node, agent: str = "worker") -> int | None:
    card = seen_by.directory.card_of(of.peer.peer_id, agent)
    return card.load if card is not None else None


async def keep_busy(asking: Node, busy: Node, calls: int) -> list[asyncio.Future[object]]:
    peer_id = busy.peer.peer_id
    return [
        asyncio.ensure_future(asking.net.call("work.long", 20.0, peer=peer_id, deadline=60))
        for _ in range(calls)
    ]


def test_a_busy_agent_says_so_and_says_so_no_more_when_it_rests(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b, _ = await pair(lab)
        calls = await keep_busy(a, b, 4)
        await until(lambda: load_at(a, b) == FULL, 10)
        assert load_at(a, b, "idle") == 0, "it is the agent's load, and not the node's"
        assert load_at(a, a) == 0
        rows = {(row["agent"], row["node"][0]): row["load"] for row in await a.net.agents()}
        assert rows["worker", "b"] == 1.0
        assert rows["idle", "b"] == 0.0
        await asyncio.gather(*calls)
        await until(lambda: load_at(a, b) == 0, 15)

    in_lab(tmp_path, scenario, voters=1)


def test_streams_and_tasks_keep_an_agent_busy_like_calls(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b, _ = await pair(lab)

        async def read() -> None:
            async for _ in a.net.stream("work.stream", 15, peer=b.peer.peer_id, deadline=60):
                pass

        reading = asyncio.ensure_future(asyncio.gather(read(), read()))
        await until(lambda: load_at(a, b) == 2, 10)
        tasks = [await a.net.submit("work.b", {"seconds": 20}) for _ in range(2)]
        await until(lambda: load_at(a, b) == FULL, 10)
        await reading
        for task in tasks:
            await task.result(timeout=60)

    in_lab(tmp_path, scenario, voters=1)


def test_a_load_costs_the_bytes_of_one_agent_and_one_that_wavers_costs_nothing(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b, _ = await pair(lab)
        await asyncio.sleep(5)
        before = dict(b.peer.presence.adverts.counters())

        def told() -> tuple[int, int]:
            now = b.peer.presence.adverts.counters()
            names = ("told", "told_bytes")
            messages, size = (now.get(name, 0) - before.get(name, 0) for name in names)
            return messages, size

        assert told() == (0, 0), "an idle node tells nothing"
        calls = await keep_busy(a, b, 2)
        await until(lambda: load_at(a, b) == 2, 10)
        await asyncio.sleep(5)
        messages, size = told()
        entry = len(b.peer.presence.adverts._own.live()["worker"])
        assert messages <= 2
        assert size <= messages * (entry + 40 + PROOF_BYTES)
        for _ in range(30):  # now and then a third one, for a second
            await a.net.call("work.long", 0.3, peer=b.peer.peer_id)
            await asyncio.sleep(0.3)
            if calls[0].done():
                break
        assert told()[0] == messages
        await asyncio.gather(*calls)

    in_lab(tmp_path, scenario, voters=1)


def test_who_is_asked_for_tasks_and_calls_is_rather_the_one_that_is_not_busy(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b, served = await pair(lab)
        asking = await lab.up("c")
        await until(lambda: len(asking.directory.providers("work.long")) == 2)
        calls = await keep_busy(a, b, 4)
        await until(lambda: load_at(asking, b) == FULL, 10)
        served.clear()
        for _ in range(60):
            await asking.net.call("work.long", 0.0)
        assert served.count("a") > 40, served.count("a")
        served.clear()
        for _ in range(10):
            task = await asking.net.submit("work.long", {"seconds": 0.0})
            await task.result(timeout=10)
        assert set(served) == {"a"}
        await asyncio.gather(*calls)

    in_lab(tmp_path, scenario, voters=1)


def test_a_machine_without_memory_or_with_much_to_do_is_not_chosen_for_a_cluster(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, nodes = await eyes(lab, "abcd")
        lab.worlds["b"].machine_now = Machine(900, 10)
        lab.worlds["c"].machine_now = Machine(0, 100)
        peers = {name: node.peer.peer_id for name, node in nodes.items()}
        directories = [node.directory for node in nodes.values()]
        await until(lambda: all(d.machine_of(peers["b"]) is not None for d in directories), 60)
        await asyncio.sleep(60)
        for directory in directories:
            assert directory.machine_of(peers["b"]) == Machine(875, 0)
            assert directory.machine_of(peers["c"]) == Machine(0, 125)
            assert directory.machine_of(peers["a"]) is None, "nothing is told of an idle one"
        async with nodes["u"].net.cluster("eyes", capability=LOOK, min_size=2) as cluster:
            assert plain(cluster) == "ad"
        scores = {name: nodes["a"].steering._score(peers[name], 0) for name in "abcd"}
        assert scores["b"] < scores["c"] < scores["d"]
        assert scores["d"] - scores["c"] == 80 * 7 // 8
        lab.worlds["b"].machine_now = Machine()
        await until(lambda: all(d.machine_of(peers["b"]) is None for d in directories), 120)

    in_lab(tmp_path, scenario)


def test_what_is_told_ends_with_the_node(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, _, _ = await pair(lab)
        lab.worlds["b"].machine_now = Machine(500, 500)
        b = lab.nodes["b"]
        await until(lambda: a.directory.machine_of(b.peer.peer_id) is not None, 60)
        await b.__aexit__(None, None, None)
        del lab.nodes["b"]
        await until(lambda: a.directory.machine_of(b.peer.peer_id) is None)

    in_lab(tmp_path, scenario, voters=1)
