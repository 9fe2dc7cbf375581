"""Decisions of a quorum: whole nodes in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from node_lab import NodeLab, in_lab, until

from agents import deciding_service
from agents.agent import Agent
from agents.deciding import SCHEME, Question, votes
from agents.errors import DecisionUnknown, OutcomeUnknown, QuestionRefused, VoteRefused
from agents.node import Node
from consensus.ballots import (
    Ballot,
    CertificateInvalid,
    Choice,
    Evidence,
    Proposal,
    SqliteBox,
    verify,
)

Say = Callable[[Question], Any]


class Voter(Agent):
    """Votes as its test wants."""

    def __init__(self, say: Say) -> None:
        super().__init__("voter")
        self.say = say
        self.asked = 0

    @votes("deploy")
    async def judge(self, ctx: Any, question: Question) -> Any:
        self.asked += 1
        return self.say(question)


async def network(lab: NodeLab, says: dict[str, Say | None]) -> dict[str, Node]:
    """The nodes by name, of which the first three vote in the log; one without something to say
    leaves voting to people."""
    nodes: dict[str, Node] = {}
    for name, say in says.items():
        if len(nodes) == 3:
            await until(lambda: lab.leader() is not None)
        nodes[name] = await lab.up(name, [Voter(say)] if say is not None else [])
    await until(lambda: lab.leader() is not None)
    await until(
        lambda: all(len(n.peer.presence.present()) == len(nodes) - 1 for n in nodes.values())
    )
    return nodes


def yes(question: Question) -> bool:
    return True


def no(question: Question) -> bool:
    return False


def a_follower(lab: NodeLab, nodes: dict[str, Node]) -> Node:
    return next(node for node in nodes.values() if not node.quorum.leads)


def status_at(node: Node, key: str) -> str | None:
    decision = node.quorum.decisions.register.get(key)
    return None if decision is None else decision.status.value


async def opened(node: Node) -> str:
    """The id of the one question that is open."""
    await until(lambda: node.quorum.decisions.register.open())
    (found,) = node.quorum.decisions.register.open()
    return found.proposal.proposal_id


def test_three_voters_approve_and_the_certificate_stands_alone(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, dict.fromkeys("abc", yes))
        asking = a_follower(lab, nodes)
        done = await asking.net.decide("Deploy v2?", subject=b"v2", kind="deploy")
        assert (done.outcome, done.approved, done.accused) == ("approved", True, ())
        assert {vote["name"] for vote in done.votes} == set("abc")
        assert {vote["choice"] for vote in done.votes} == {"approve"}
        assert done.certificate is not None
        verified = verify(done.certificate, SCHEME)
        assert verified.proposal.subject == b"v2"
        assert '"outcome": "approved"' in (done.certificate_json or "")
        changed = bytearray(done.certificate)
        changed[len(changed) // 2] ^= 1
        with pytest.raises(CertificateInvalid):
            verify(bytes(changed), SCHEME)
        await until(lambda: all(status_at(n, done.id) == "approved" for n in nodes.values()))
        assert (await asking.net.decision(done.id)) == done

    in_lab(tmp_path, scenario)


def test_a_voter_that_says_no_stops_a_threshold_that_needs_all(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, {"a": yes, "b": no, "c": yes})
        # One no of three blocks it, which is no rejection: that takes what an approval takes.
        began = asyncio.get_running_loop().time()
        done = await nodes["a"].net.decide("Deploy?", kind="deploy", deadline=300)
        assert asyncio.get_running_loop().time() - began < 10
        assert (done.outcome, done.certificate) == ("blocked", None)
        assert "it cannot be approved any more: 3 of 3 would have to approve" in done.why
        assert "b rejected" in done.why
        assert {vote["name"]: vote["choice"] for vote in done.votes}["b"] == "reject"
        await until(lambda: all(status_at(n, done.id) == "blocked" for n in nodes.values()))
        done = await nodes["a"].net.decide("Deploy?", kind="deploy", threshold=(1, 2))
        assert done.outcome == "approved"

    in_lab(tmp_path, scenario)


def test_a_guardian_stops_it_alone_and_others_cannot(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        def veto(question: Question) -> Any:
            return Choice.VETO, "never"

        nodes = await network(lab, {"a": yes, "b": yes, "c": veto})
        ask = nodes["a"].net.decide
        guarded = await ask("Deploy?", kind="deploy", threshold=(1, 2), may_veto=["c"])
        plain = await ask("Deploy?", kind="deploy", voters=["c"], threshold=(1, 2))
        assert guarded.outcome == "vetoed"  # nothing is approved before a guardian was heard
        only = await ask("Deploy?", kind="deploy", voters=["c"], may_veto=["c"])
        assert only.outcome == "vetoed"
        assert plain.outcome == "rejected"
        assert {v["name"]: v["choice"] for v in plain.votes}["c"] == "reject"

    in_lab(tmp_path, scenario)


def test_weights_count_and_an_exception_abstains_with_its_reason(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        def broken(question: Question) -> Any:
            raise RuntimeError("no idea")

        nodes = await network(lab, {"a": yes, "b": broken, "c": no})
        done = await nodes["b"].net.decide("Deploy?", kind="deploy", weights={"a": 7})
        assert (done.outcome, done.needed, done.total) == ("approved", 7, 9)
        alone = await nodes["a"].net.decide("Deploy?", kind="deploy", voters=["b"])
        assert alone.outcome == "rejected"
        assert alone.votes[0]["choice"] == "abstain"
        assert alone.votes[0]["reason"] == "RuntimeError: no idea"

    in_lab(tmp_path, scenario)


def test_people_vote_where_no_agent_does(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, dict.fromkeys("abc"))
        asking = asyncio.create_task(nodes["a"].net.decide("Deploy?"))
        key = await opened(nodes["a"])
        (row,) = await nodes["b"].net.decisions()
        assert (row["id"], row["own"], row["status"]) == (key, "may vote", "open")
        for node in nodes.values():
            said = await node.net.cast(key[:8], "approve", reason="looks good")
            assert said["choice"] == "approve"
        done = await asking
        assert done.outcome == "approved"
        assert {vote["reason"] for vote in done.votes} == {"looks good"}
        with pytest.raises(VoteRefused, match="it is over: approved"):
            await nodes["a"].net.cast(key, "reject")
        with pytest.raises(DecisionUnknown):
            await nodes["a"].net.cast("f" * 32, "reject")

    in_lab(tmp_path, scenario)


def test_a_ballot_is_final(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, dict.fromkeys("abc"))
        asking = asyncio.create_task(nodes["a"].net.decide("Deploy?", deadline=5))
        key = await opened(nodes["b"])
        await nodes["b"].net.cast(key, "approve")
        await nodes["b"].net.cast(key, "approve")
        with pytest.raises(VoteRefused, match="voted on it, and otherwise"):
            await nodes["b"].net.cast(key, "reject")
        with pytest.raises(VoteRefused, match="no right to a veto"):
            await nodes["c"].net.cast(key, "veto")
        assert (await asking).outcome == "expired"

    in_lab(tmp_path, scenario)


def test_an_expiry_is_decided_and_not_timed(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, dict.fromkeys("abc"))
        leader = lab.leader()
        assert leader is not None
        followers = [node for node in nodes.values() if node is not leader]
        asking = asyncio.create_task(followers[0].net.decide("Deploy?", deadline=4))
        key = await opened(followers[0])
        await until(lambda: all(status_at(node, key) == "open" for node in followers))
        # Without a quorum nobody can decide that time is over, whatever the clocks say.
        lab.crash(leader)
        lab.crash(followers[1])
        await asyncio.sleep(8)
        assert status_at(followers[0], key) == "open"
        with pytest.raises(OutcomeUnknown):
            await asking

    in_lab(tmp_path, scenario)


def test_an_expired_decision_has_no_certificate_and_is_the_same_everywhere(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, dict.fromkeys("abc"))
        done = await nodes["a"].net.decide("Deploy?", deadline=2)
        assert (done.outcome, done.certificate, done.certificate_json) == ("expired", None, None)
        await until(lambda: all(status_at(n, done.id) == "expired" for n in nodes.values()))

    in_lab(tmp_path, scenario)


def test_the_same_key_is_the_same_decision(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, dict.fromkeys("abc", yes))
        ask = nodes["a"].net.decide
        both = await asyncio.gather(*(ask("Go?", kind="deploy", key="k") for _ in range(2)))
        assert both[0] == both[1]
        assert await ask("Go?", kind="deploy", key="k") == both[0]
        with pytest.raises(QuestionRefused, match="under the same key"):
            await ask("Another?", kind="deploy", key="k")
        other = await nodes["b"].net.decide("Go?", kind="deploy", key="k")
        assert other.id != both[0].id
        assert all(node.host.offers[0].asked == 2 for node in nodes.values())  # type: ignore[attr-defined]

    in_lab(tmp_path, scenario)


def test_who_cannot_vote_is_refused_by_name(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, dict.fromkeys("abc", yes))
        ask = nodes["a"].net.decide
        with pytest.raises(QuestionRefused, match="nobody is none of those"):
            await ask("Go?", voters=["a", "nobody"])
        with pytest.raises(QuestionRefused, match="b is none of those"):
            await ask("Go?", voters=["a"], may_veto=["b"])
        with pytest.raises(QuestionRefused, match="below one half"):
            await ask("Go?", threshold=(1, 3))
        with pytest.raises(QuestionRefused, match="question"):
            await ask("")

    in_lab(tmp_path, scenario)


def test_a_proposer_that_dies_leaves_its_question_to_the_leader(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, dict.fromkeys("abc"))
        proposer = a_follower(lab, nodes)
        rest = [node for node in nodes.values() if node is not proposer]
        asking = asyncio.create_task(proposer.net.decide("Go?", threshold=(1, 2), deadline=60))
        key = await opened(rest[0])
        await until(lambda: all(status_at(node, key) == "open" for node in rest))
        lab.crash(proposer)
        asking.cancel()
        for node in rest:
            await node.net.cast(key, "approve")
        await until(lambda: all(status_at(node, key) == "approved" for node in rest))

    in_lab(tmp_path, scenario)


def test_a_leader_that_dies_leaves_open_questions_to_the_next(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, dict.fromkeys("abc"))
        leader = lab.leader()
        assert leader is not None
        rest = [node for node in nodes.values() if node is not leader]
        ask = rest[0].net.decide("Go?", threshold=(1, 2), deadline=60)
        asking = asyncio.create_task(ask)
        key = await opened(rest[0])
        lab.crash(leader)
        await until(lambda: lab.leader() is not None and lab.leader() is not leader)
        for node in rest:
            await node.net.cast(key, "approve")
        assert (await asking).outcome == "approved"

    in_lab(tmp_path, scenario)


def test_a_voter_that_stops_after_storing_says_the_same_when_it_is_back(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, {"a": yes, "b": None, "c": yes})
        asking = asyncio.create_task(nodes["a"].net.decide("Go?", kind="deploy", deadline=60))
        key = await opened(nodes["b"])
        victim = nodes["b"]
        decision = victim.quorum.decisions.register.get(key)
        assert decision is not None
        identity = victim.keystore.identity
        ballot = Ballot.sign(identity, decision.proposal, Choice.APPROVE, "before the crash")
        await victim.__aexit__(None, None, None)
        # Stored, and not sent: the crash came between the two.
        network_id = victim.keystore.genesis.network_id
        box = SqliteBox(victim.home / "ballots.db", network_id, identity.public_key)
        box.store(ballot)
        box.close()
        again = Node(victim.keystore, lab.worlds["b"], [Voter(no)], local_door=False)
        async with again:
            done = await asking
            assert done.outcome == "approved"
            said = next(vote for vote in done.votes if vote["name"] == "b")
            assert (said["choice"], said["reason"]) == ("approve", "before the crash")
            assert again.host.offers[0].asked == 0  # type: ignore[attr-defined]

    in_lab(tmp_path, scenario)


def test_a_voter_that_contradicts_itself_is_shown_by_evidence(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, {"a": None, "b": yes, "c": None})
        asking = asyncio.create_task(nodes["a"].net.decide("Go?", kind="deploy", deadline=6))
        key = await opened(nodes["a"])
        decision = nodes["a"].quorum.decisions.register.get(key)
        assert decision is not None
        liar = nodes["b"]
        await until(lambda: liar.deciding.voting.ballot_on(key, 0))
        other = Ballot.sign(liar.keystore.identity, decision.proposal, Choice.REJECT, "no")
        # A node that was changed to send both; an honest one has no way to.
        liar.deciding._send_ballot(nodes["a"].peer.peer_id, other)
        registers = [node.quorum.decisions.register for node in nodes.values()]
        await until(lambda: all(register.evidence(key) for register in registers))
        (evidence,) = registers[0].evidence(key)
        Evidence.decode(evidence.encode()).check(SCHEME)
        assert evidence.voter == liar.keystore.identity.public_key
        done = await asking
        assert done.accused == (liar.peer.peer_id,)
        assert done.outcome != "approved"

    in_lab(tmp_path, scenario)


def test_the_electorate_stays_what_it_was_when_members_change(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, dict.fromkeys("abcd"))
        newcomer = next(
            n for n in nodes.values() if n.peer.peer_id not in n.quorum.electorate.voters
        )
        voters = [node for node in nodes.values() if node is not newcomer]
        asking = asyncio.create_task(newcomer.net.decide("Go?", deadline=60))
        key = await opened(voters[0])
        await voters[0].governing.add_voter(newcomer.peer.peer_id)
        with pytest.raises(VoteRefused, match="does not vote on it"):
            await newcomer.net.cast(key, "approve")
        for node in voters:
            await node.net.cast(key, "approve")
        done = await asking
        assert done.outcome == "approved"
        assert {voter["peer"] for voter in done.voters} == {n.peer.peer_id for n in voters}
        assert Proposal.decode(_raw(voters[0], key)).epoch < done.index
        later = asyncio.create_task(voters[0].net.decide("Again?", deadline=2))
        assert (await later).total == 4

    in_lab(tmp_path, scenario)


def _raw(node: Node, key: str) -> bytes:
    decision = node.quorum.decisions.register.get(key)
    assert decision is not None
    return decision.proposal.raw


def test_old_ballots_are_let_go_and_open_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deciding_service, "FORGET_BALLOTS_MS", 5_000)
    monkeypatch.setattr(deciding_service, "FORGET_EVERY_MS", 1_000)

    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, {"a": yes, "b": yes, "c": None})
        ask = nodes["a"].net.decide
        ended = await ask("Go?", kind="deploy", threshold=(1, 2), deadline=60)
        await until(lambda: status_at(nodes["a"], ended.id) == "approved")
        asking = asyncio.create_task(ask("And this?", kind="deploy", deadline=60))
        key = await opened(nodes["a"])
        voter = nodes["a"].deciding.voting
        await until(lambda: voter.ballot_on(key, 0))
        assert voter.ballot_on(ended.id, 0) is not None
        for number in range(8):  # ledger time goes on with what is decided
            await asyncio.sleep(1)
            await ask(f"Tick {number}?", kind="deploy", voters=["b"], deadline=5)
        await until(lambda: voter.ballot_on(ended.id, 0) is None)
        assert voter.ballot_on(key, 0) is not None
        assert (await nodes["a"].net.decision(ended.id)) == ended
        with pytest.raises(VoteRefused, match="it is over"):
            await nodes["a"].net.cast(ended.id, "reject")
        await nodes["c"].net.cast(key, "approve")
        assert (await asking).outcome == "approved"

    in_lab(tmp_path, scenario)


def test_a_client_votes_on_what_the_leader_has_open(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network(lab, {"a": None, "b": None, "c": None, "d": yes})
        client = nodes["d"]
        assert client.quorum.own_replica() is None
        done = await nodes["a"].net.decide("Go?", kind="deploy", voters=["d"])
        assert done.outcome == "approved"
        strange = Proposal.make(
            proposal_id="0" * 32,
            cluster_id=client.keystore.genesis.network_id,
            epoch=0,
            electors=verify(done.certificate or b"", SCHEME).proposal.electors,
            question="Never opened?",
            proposer=nodes["a"].peer.peer_id,
            deadline_ms=1000,
            kind="deploy",
        )
        ballot, why = await client.deciding._answer(nodes["a"].peer.peer_id, strange.raw)
        assert ballot is None
        assert "no decision" in (why or "")

    in_lab(tmp_path, scenario)
