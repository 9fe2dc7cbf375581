"""Sealed tasks, topics and streams between whole nodes in virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from node_lab import NodeLab, in_lab, until
from sealed_lab import SECRET, Later, three
from streaming_lab import Bench
from test_node_voted_tasks import Judge, agent_of, network, yes

from agents import Agent, Context, InvalidArguments, TaskFailed
from agents.sealing.topics import MARK
from keys.sealing import SealedByAnother, SealedForOthers, SealedRefused
from p2p import BadRequest

# -- tasks -------------------------------------------------------------------------------------


def worker() -> tuple[Agent, list[tuple[str, object]]]:
    agent, seen = Agent("safe"), list[tuple[str, object]]()

    @agent.serve("safe.keep")
    async def keep(context: Context, code: str) -> dict[str, str]:
        seen.append((context.capability, code))
        if code == "fail":
            raise ValueError(SECRET)
        return {"kept": code}

    return agent, seen


def everything_in(directory: Path) -> bytes:
    return b"".join(p.read_bytes() for p in directory.rglob("*") if p.is_file())


def test_a_sealed_task_is_done_by_its_peer_and_closed_to_the_log(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        agent, seen = worker()
        ada, bob, eve = await three(lab, (agent,))
        await until(lambda: lab.leader() is not None)
        await ada.net.wait_for("safe.keep")
        for node in (bob, eve, bob):
            task = await ada.net.submit("safe.keep", SECRET, sealed_to=node.peer.name)
            assert await task.result(timeout=30) == {"kept": SECRET}
            assert task.assignee == node.peer.peer_id
            listed = await eve.net.task(task.id)
            assert listed.view is not None
            assert SECRET.encode() not in (listed.view.result or b"")
            if node is not eve:
                with pytest.raises(SealedForOthers):
                    await listed.result(timeout=5)
        assert seen == [("safe.keep", SECRET)] * 3
        assert SECRET.encode() not in everything_in(tmp_path)
        plain = await ada.net.submit("safe.keep", SECRET)
        await plain.result(timeout=30)
        assert SECRET.encode() in everything_in(tmp_path)  # so the search above could have failed

    in_lab(tmp_path, scenario, voters=3)


def test_many_sealed_tasks_go_to_one_peer_or_each_to_its_own(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        agent, seen = worker()
        ada, bob, eve = await three(lab, (agent,))
        await until(lambda: lab.leader() is not None)
        await ada.net.wait_for("safe.keep")
        tasks = await ada.net.submit_many("safe.keep", [SECRET] * 3, sealed_to="bob")
        assert await tasks.results(timeout=30) == [{"kept": SECRET}] * 3
        each = await ada.net.submit_many("safe.keep", [SECRET] * 2, sealed_to=["bob", "eve"])
        assert await each.results(timeout=30) == [{"kept": SECRET}] * 2
        views = [await ada.net.task(task_id) for task_id in each.ids]
        assert [view.assignee for view in views] == [bob.peer.peer_id, eve.peer.peer_id]
        assert len(seen) == 5
        assert SECRET.encode() not in everything_in(tmp_path)
        with pytest.raises(InvalidArguments, match="one for each"):
            await ada.net.submit_many("safe.keep", [1, 2, 3], sealed_to=["bob", "eve"])

    in_lab(tmp_path, scenario, voters=3)


def test_what_a_sealed_task_raises_stays_at_its_worker(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        agent, _ = worker()
        ada, _, _ = await three(lab, (agent,))
        await until(lambda: lab.leader() is not None)
        await ada.net.wait_for("safe.keep")
        task = await ada.net.submit("safe.keep", "fail", sealed_to="bob", retries=0)
        with pytest.raises(Exception, match="ValueError") as raised:
            await task.result(timeout=30)
        assert SECRET not in str(raised.value)
        assert SECRET.encode() not in everything_in(tmp_path)

    in_lab(tmp_path, scenario, voters=1)


def test_a_sealed_payload_is_not_done_for_another_submitter_or_task(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        agent, seen = worker()
        ada, bob, eve = await three(lab, (agent,))
        await until(lambda: lab.leader() is not None)
        skill, payload = await ada.sealed_tasks.seal_payload(
            "0" * 32, "safe.keep", b"\x92\x91\xa1x\x80", bob.peer.peer_id
        )
        raw = {"skill": skill, "payload": payload, "key": None, "max_attempts": 1}
        raw |= {"timeout_ms": 1000, "priority": 0, "lease_ms": 1000}
        from agents.operations import _spec_of
        from agents.tasking import wire

        for node, task_id, why in (
            (eve, "0" * 32, "it came as one of"),
            (ada, "1" * 32, "was shown as"),
        ):
            spec = _spec_of({**raw, "id": task_id}, node.peer.peer_id, None)
            await node.asking.ask(wire.SUBMIT, [spec], 5.0)
            task = await node.net.task(task_id)
            with pytest.raises(TaskFailed, match=why):
                await task.result(timeout=30)
        assert not seen

    in_lab(tmp_path, scenario, voters=1)


def test_a_sealed_task_waits_for_its_peer(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        agent, seen = worker()
        ada, bob, _ = await three(lab)
        await until(lambda: lab.leader() is not None)
        eve = await lab.up("fay", [agent])
        await until(lambda: len(ada.peer.presence.present()) == 3)
        task = await ada.net.submit("safe.keep", "x", sealed_to="bob")
        await asyncio.sleep(20)
        await task.refresh()
        assert task.state == "pending"
        assert not seen
        assert eve.working.held == 0
        with pytest.raises(InvalidArguments, match="say `sealed_to`"):
            await ada.net.submit(f"safe.keep@{bob.peer.peer_id}", "x")

    in_lab(tmp_path, scenario, voters=1)


def test_voters_approve_a_sealed_task_without_seeing_what_is_in_it(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, {name: Judge(yes) for name in "abc"})
        for name in "bcb":
            task = await nodes["a"].net.submit(
                "survey.file", {"path": SECRET}, policy="vote", sealed_to=name
            )
            assert await task.result(timeout=20) == SECRET.upper()
            assert task.assignee == nodes[name].peer.peer_id
        asked = agent_of(nodes["a"]).questions[0].task
        assert asked.skill == f"survey.file@{nodes['b'].peer.peer_id}"
        assert SECRET.encode() not in asked.payload
        assert SECRET.encode() not in everything_in(tmp_path)

    in_lab(tmp_path, scenario, voters=3)


# -- topics ------------------------------------------------------------------------------------


def test_a_sealed_publication_is_closed_in_the_history_and_open_for_its_reader(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob, eve = await three(lab)
        await ada.net.publish("news", 1)
        await ada.net.publish("news", SECRET, only_peers=["bob"], sealed=True)
        await ada.net.publish("news", 3)
        kept = ada.peer._topics._publishing.history.read("news", 1, 3)[0]
        assert SECRET not in repr(kept)
        assert kept[1].payload[:1] == MARK  # type: ignore[union-attr]
        async with bob.net.subscribe("news", replay=3) as messages:
            found = [(await anext(messages)) for _ in range(3)]
        assert [(m.value, m.gap) for m in found] == [(1, 0), (SECRET, 0), (3, 0)]
        async with eve.net.subscribe("news", replay=3) as messages:
            found = [(await anext(messages)) for _ in range(2)]
        assert [m.value for m in found] == [1, 3]
        with pytest.raises(InvalidArguments, match="for whom"):
            await ada.net.publish("news", 4, sealed=True)

    in_lab(tmp_path, scenario, voters=1)


def test_what_is_sealed_for_a_role_is_for_those_who_are_here(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob, _ = await three(lab)
        async with bob.net.subscribe("news") as messages, ada.net.subscribe("news") as own:
            await ada.net.wait_subscribers("news")
            await ada.net.publish("news", SECRET, only_roles=["service"], sealed=True)
            assert (await anext(messages)).value == SECRET
            assert (await anext(own)).value == SECRET

    in_lab(tmp_path, scenario, voters=1)


def test_a_sealed_publication_of_somebody_else_is_a_gap(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob, eve = await three(lab)
        async with bob.net.subscribe("news") as messages:
            await eve.net.wait_subscribers("news")
            theirs = await ada.sealed_topics.seal("news", b"\x01", [bob.peer.peer_id])
            other = await eve.sealed_topics.seal("olds", b"\x01", [bob.peer.peer_id])
            eve.peer.publish("news", theirs)
            eve.peer.publish("news", other)
            eve.peer.publish("news", MARK + b"garbage")
            await eve.net.publish("news", 4)
            found = await anext(messages)
        assert (found.value, found.gap) == (4, 3)

    in_lab(tmp_path, scenario, voters=1)


# -- streams -----------------------------------------------------------------------------------


def test_a_sealed_stream_carries_arguments_and_answers_under_its_own_key(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        bench = Bench()
        ada = await lab.up("ada", [bench.agent])
        bob = await lab.up("bob")
        await bob.net.wait_for("lab.count")
        assert [n async for n in bob.net.stream("lab.count", 50, sealed=True)] == [*range(50)]
        assert ada.sealing.counts["opened"] == 1
        async with bob.net.open("lab.double", 2, sealed=True) as channel:
            for number in range(5):
                await channel.send(number)
                assert await anext(channel) == 2 * number
            await channel.finish()
            with pytest.raises(StopAsyncIteration):
                await anext(channel)
        assert [n async for n in bob.net.stream("lab.count", 3)] == [0, 1, 2]  # plain as ever

    in_lab(tmp_path, scenario, voters=1)


def test_a_sealed_stream_lives_longer_than_its_key(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        bench = Bench()
        ada, bob = await lab.up("ada", [bench.agent]), await lab.up("bob")
        await bob.net.wait_for("lab.double")
        clocks = [Later(node) for node in (ada, bob)]
        for node, clock in zip((ada, bob), clocks, strict=True):
            node.sealed_streams._clock = clock  # type: ignore[assignment]
        async with bob.net.open("lab.double", 2, sealed=True) as channel:
            for number in range(4):
                await channel.send(number)
                assert await anext(channel) == 2 * number
                for clock in clocks:
                    clock.ahead_ms += 3_600_000
            await channel.finish()

    in_lab(tmp_path, scenario, voters=1)


def test_the_opening_of_a_sealed_stream_is_taken_once(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        bench = Bench()
        ada, bob = await lab.up("ada", [bench.agent]), await lab.up("bob")
        await bob.net.wait_for("lab.count")
        to = ada.peer.peer_id
        _, payload = await bob.sealed_streams.ask(to, b"\x93\xa9lab.count\x91\x01\x80")
        ada.sealed_streams.answer(bob.peer.peer_id, payload)
        with pytest.raises(BadRequest, match="not taken a second time"):
            stream = await bob.peer.open_stream(to, "agents.stream", payload)
            await anext(stream)
        _, payload = await bob.sealed_streams.ask(to, b"\x93\xa9lab.count\x91\x01\x80")
        with pytest.raises(SealedByAnother):
            ada.sealed_streams.answer(to, payload)
        with pytest.raises(SealedRefused):
            ada.sealed_streams.answer(bob.peer.peer_id, MARK + b"x")

    in_lab(tmp_path, scenario, voters=1)


def test_a_handler_that_fails_in_a_sealed_stream_is_heard(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        bench = Bench()
        await lab.up("ada", [bench.agent])
        bob = await lab.up("bob")
        await bob.net.wait_for("lab.fail_late")
        heard = []
        with pytest.raises(Exception, match="no luck"):
            async for value in bob.net.stream("lab.fail_late", sealed=True):
                heard.append(value)
        assert heard == [1]

    in_lab(tmp_path, scenario, voters=1)
