"""A worker finds out by itself whether its work was approved: whole nodes, a leader that lies."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from node_lab import NodeLab, in_lab, until

from agents.agent import Agent
from agents.deciding import SCHEME, Question
from agents.errors import TaskFailed
from agents.ledger import LeaseRef, TaskId, TaskSpec, Token, Work, make_terms
from agents.ledger.task import Task
from agents.ledger.voted import VotedTask, question_on
from agents.node import Node
from agents.tasking import wire
from agents.tasking.used import UsedApprovals
from consensus.ballots import Ballot, Choice, Elector, Proposal, QuorumCertificate, Tally
from keys import Keystore
from keys.auditing import AuditEntry, read_audit
from p2p import BadRequest, encode_payload
from p2p.memory import MemoryWorld


def worker() -> tuple[Agent, list[str]]:
    agent, did = Agent("worker", capacity=4), []

    @agent.serve("deploy.run", approval="voters")
    async def deploy(tag: str) -> str:
        did.append(tag)
        return f"deployed {tag}"

    @agent.serve("survey.file")
    async def survey(tag: str) -> str:
        did.append(tag)
        return tag.upper()

    return agent, did


def voter() -> Agent:
    agent = Agent("voter")

    @agent.votes("task")
    async def judge(ctx: Any, question: Question) -> bool:
        return True

    return agent


async def network(lab: NodeLab) -> tuple[dict[str, Node], list[str]]:
    nodes = {name: await lab.up(name, [voter()]) for name in "abc"}
    await until(lambda: lab.leader() is not None)
    agent, did = worker()
    nodes["d"] = await lab.up("d", [agent])
    await until(lambda: all(len(node.peer.presence.present()) == 3 for node in nodes.values()))
    await until(lambda: lab.leader() is not None)
    return nodes, did


def forged(skill: str, tag: str, node: Node, **changes: Any) -> Work:
    """Work that no log has decided."""
    base = Work(
        TaskId("ab" * 16),
        Token(900),
        "worker",
        skill,
        encode_payload([[tag], {}]),
        60_000,
        10_000,
        10_000,
        1,
        node.peer.peer_id,
        None,
        None,
    )
    return base._replace(**changes)


def self_made(leader: Node, work: Work, to: Node) -> bytes:
    """A certificate in which the leader is the only voter."""
    own = leader.keystore.identity
    spec = TaskSpec(work.task_id, work.skill, work.payload, work.submitter, work.key, policy="vote")
    made = Proposal.make(
        proposal_id="0" * 32,
        cluster_id=leader.peer.principal.network_id,
        epoch=0,
        electors=[Elector(own.peer_id, own.public_key, 1, False, "a")],
        question="-",
        proposer=work.submitter,
        deadline_ms=1_000,
        threshold=(1, 2),
    )
    task = Task(spec, 1, 0, terms=make_terms(made, spec))
    question = question_on(task, to.peer.peer_id)
    tally = Tally(question)
    tally.add(Ballot.sign(own, question, Choice.APPROVE).check(question, SCHEME))
    certificate = QuorumCertificate.of(tally)
    assert certificate is not None
    return certificate.to_bytes()


async def told(leader: Node, to: Node, *work: Work) -> None:
    """Until all of it is refused."""
    rows = [each.to_wire() for each in work]
    payload = encode_payload([to.peer.incarnation, rows])
    leader.peer.notify(to.peer.peer_id, wire.WORK, payload)
    async with asyncio.timeout(20):
        while len(await refusals(to)) < len(work):
            await asyncio.sleep(0.1)
    assert not to.working.running


async def refusals(node: Node) -> list[AuditEntry]:
    await node.auditing.audit.flush()
    found = [each for each in read_audit(node.home / "audit") if isinstance(each, AuditEntry)]
    return [each for each in found if each.note.kind == "task.refused"]


def test_a_worker_runs_what_the_voters_approved_and_nothing_that_a_leader_makes_up(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes, did = await network(lab)
        d, leader = nodes["d"], lab.leader()
        assert leader is not None
        task = await nodes["a"].net.submit("deploy.run", {"tag": "v1"}, policy="vote")
        assert await task.result(timeout=20) == "deployed v1"
        assert did == ["v1"]
        assert not await refusals(d)
        # Nobody voted on it, the leader alone did, or the voters approved something else.
        decision = leader.quorum.ledger.get(TaskId(task.id))
        assert decision is not None
        register = leader.quorum.decisions.register
        (approved,) = [each for each in register.list(9) if each.certificate is not None]
        bare = forged("deploy.run", "v2", d)
        alone = forged("deploy.run", "v3", d, task_id=TaskId("ac" * 16))
        alone = alone._replace(proof=self_made(leader, alone, d))
        replayed = forged("deploy.run", "v4", d, task_id=TaskId(task.id))
        replayed = replayed._replace(proof=approved.certificate)
        await told(leader, d, bare, alone, replayed)
        assert did == ["v1"]
        said = {each.note.subject: each.note for each in await refusals(d)}
        assert set(said) == {bare.task_id, alone.task_id, task.id}
        assert {note.by for note in said.values()} == {leader.peer.peer_id}
        assert "no majority of the voters" in str(said[alone.task_id].detail)

    in_lab(tmp_path, scenario)


def test_what_served_before_a_worker_was_started_again_serves_no_more(tmp_path: Path) -> None:
    """Whoever leads has all of it: the work, the votes on it, and the right to send work."""

    async def scenario(lab: NodeLab) -> None:
        nodes, did = await network(lab)
        task = await nodes["a"].net.submit("deploy.run", {"tag": "v1"}, policy="vote")
        assert await task.result(timeout=20) == "deployed v1"
        leader, d = lab.leader(), nodes["d"]
        assert leader is not None
        (approved,) = [
            each for each in leader.quorum.decisions.register.list(9) if each.certificate
        ]
        said = VotedTask.read(approved.proposal.subject)
        assert said is not None
        assert said.payload is not None
        work = forged("deploy.run", "v1", nodes["a"], task_id=TaskId(task.id))
        work = work._replace(payload=said.payload, proof=approved.certificate)
        shutil.copytree(d.home, tmp_path / "again")  # as a kill leaves it
        lab.crash(d)
        agent, done = worker()
        world = MemoryWorld(lab.network, 77)
        again = Node(Keystore.open(tmp_path / "again"), world, [agent], local_door=False)
        async with again:
            await until(lambda: len(again.peer.presence.present()) == 3)
            await until(lambda: leader.peer.session_of(d.peer.peer_id) is not None)
            await told(leader, again, work)
            assert did == ["v1"]
            assert not done
            (why,) = [each.note.detail for each in await refusals(again)]
            assert "before this node was started again" in str(why)
            # The same without its memory: so this is what the memory is for.
            for file in again.home.glob("approvals-*.used"):
                file.unlink()
            again.working._approvals._used = UsedApprovals(again.home)
            leader.peer.notify(
                again.peer.peer_id,
                wire.WORK,
                encode_payload(
                    [again.peer.incarnation, [work._replace(token=Token(901)).to_wire()]]
                ),
            )
            await until(lambda: done == ["v1"])

    in_lab(tmp_path, scenario)


def test_a_vote_that_does_not_hold_is_refused_also_where_no_handler_asks_for_one(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes, did = await network(lab)
        d, leader = nodes["d"], lab.leader()
        assert leader is not None
        work = forged("survey.file", "x", d)
        proof = self_made(leader, work, d)
        other = work._replace(task_id=TaskId("ad" * 16), proof=proof)
        changed = proof[:-1] + bytes([proof[-1] ^ 1])
        await told(leader, d, other, work._replace(proof=changed))
        assert not did
        assert len(await refusals(d)) == 2

    in_lab(tmp_path, scenario)


def test_who_asks_for_an_approval_answers_no_calls_and_does_no_task_without_one(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes, did = await network(lab)
        with pytest.raises(BadRequest, match="a task that was approved"):
            await nodes["a"].net.call("deploy.run", tag="v1")
        task = await nodes["a"].net.submit("deploy.run", {"tag": "v1"})
        with pytest.raises(TaskFailed, match="nobody voted on it"):
            await task.result(timeout=20)
        narrow = await nodes["a"].net.submit(
            "deploy.run", {"tag": "v1"}, policy="vote", voters=["a"]
        )
        with pytest.raises(TaskFailed, match="no majority of the voters"):
            await narrow.result(timeout=20)
        named = await nodes["a"].net.submit(
            "survey.file", {"tag": "v1"}, policy="vote", voters=["a"]
        )
        assert await named.result(timeout=20) == "V1"
        assert did == ["v1"]

    in_lab(tmp_path, scenario)


def test_the_proof_of_a_lease_goes_with_it_to_the_next_leader(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes, _ = await network(lab)
        task = await nodes["d"].net.submit("survey.file", {"tag": "x"}, policy="vote")
        await task.result(timeout=20)
        again = await nodes["d"].net.submit_many(
            "survey.file", [{"tag": str(n)} for n in range(20)], policy="vote", threshold=(1, 2)
        )
        leader = lab.leader()
        assert leader is not None
        await until(lambda: leader.quorum.decisions.register.open())
        lab.crash(leader)
        assert len(await again.results(timeout=120)) == 20
        assert not await refusals(nodes["d"])

    in_lab(tmp_path, scenario)


def test_an_honest_ledger_has_the_proof_while_the_lease_lasts(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes, _ = await network(lab)
        leader = lab.leader()
        assert leader is not None
        gate = asyncio.Event()
        agent: Any = nodes["d"].host.offers[0]
        handler = agent.handlers["survey.file"]

        async def wait(tag: str) -> str:
            await gate.wait()
            return tag

        handler.function = wait
        task = await nodes["a"].net.submit("survey.file", {"tag": "x"}, policy="vote")
        await until(lambda: nodes["d"].working.running)
        ledger = leader.quorum.ledger
        lease = ledger.lease(TaskId(task.id))
        assert lease is not None
        work = ledger.work(LeaseRef(TaskId(task.id), lease.token), 0)
        assert work is not None
        assert work.proof
        gate.set()
        assert await task.result(timeout=20) == "x"

    in_lab(tmp_path, scenario)
