"""Tasks that are assigned only after a vote: whole nodes in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from node_lab import NodeLab, in_lab, until

from agents.agent import Agent
from agents.deciding import Question, Wish, votes
from agents.disaster import _State
from agents.errors import InvalidArguments, QuestionRefused, TaskParked
from agents.ledger import Assignment, State, TaskId, encode_assigned
from agents.node import Node
from agents.task import Task
from consensus import SqliteStorage
from consensus.ballots import Choice

Say = Callable[[Question], Any]


class Worker(Agent):
    """Works, and votes as its test wants; without something to say it leaves that to people."""

    def __init__(self, *, works: bool = True) -> None:
        super().__init__("worker", capacity=4)
        self.did: list[str] = []
        if works:
            self.serve("survey.file")(self.survey)

    async def survey(self, path: str) -> str:
        self.did.append(path)
        return path.upper()


class Judge(Worker):
    def __init__(self, say: Say, *, works: bool = True) -> None:
        super().__init__(works=works)
        self.say = say
        self.questions: list[Question] = []

    @votes("task")
    async def judge(self, ctx: Any, question: Question) -> Any:
        self.questions.append(question)
        return self.say(question)


def yes(question: Question) -> bool:
    return True


def no(question: Question) -> Any:
    return False, "not today"


def veto(question: Question) -> Any:
    return Choice.VETO, "never on a Friday"


async def network(lab: NodeLab, agents: dict[str, Agent]) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    for name, agent in agents.items():
        if len(nodes) == 3:
            await until(lambda: lab.leader() is not None)
        nodes[name] = await lab.up(name, [agent])
    await until(lambda: lab.leader() is not None)
    await until(
        lambda: all(len(n.peer.presence.present()) == len(nodes) - 1 for n in nodes.values())
    )
    return nodes


def agent_of(node: Node) -> Any:
    return node.host.offers[0]


def ledger_of(node: Node) -> Any:
    return node.quorum.ledger


def open_tasks_question(node: Node) -> Any:
    found = node.quorum.decisions.register.open()
    return found[0].proposal if found else None


async def submitted(node: Node, **options: Any) -> Task:
    """Without the wait for its assignment, during which virtual time would fly."""
    tasks = await node.net.submit_many("survey.file", [{"path": "x"}], policy="vote", **options)
    return await node.net.task(tasks.ids[0])


def test_a_task_runs_once_the_voters_approved_it(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, {name: Judge(yes) for name in "abc"})
        task = await nodes["a"].net.submit("survey.file", {"path": "x.py"}, policy="vote")
        assert await task.result(timeout=20) == "X.PY"
        await task.refresh()
        decision = task.decision
        assert decision.policy == "vote"
        assert len(decision.votes) == len(decision.voters) == 3
        asked = agent_of(nodes["b"]).questions
        assert len(asked) == 1
        assert asked[0].task.skill == "survey.file"
        assert b"x.py" in asked[0].task.payload
        assert asked[0].task.worker in {node.peer.peer_id for node in nodes.values()}
        assert sum(len(agent_of(node).did) for node in nodes.values()) == 1
        many = await nodes["b"].net.submit_many(
            "survey.file", [{"path": f"{n}.py"} for n in range(50)], policy="vote"
        )
        assert len(await many.results(timeout=60)) == 50
        await until(lambda: len({b"".join(ledger_of(n).snapshot()) for n in nodes.values()}) == 1)

    in_lab(tmp_path, scenario)


def test_a_guardian_parks_it_and_says_why(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        judges: dict[str, Agent] = {"a": Judge(yes), "b": Judge(yes), "c": Judge(veto)}
        nodes = await network(lab, judges)
        task = await submitted(nodes["a"], threshold=(1, 2), may_veto=["c"])
        with pytest.raises(TaskParked, match="never on a Friday") as parked:
            await task.result(timeout=20)
        assert "c vetoed" in str(parked.value)
        assert not any(agent_of(node).did for node in nodes.values())
        said = await nodes["b"].net.tasks()
        (row,) = said["tasks"]
        assert (row["state"], row["error"][0]) == ("parked", "NotApproved")
        # A person may ask again; the guardian is asked anew, since ballots are final.
        agent_of(nodes["c"]).say = yes
        await nodes["a"].net.retry(task.id)
        assert await task.result(timeout=20) == "X"

    in_lab(tmp_path, scenario)


def test_without_an_approval_every_replica_refuses_the_assignment(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, {name: Worker() for name in "abc"})
        task = await submitted(
            nodes["a"],
        )
        await until(lambda: open_tasks_question(nodes["a"]))
        leader = lab.leader()
        assert leader is not None
        assert leader.quorum.replica is not None
        # A leader that was changed to assign what nobody approved.
        for node in nodes.values():
            item = Assignment(TaskId(task.id), node.peer.peer_id, "worker", 1)
            await leader.quorum.replica.propose(encode_assigned(0, [item]))
        await asyncio.sleep(1)
        for node in nodes.values():
            assert ledger_of(node).state_of(TaskId(task.id)) is State.PENDING
            assert ledger_of(node).refused.get("not_approved") == 3
            assert not agent_of(node).did

    in_lab(tmp_path, scenario)


def test_people_vote_on_a_task_and_see_that_it_waits(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, {name: Worker() for name in "abc"})
        task = await submitted(nodes["a"], voters=["a", "b"], threshold=(1, 2))
        await until(lambda: open_tasks_question(nodes["a"]))
        (row,) = (await nodes["b"].net.tasks())["tasks"]
        assert row["state"] == "pending"
        assert (row["vote"]["status"], row["vote"]["needed"]) == ("open", 2)
        (question,) = await nodes["b"].net.decisions()
        assert question["id"] == row["vote"]["question"]
        assert (question["kind"], question["own"]) == ("task", "may vote")
        for name in "ab":
            await nodes[name].net.cast(question["id"], "approve", reason="looked at it")
        assert await task.result(timeout=20) == "X"

    in_lab(tmp_path, scenario)


def test_voters_that_nobody_reaches_park_it_at_the_deadline(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, {name: Worker() for name in "abcd"})
        task = await submitted(nodes["a"], voters=["d"], vote_deadline=4)
        lab.crash(nodes["d"])
        with pytest.raises(TaskParked, match="its time ran out before 1 of 1 had approved it"):
            await task.result(timeout=60)

    in_lab(tmp_path, scenario)


def test_a_leader_that_dies_between_vote_and_assignment(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, {name: Worker() for name in "abc"})
        leader = lab.leader()
        assert leader is not None
        rest = [node for node in nodes.values() if node is not leader]
        task = await submitted(rest[0], threshold=(1, 2), vote_deadline=60)
        await until(lambda: open_tasks_question(rest[0]))
        question = open_tasks_question(rest[0])
        lab.crash(leader)
        await until(lambda: lab.leader() in rest)
        for node in rest:
            await node.net.cast(question.proposal_id, "approve")
        # Whoever the worker was: it dies with the leader, and another one is voted on.
        for _ in range(3):
            await asyncio.sleep(2)
            if any(agent_of(node).did for node in rest):
                break
            for other in rest[0].quorum.decisions.register.open():
                for node in rest:
                    await node.net.cast(other.proposal.proposal_id, "approve")
        assert await task.result(timeout=30) == "X"
        assert sum(len(agent_of(node).did) for node in rest) == 1

    in_lab(tmp_path, scenario)


def test_a_question_outlives_its_leader_and_is_not_asked_twice(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        agents: dict[str, Agent] = {name: Worker(works=False) for name in "abc"}
        nodes = await network(lab, agents | {"d": Worker()})
        leader = lab.leader()
        assert leader is not None
        rest = [node for node in nodes.values() if node is not leader]
        voters = [node for name, node in nodes.items() if name != "d" and node is not leader]
        task = await submitted(nodes["d"], threshold=(1, 2), vote_deadline=60)
        await until(lambda: all(open_tasks_question(node) for node in voters))
        question = open_tasks_question(voters[0])
        lab.crash(leader)
        await until(lambda: lab.leader() in rest)
        await asyncio.sleep(3)
        assert len(voters[0].quorum.decisions.register.list(9)) == 1
        for node in voters:
            await node.net.cast(question.proposal_id, "approve")
        assert await task.result(timeout=30) == "X"

    in_lab(tmp_path, scenario)


def test_a_worker_that_dies_during_its_vote_is_replaced_by_another(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        agents: dict[str, Agent] = {name: Worker(works=False) for name in "abc"}
        nodes = await network(lab, agents | {"d": Worker(), "e": Worker()})
        task = await submitted(nodes["a"], threshold=(1, 2), vote_deadline=60)
        await until(lambda: open_tasks_question(nodes["a"]))
        first = (await nodes["a"].net.tasks())["tasks"][0]["vote"]
        victim = next(n for n in nodes.values() if n.peer.peer_id == first["worker"])
        other = nodes["e"] if victim is nodes["d"] else nodes["d"]
        lab.crash(victim)
        await until(lambda: len(nodes["a"].quorum.decisions.register.open()) == 2)
        second = (await nodes["a"].net.tasks())["tasks"][0]["vote"]
        assert second["worker"] == other.peer.peer_id
        for name in "ab":  # two of three end it; what is said on the dead one changes nothing
            await nodes[name].net.cast(first["question"], "reject")
        await asyncio.sleep(2)
        assert ledger_of(nodes["a"]).state_of(TaskId(task.id)) is State.PENDING
        for name in "ab":
            await nodes[name].net.cast(second["question"], "approve")
        assert await task.result(timeout=20) == "X"
        assert agent_of(other).did == ["x"]

    in_lab(tmp_path, scenario)


def test_votes_hold_up_no_other_work_and_are_bounded(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, {name: Worker() for name in "abc"})
        await nodes["a"].net.submit_many(
            "survey.file", [{"path": str(n)} for n in range(100)], policy="vote"
        )
        await until(lambda: open_tasks_question(nodes["a"]))
        plain = await nodes["a"].net.submit_many("survey.file", [{"path": "p"}] * 20)
        assert await plain.results(timeout=20) == ["P"] * 20
        assert 1 <= len(nodes["a"].quorum.decisions.register.open()) <= 32

    in_lab(tmp_path, scenario)


def test_a_log_that_is_read_again_leads_to_the_same_assignments(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, {name: Judge(yes) for name in "abc"})
        task = await submitted(nodes["a"])
        assert await task.result(timeout=20) == "X"
        agent_of(nodes["b"]).say = no
        parked = await submitted(nodes["a"])
        with pytest.raises(TaskParked, match="b rejected"):
            await parked.result(timeout=20)
        before = ledger_of(nodes["c"]).get(TaskId(task.id)), ledger_of(nodes["c"]).get(parked.id)
        for node in nodes.values():
            await node.__aexit__(None, None, None)
        again = _State(nodes["c"].keystore)
        storage = SqliteStorage(
            nodes["c"].home / "raft" / "log.db",
            nodes["c"].quorum.electorate.cluster.cluster_id,
            nodes["c"].peer.peer_id,
        )
        again.take_log(storage.recover(), storage.snapshots)
        storage.close()
        assert (again.ledger.get(TaskId(task.id)), again.ledger.get(TaskId(parked.id))) == before
        assert before[0].state is State.DONE
        assert before[1].state is State.PARKED

    in_lab(tmp_path, scenario)


def test_what_cannot_be_voted_on_is_refused_in_words(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, {name: Worker() for name in "abc"})
        submit = nodes["a"].net.submit
        for wrong, words in (
            ({"policy": "vote", "voters": ["nobody"]}, "nobody is none of those who could vote"),
            ({"policy": "vote", "threshold": (1, 3)}, "below one half"),
            ({"policy": "vote", "voters": ["a"], "may_veto": ["b"]}, "b is none of those"),
            ({"policy": "vote", "vote_deadline": -1}, "deadline"),
            ({"policy": "oracle"}, "neither 'majority' nor 'vote'"),
            ({"voters": ["a"]}, "only a task with policy 'vote'"),
        ):
            with pytest.raises(InvalidArguments, match=words):
                await submit("survey.file", {"path": "x"}, **wrong)
        assert not len(ledger_of(nodes["a"]))

    in_lab(tmp_path, scenario)


def test_nobody_takes_the_id_of_a_tasks_question(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, {name: Worker() for name in "abc"})
        wish = Wish("7461736b" + "0" * 24, "Mine?", b"", "", None, {}, (), (1, 2), 1000)
        with pytest.raises(QuestionRefused, match="belong to tasks' questions"):
            await nodes["a"].deciding.decide(wish, None)

    in_lab(tmp_path, scenario)
