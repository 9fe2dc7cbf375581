"""Whole nodes on virtual time: election, tasks, crashes, partitions, NoQuorum."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from node_lab import NodeLab, in_lab, until

from agents import (
    Agent,
    Context,
    GiveUp,
    NoProvider,
    NoQuorum,
    TaskCancelled,
    TaskFailed,
    TaskParked,
    TaskTimeout,
    map_reduce,
)
from p2p import BadRequest, HandlerFailed


def worker(started: list[str] | None = None) -> Agent:
    agent = Agent("worker", capacity=2)

    @agent.serve("math.add")
    async def add(a: float, b: float) -> float:
        return a + b

    @agent.serve("slow.echo")
    async def echo(context: Context, text: str) -> str:
        if started is not None:
            started.append(text)
        await asyncio.sleep(1)
        return text

    @agent.serve("always.fails")
    async def fails() -> None:
        raise RuntimeError("no luck")

    @agent.serve("gives.up")
    async def gives_up() -> None:
        raise GiveUp("never")

    @agent.serve("never.ends")
    async def never_ends() -> None:
        await asyncio.sleep(10_000)

    @agent.serve("sends.nonsense")
    async def sends_nonsense() -> object:
        return object()

    @agent.serve("plain.function")
    def plain(n: int) -> int:
        return n + 1

    return agent


async def three(lab: NodeLab) -> None:
    for name in ("a", "b", "c"):
        await lab.up(name, [worker()])
    await until(lambda: lab.leader() is not None)


def test_three_voters_elect_one_leader_and_complete_a_task(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        await three(lab)
        task = await lab.nodes["b"].net.submit("math.add", {"a": 1, "b": 2})
        assert await task.result(timeout=10) == 3
        assert task.executions == 1
        await task.refresh()
        assert task.decision is not None
        assert len(task.decision.votes) >= 2
        assert set(task.decision.voters) == {n.peer.peer_id for n in lab.nodes.values()}

    in_lab(tmp_path, scenario)


def test_calls_reach_whoever_offers_the_capability(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        await lab.up("a")
        await lab.up("b", [worker()])
        net = lab.nodes["a"].net
        assert await net.call("math.add", 2, 3, deadline=5) == 5
        assert await net.call("math.add", a=2, b=3) == 5
        assert await net.call("plain.function", 4, returns=int) == 5
        with pytest.raises(BadRequest, match="b: input should be a valid number"):
            await net.call("math.add", 2, "x")
        with pytest.raises(BadRequest, match="missing a required argument"):
            await net.call("math.add", 2)
        with pytest.raises(HandlerFailed, match="RuntimeError: no luck") as caught:
            await net.call("always.fails")
        assert "in fails" in caught.value.remote_traceback
        with pytest.raises(HandlerFailed, match="object cannot travel"):
            await net.call("sends.nonsense")
        with pytest.raises(NoProvider, match=r"nobody offers 'no.such'.* math.add"):
            await net.call("no.such")

    in_lab(tmp_path, scenario)


def test_a_lone_node_of_three_says_no_quorum_and_serves_calls(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        node = await lab.up("a", [worker()])
        with pytest.raises(NoQuorum, match="1 of 3 voters are here") as caught:
            await node.net.submit("math.add", {"a": 1, "b": 2}, timeout=5)
        assert caught.value.definite
        assert await node.net.call("math.add", 1, 2) == 3
        await asyncio.sleep(60)
        assert node.quorum.leader() is None

    in_lab(tmp_path, scenario)


def test_a_network_of_one_voter_decides_alone(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        node = await lab.up("a", [worker()])
        task = await node.net.submit("math.add", {"a": 1, "b": 2})
        assert await task.result(timeout=5) == 3

    in_lab(tmp_path, scenario, voters=1)


def test_tasks_survive_the_death_of_leader_and_worker_and_complete_once(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        for name in "abcde":
            await lab.up(name, [worker()])
        await until(lambda: lab.leader() is not None)
        leader = lab.leader()
        base = next(n for n in lab.nodes.values() if n is not leader)
        texts = [f"t{n}" for n in range(60)]
        tasks = await base.net.submit_many("slow.echo", [{"text": t} for t in texts])
        getting = asyncio.create_task(tasks.results(timeout=120))
        await asyncio.sleep(1.5)
        assert leader is not None
        lab.crash(leader)
        await asyncio.sleep(4)
        victim = next(n for n in lab.nodes.values() if n not in (leader, base))
        lab.crash(victim)
        assert await getting == texts
        counts = (await base.net.tasks())["counts"]
        assert counts["done"] == len(texts)
        assert sum(counts.values()) == len(texts)

    in_lab(tmp_path, scenario, voters=5)


def test_the_minority_of_a_partition_decides_nothing_and_heals(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        await three(lab)
        leader = lab.leader()
        assert leader is not None
        cut = next(name for name, n in lab.nodes.items() if n is leader)
        rest = [world.host for name, world in lab.worlds.items() if name != cut]
        lab.network.partition([lab.worlds[cut].host], rest)
        others = [n for n in lab.nodes.values() if n is not leader]
        await until(lambda: others[0].quorum.leader() in {n.peer.peer_id for n in others}, 10)
        await until(lambda: leader.quorum.leader() is None, 10)
        with pytest.raises(NoQuorum, match="1 of 3 voters are reachable"):
            await leader.net.submit("math.add", {"a": 1, "b": 1}, timeout=8)
        task = await others[0].net.submit("math.add", {"a": 1, "b": 2})
        assert await task.result(timeout=10) == 3
        lab.network.heal()
        await until(lambda: lab.leader() is not None, 60)
        assert (await leader.net.task(task.id)).state == "done"

    in_lab(tmp_path, scenario)


def test_the_same_key_is_the_same_task(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        await three(lab)
        nets = [n.net for n in lab.nodes.values()]
        tasks = [
            await net.submit("math.add", {"a": 1, "b": n}, key="k") for n, net in enumerate(nets)
        ]
        assert len({task.id for task in tasks}) == 1
        assert await tasks[2].result(timeout=5) == 1

    in_lab(tmp_path, scenario)


def test_failures_end_as_they_should(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        await three(lab)
        net = lab.nodes["a"].net
        with pytest.raises(TaskParked, match="RuntimeError: no luck"):
            await (await net.submit("always.fails", retries=2)).result(timeout=20)
        with pytest.raises(TaskFailed, match="GiveUp: never"):
            await (await net.submit("gives.up")).result(timeout=5)
        with pytest.raises(TaskFailed, match="missing a required argument"):
            await (await net.submit("math.add", {"a": 1})).result(timeout=5)
        endless = await net.submit("never.ends", limit=2, retries=0)
        with pytest.raises(TaskParked):
            await endless.result(timeout=20)
        waiting = await net.submit("nobody.offers.this")
        with pytest.raises(TaskTimeout):
            await waiting.result(timeout=1)
        await net.cancel(waiting.id)
        with pytest.raises(TaskCancelled):
            await waiting.result(timeout=5)

    in_lab(tmp_path, scenario)


def test_a_node_that_leaves_gives_its_work_back_and_hands_over_leadership(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        await three(lab)
        leader = lab.leader()
        assert leader is not None
        base = next(n for n in lab.nodes.values() if n is not leader)
        tasks = await base.net.submit_many("slow.echo", [{"text": f"{n}"} for n in range(20)])
        await asyncio.sleep(0.5)
        name = next(name for name, n in lab.nodes.items() if n is leader)
        before = asyncio.get_running_loop().time()
        await lab.nodes.pop(name).__aexit__(None, None, None)
        assert asyncio.get_running_loop().time() - before < 2
        del lab.worlds[name]
        await until(lambda: lab.leader() is not None, 2)
        assert await tasks.results(timeout=60) == [f"{n}" for n in range(20)]

    in_lab(tmp_path, scenario)


def test_map_reduce_folds_in_the_order_of_the_items(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        await three(lab)
        seen: list[int] = []
        total = await map_reduce(
            lab.nodes["c"].net,
            "math.add",
            [{"a": n, "b": 0} for n in range(300)],
            list,
            on_progress=lambda p: seen.append(p.done),
        )
        assert total == [float(n) for n in range(300)]
        assert seen == list(range(1, 301))

    in_lab(tmp_path, scenario)


def test_topics_reach_all_nodes(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        await three(lab)
        async with lab.nodes["b"].net.subscribe("news") as messages:
            await lab.nodes["a"].net.publish("news", {"n": 1})
            message = await anext(messages)
        assert message.value == {"n": 1}
        assert message.sender == lab.nodes["a"].peer.peer_id

    in_lab(tmp_path, scenario)


def test_every_served_method_declares_a_permission(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        await three(lab)
        for node in lab.nodes.values():
            declared = node.peer.declared()
            assert len(declared) > 10
            assert all(permission for permission in declared.values()), declared

    in_lab(tmp_path, scenario)


def test_a_node_that_is_no_voter_submits_works_and_follows_the_leader(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        for name in ("a", "b", "c"):
            await lab.up(name)
        await until(lambda: lab.leader() is not None)
        client = await lab.up("d", [worker()])
        await until(lambda: lab.leader() is not None)
        assert client.quorum.replica is None
        task = await client.net.submit("math.add", {"a": 1, "b": 2})
        assert await task.result(timeout=10) == 3
        assert task.assignee == client.peer.peer_id
        leader = lab.leader()
        assert leader is not None
        lab.crash(leader)
        again = await client.net.submit("math.add", {"a": 2, "b": 2}, timeout=20)
        assert await again.result(timeout=20) == 4
        assert (await client.net.status())["role"] == "client"

    in_lab(tmp_path, scenario)


def test_a_handler_may_call_on_and_knows_who_asks(tmp_path: Path) -> None:
    agent = Agent("relay")

    @agent.serve("relay.add")
    async def relay(context: Context, a: float, b: float) -> dict[str, object]:
        value = await context.net.call("math.add", a, b)
        return {"value": value, "caller": context.caller, "trace": context.trace is not None}

    async def scenario(lab: NodeLab) -> None:
        await lab.up("a", [worker()])
        await lab.up("b", [agent])
        caller = await lab.up("c")
        said = await caller.net.call("relay.add", 1, 2, deadline=5)
        assert said == {"value": 3, "caller": caller.peer.peer_id, "trace": True}

    in_lab(tmp_path, scenario)
