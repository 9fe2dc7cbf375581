"""Judges, wishes, ballots of one node and certificates offline: the parts without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from agents.agent import Agent
from agents.deciding import (
    SCHEME,
    Candidate,
    Judges,
    Question,
    Voting,
    Wish,
    id_of_key,
    is_repeated,
    propose,
    votes,
)
from agents.deciding.checking import check_certificate
from agents.deciding.judging import MAX_REASON_BYTES, read_answer
from agents.errors import BadAgent, QuestionRefused, VoteRefused
from consensus import StorageBroken
from consensus.ballots import (
    Ballot,
    Choice,
    Collector,
    Decided,
    MemoryBox,
    Opened,
    Proposal,
    QuorumCertificate,
    to_json,
)
from consensus.ballots import BallotReceived as Received
from keys import Identity, NetworkId, PeerId

NETWORK = NetworkId("n" * 52)
ANN, BEN, CLEO = (Identity.from_secret(bytes([n]) * 32) for n in (1, 2, 3))
NAMES = {"ann": ANN, "ben": BEN, "cleo": CLEO}
CANDIDATES = {
    who.peer_id: Candidate(who.peer_id, who.public_key, name, may_vote=name != "cleo")
    for name, who in NAMES.items()
}
QUESTION = Question("0" * 32, "Go?", b"", "deploy", ANN.peer_id, "ann", (), may_veto=False)


def wish(**more: Any) -> Wish:
    plain = Wish("0" * 32, "Go?", b"it", "deploy", None, {}, (), (2, 3), 1000)
    return replace(plain, **more)


def proposal(**more: Any) -> Proposal:
    return propose(
        wish(**more),
        network_id=NETWORK,
        epoch=7,
        members=[who.peer_id for who in NAMES.values()],
        candidates=CANDIDATES,
        proposer=ANN.peer_id,
    )


# -- wishes ----------------------------------------------------------------------------------------


def test_a_wish_survives_the_wire_and_nothing_else_is_one() -> None:
    full = wish(voters=("ann", "ben"), weights={"ann": 2}, guardians=("ben",))
    assert Wish.from_wire(full.to_wire()) == full
    assert Wish.from_wire(wish().to_wire()) == wish()
    for place, other in [(0, 1), (1, b""), (2, ""), (3, None), (4, "ann"), (5, {"a": True})]:
        raw = wish().to_wire()
        raw[place] = other
        assert Wish.from_wire(raw) is None, place
    for place, other in [(5, {1: 1}), (6, None), (7, 1.0), (9, True)]:
        raw = wish().to_wire()
        raw[place] = other
        assert Wish.from_wire(raw) is None, place
    assert Wish.from_wire([]) is None


def test_the_electorate_is_the_members_dead_or_alive_with_their_epoch() -> None:
    made = proposal()
    assert {each.name for each in made.electors} == set(NAMES)
    assert (made.epoch, made.cluster_id, made.quorum_weight) == (7, NETWORK, 3)
    assert not any(each.may_veto for each in made.electors)


def test_named_voters_weights_and_guardians_are_found_by_name_or_id() -> None:
    made = proposal(
        voters=("ann", BEN.peer_id, "ann"), weights={"ben": 4}, guardians=(ANN.peer_id,)
    )
    assert {(e.name, e.weight, e.may_veto) for e in made.electors} == {
        ("ann", 1, True),
        ("ben", 4, False),
    }


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"voters": ("dan",)}, "dan is none"),
        ({"voters": ("cleo",)}, "cleo may not decide"),
        ({"voters": ()}, "0, and 1 to 128"),
        ({"weights": {"dan": 2}}, "dan is none"),
        ({"weights": {"ann": 0}}, "weight of"),
        ({"voters": ("ann",), "guardians": ("ben",)}, "ben is none"),
        ({"threshold": (1, 3)}, "one half"),
        ({"question": ""}, "question"),
        ({"deadline_ms": 0}, "deadline_ms"),
    ],
)
def test_what_cannot_be_put_to_a_vote_says_why(more: dict[str, Any], why: str) -> None:
    with pytest.raises(QuestionRefused, match=why):
        proposal(**more)


def test_a_member_whose_key_nobody_knows_is_not_left_out_silently() -> None:
    known = {peer_id: c for peer_id, c in CANDIDATES.items() if c.name != "cleo"}
    with pytest.raises(QuestionRefused, match="its key is not known"):
        propose(
            wish(),
            network_id=NETWORK,
            epoch=7,
            members=[who.peer_id for who in NAMES.values()],
            candidates=known,
            proposer=ANN.peer_id,
        )


def test_a_key_names_one_decision_of_one_proposer_in_one_network() -> None:
    ids = {
        id_of_key(network, who, key)
        for network in (NETWORK, "m" * 52)
        for who in (ANN.peer_id, BEN.peer_id)
        for key in ("k", "l")
    }
    assert len(ids) == 8
    made = proposal()
    assert is_repeated(wish(), made, ANN.peer_id)
    assert not is_repeated(wish(), made, BEN.peer_id)
    assert not is_repeated(wish(subject=b"other"), made, ANN.peer_id)


# -- judges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (True, (Choice.APPROVE, "")),
        (False, (Choice.REJECT, "")),
        (None, (Choice.ABSTAIN, "")),
        (Choice.REJECT, (Choice.REJECT, "")),
        ((True, "good"), (Choice.APPROVE, "good")),
        (1, (Choice.ABSTAIN, "the judge returned int, which is no choice")),
        ("yes", (Choice.ABSTAIN, "the judge returned str, which is no choice")),
        (Choice.VETO, (Choice.REJECT, "a veto without the right to one")),
    ],
)
def test_what_a_judge_returns_is_a_choice_or_an_abstention(said: Any, expected: Any) -> None:
    assert read_answer(said, QUESTION) == expected


def test_a_veto_of_a_guardian_is_one_and_a_long_reason_is_cut_between_characters() -> None:
    guarding = replace(QUESTION, may_veto=True)
    assert read_answer(Choice.VETO, guarding)[0] is Choice.VETO
    _, reason = read_answer((True, "é" * MAX_REASON_BYTES), QUESTION)
    assert len(reason.encode()) == MAX_REASON_BYTES
    assert read_answer((True, "\ud800"), QUESTION) == (Choice.APPROVE, "?")


class Reviewer(Agent):
    @votes("deploy")
    @votes("release")
    async def judge(self, ctx: Any, question: Question) -> bool:
        return question.subject == b"good"

    @votes()
    def other(self, ctx: Any, question: Question) -> bool:
        raise LookupError(ctx)


def test_methods_and_functions_judge_by_kind_and_one_takes_the_rest() -> None:
    agent = Reviewer("reviewer")

    @agent.votes("lunch")
    def lunch(ctx: Any, question: Question) -> tuple[bool, str]:
        return True, "hungry"

    judges = Judges([agent])

    def said(kind: str, subject: bytes = b"") -> tuple[Choice, str]:
        question = replace(QUESTION, kind=kind, subject=subject)
        return asyncio.run(judges.judge("context", question))

    assert said("deploy", b"good") == (Choice.APPROVE, "")
    assert said("release", b"bad") == (Choice.REJECT, "")
    assert said("lunch") == (Choice.APPROVE, "hungry")
    assert said("else") == (Choice.ABSTAIN, "LookupError: context")
    assert judges.agent_for("anything") == "reviewer"
    assert Judges([Agent("plain")]).agent_for("deploy") is None


def test_a_node_has_one_judge_for_a_kind() -> None:
    agent = Reviewer("one")
    with pytest.raises(BadAgent, match="two judges of questions of kind 'deploy'"):
        agent.votes("deploy")
    with pytest.raises(BadAgent, match="a node has one ballot"):
        Judges([agent, Reviewer("two")])

    class Twice(Reviewer):
        @votes("deploy")
        def again(self, ctx: Any, question: Question) -> bool:
            return True

    with pytest.raises(BadAgent, match="Twice has two judges"):
        Twice("twice")


# -- one node's ballots ----------------------------------------------------------------------------


class Desk:
    """A `Voting` of ben, and what it sent."""

    def __init__(self, box: MemoryBox | None = None, *, judged: bool = False) -> None:
        self.box = box or MemoryBox(NETWORK, BEN.public_key)
        self.sent: list[tuple[str, Ballot]] = []
        self.fatal: list[Exception] = []
        self.judgement: Callable[[], tuple[Choice, str]] = lambda: (Choice.APPROVE, "")
        self.voting = Voting(
            BEN,
            NETWORK,
            lambda: self.box,
            self._judge,
            lambda kind: judged,
            self._send,
            self.fatal.append,
        )

    async def _judge(self, proposal: Proposal) -> tuple[Choice, str]:
        return self.judgement()

    def _send(self, to: str, ballot: Ballot) -> None:
        assert self.box.find(ballot.proposal_id, ballot.round) == ballot, "sent before stored"
        self.sent.append((to, ballot))


def test_a_judged_ballot_is_stored_and_then_sent_to_all_who_asked() -> None:
    async def main() -> None:
        desk, raw = Desk(judged=True), proposal().raw
        assert desk.voting.asked("p", raw, raw) == (None, "")
        assert desk.voting.asked("q", raw, raw) == (None, "")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [to for to, _ in desk.sent] == ["p", "q"]
        ballot, why = desk.voting.asked("r", raw, raw)
        assert (ballot, why) == (desk.sent[0][1], "")
        await desk.voting.close()

    asyncio.run(main())


def test_after_a_restart_the_same_question_gets_the_same_bytes() -> None:
    async def main() -> None:
        desk, raw = Desk(), proposal().raw
        ballot = desk.voting.cast(raw, Choice.REJECT, "no")
        again = Desk(desk.box, judged=True)
        assert again.voting.asked("p", raw, raw) == (ballot, "")
        with pytest.raises(VoteRefused, match="and otherwise"):
            again.voting.cast(raw, Choice.APPROVE, "")

    asyncio.run(main())


def test_a_box_that_cannot_be_written_stops_the_node_and_nothing_is_sent() -> None:
    class Broken(MemoryBox):
        def store(self, ballot: Ballot) -> None:
            raise StorageBroken("ballots.db", "no space")

    async def main() -> None:
        desk, raw = Desk(Broken(NETWORK, BEN.public_key), judged=True), proposal().raw
        desk.voting.asked("p", raw, raw)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert desk.sent == []
        assert isinstance(desk.fatal[0], StorageBroken)
        other = proposal(proposal_id="1" * 32).raw
        with pytest.raises(VoteRefused, match="cannot be written"):
            desk.voting.cast(other, Choice.APPROVE, "")
        await desk.voting.close()

    asyncio.run(main())


def test_a_text_that_the_log_did_not_open_gets_no_ballot() -> None:
    async def main() -> None:
        desk = Desk(judged=True)
        opened, other = proposal().raw, proposal(subject=b"something else").raw
        ballot, why = desk.voting.asked(ANN.peer_id, other, opened)
        assert ballot is None
        assert why.startswith("another text under an id")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        stored = desk.box.find("0" * 32, 0)
        assert stored is not None
        assert stored.proposal_digest == Proposal.decode(opened).digest
        await desk.voting.close()

    asyncio.run(main())


def test_who_is_no_elector_does_not_vote() -> None:
    async def main() -> None:
        desk, raw = Desk(judged=True), proposal(voters=("ann",)).raw
        ballot, why = desk.voting.asked("p", raw, raw)
        assert (ballot, why) == (None, "this node does not vote on it")
        with pytest.raises(VoteRefused, match="does not vote on it"):
            desk.voting.cast(raw, Choice.APPROVE, "")

    asyncio.run(main())


def test_what_the_log_has_ended_is_not_judged_any_more() -> None:
    async def main() -> None:
        desk, raw = Desk(judged=True), proposal().raw
        desk.voting.asked("p", raw, raw)
        desk.voting.closed("0" * 32)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert desk.sent == []
        assert desk.box.find("0" * 32, 0) is None

    asyncio.run(main())


# -- certificates offline --------------------------------------------------------------------------


def certificate() -> QuorumCertificate:
    made = proposal()
    collector = Collector(SCHEME)
    effects = collector.step(Opened(made), now_ms=0)
    for who in NAMES.values():
        ballot = Ballot.sign(who, made, Choice.APPROVE)
        effects += collector.step(Received(who.peer_id, ballot.raw), now_ms=1)
    (found,) = (each.certificate for each in effects if isinstance(each, Decided))
    assert found is not None
    return found


ROSTER: tuple[PeerId, ...] = tuple(who.peer_id for who in NAMES.values())


def test_a_certificate_is_checked_against_a_roster_or_says_that_it_was_not() -> None:
    for data in (certificate().to_bytes(), to_json(certificate()).encode()):
        lines, holds = check_certificate(data)
        assert holds
        assert any("NOT CHECKED" in line for line in lines)
        lines, holds = check_certificate(data, NETWORK, ROSTER)
        assert (holds, lines[0]) == (True, "VALID: approved")
        assert not any("NOT CHECKED" in line for line in lines)


def test_a_certificate_of_other_voters_or_another_network_is_none_of_the_roster() -> None:
    data = certificate().to_bytes()
    lines, holds = check_certificate(data, NETWORK, ROSTER[:2])
    assert not holds
    assert lines[1] == f"  not in the roster: {ROSTER[2]}"
    lines, holds = check_certificate(data, NetworkId("m" * 52), ROSTER)
    assert (holds, lines[0][:27]) == (False, "INVALID: of another network")


def test_every_changed_byte_makes_a_certificate_invalid() -> None:
    data = certificate().to_bytes()
    for place in range(0, len(data), 7):
        changed = bytearray(data)
        changed[place] ^= 1
        lines, holds = check_certificate(bytes(changed), NETWORK, ROSTER)
        assert not holds, place
        assert lines[0].startswith("INVALID"), place
