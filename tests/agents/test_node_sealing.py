"""Sealed messages, tasks, topics and streams between whole nodes in virtual time."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from pathlib import Path

import pytest
from node_lab import NodeLab, in_lab, until
from streaming_lab import Bench
from test_node_voted_tasks import Judge, agent_of, network, yes

from agents import Agent, Context, InvalidArguments, TaskFailed
from agents.errors import NoSealingKey
from agents.node import Node
from agents.sealing import sealing_operations
from agents.sealing.topics import MARK
from keys import (
    Chain,
    Revocations,
    SealedByAnother,
    SealedByStranger,
    SealedForOtherPurpose,
    SealedForOthers,
    SealedMalformed,
    SealedRefused,
    SealedReplayed,
    SealedTooOld,
    SealingKeyGone,
    Suite,
    entry_of_key,
    next_list,
)
from keys.sealing import hybrid_problem
from p2p import BadRequest, PeerUnreachable

SECRET = "the launch code is 0000"


async def three(lab: NodeLab, agents: tuple[Agent, ...] = ()) -> tuple[Node, Node, Node]:
    ada, bob = await lab.up("ada"), await lab.up("bob", agents)
    eve = await lab.up("eve", agents)
    nodes = (ada, bob, eve)
    await until(lambda: all(len(node.peer.presence.present()) == 2 for node in nodes))
    return nodes


async def again(lab: NodeLab, node: Node, name: str) -> Node:
    """The same home, started once more."""
    from p2p.memory import MemoryWorld

    await node.__aexit__(None, None, None)
    lab.worlds[name] = MemoryWorld(lab.network, 77)
    fresh = Node(type(node.keystore).open(node.home), lab.worlds[name], (), local_door=False)
    lab.nodes[name] = fresh
    await fresh.__aenter__()
    return fresh


# -- messages ----------------------------------------------------------------------------------


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


class Later:
    """A clock that can be put forward."""

    def __init__(self, node: Node) -> None:
        self._clock = node.world.clock
        self.ahead_ms = 0

    def wall_ms(self) -> int:
        return self._clock.wall_ms() + self.ahead_ms

    def now_ms(self) -> int:
        return self._clock.now_ms() + self.ahead_ms


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


def test_text_of_sealed_messages_survives_paper(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada = await lab.up("ada")
        text = base64.b64encode(await ada.net.seal(b"\x00\xff", to="ada"))
        assert (await ada.net.unseal(base64.b64decode(text))).value == b"\x00\xff"

    in_lab(tmp_path, scenario, voters=1)
