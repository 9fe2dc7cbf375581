"""The proposer's side, alone and together with voters that crash and a network that loses."""

from __future__ import annotations

import random

import pytest
from ballots_lab import CLUSTER, SCHEME, identity, proposal

from consensus.ballots.ballot import Ballot, Choice
from consensus.ballots.box import MemoryBox
from consensus.ballots.collector import (
    ApprovalImpossible,
    AskVoter,
    BallotReceived,
    Collector,
    Decided,
    EvidenceFound,
    ExpiryDecided,
    ExpiryDue,
    Opened,
    Refused,
    Tick,
)
from consensus.ballots.errors import BallotFault
from consensus.ballots.proposal import Proposal
from consensus.ballots.tally import Status
from consensus.ballots.verify import verify
from consensus.ballots.voter import (
    ChoiceMade,
    EpochBegan,
    ProposalReceived,
    SendBallot,
    StoreBallot,
    Voter,
)

ON = proposal(4, deadline_ms=5_000)


def ballot(voter: int, choice: Choice = Choice.APPROVE, on: Proposal = ON) -> BallotReceived:
    return BallotReceived(identity(voter).peer_id, Ballot.sign(identity(voter), on, choice).raw)


def begun() -> Collector:
    collector = Collector(SCHEME, ask_again_ms=1_000)
    collector.step(Opened(ON), now_ms=100)
    return collector


def asked(collector: Collector, now_ms: int) -> set[str]:
    effects = collector.step(Tick(), now_ms=now_ms)
    return {each.peer_id for each in effects if isinstance(each, AskVoter)}


def test_every_voter_is_asked_at_once_and_again_until_it_answers() -> None:
    collector = Collector(SCHEME, ask_again_ms=1_000)
    assert collector.deadline_ms is None
    effects = collector.step(Opened(ON), now_ms=100)
    assert effects == [AskVoter(each.peer_id, ON.raw) for each in ON.electors]
    assert collector.step(Opened(ON), now_ms=101) == []
    assert collector.deadline_ms == 1_100
    assert asked(collector, 1_099) == set()
    assert collector.step(ballot(2), now_ms=1_099) == []
    assert asked(collector, 1_100) == {identity(voter).peer_id for voter in (0, 1, 3)}
    assert asked(collector, 1_101) == set()
    assert collector.deadline_ms == 2_100


def test_a_decision_is_given_once_and_its_certificate_verifies() -> None:
    collector = begun()
    effects = [each for voter in range(4) for each in collector.step(ballot(voter), now_ms=200)]
    (decided,) = effects
    assert isinstance(decided, Decided)
    assert decided.status is collector.status is Status.APPROVED
    assert decided.certificate is not None
    verify(decided.certificate.to_bytes(), SCHEME, ON.electors)
    assert collector.deadline_ms is None
    assert collector.step(Tick(), now_ms=99_999) == []
    assert collector.step(ExpiryDecided(ON.proposal_id), now_ms=99_999) == []


def test_v7_the_local_deadline_decides_nothing() -> None:
    collector = begun()
    assert ExpiryDue(ON.proposal_id) not in collector.step(Tick(), now_ms=5_099)
    assert ExpiryDue(ON.proposal_id) in collector.step(Tick(), now_ms=5_100)
    assert ExpiryDue(ON.proposal_id) not in collector.step(Tick(), now_ms=5_101)
    assert ExpiryDue(ON.proposal_id) in collector.step(Tick(), now_ms=6_100)
    assert collector.status is Status.OPEN
    collector.step(ballot(0), now_ms=6_200)
    collector.step(ballot(1), now_ms=6_200)
    (decided,) = collector.step(ballot(2), now_ms=6_200)
    assert isinstance(decided, Decided)
    assert decided.status is Status.APPROVED


def test_v7_an_expiry_that_the_log_decided_ends_it() -> None:
    collector = begun()
    assert collector.step(ExpiryDecided("f" * 32), now_ms=200) == []
    assert collector.step(ExpiryDecided(ON.proposal_id), now_ms=200) == [
        Decided(Status.EXPIRED, None)
    ]
    for voter in range(4):
        assert collector.step(ballot(voter), now_ms=300) == []
    assert collector.status is Status.EXPIRED


def test_v4_evidence_is_given_once_before_and_after_the_decision() -> None:
    collector = begun()
    collector.step(ballot(0), now_ms=200)
    (found,) = collector.step(ballot(0, Choice.REJECT), now_ms=200)
    assert isinstance(found, EvidenceFound)
    found.evidence.check(SCHEME)
    assert collector.step(ballot(0, Choice.ABSTAIN), now_ms=200) == []
    for voter in (1, 2, 3):
        collector.step(ballot(voter), now_ms=200)
    assert collector.status is Status.APPROVED
    (late,) = collector.step(ballot(1, Choice.REJECT), now_ms=200)
    assert isinstance(late, EvidenceFound)
    assert collector.status is Status.APPROVED


def test_v4_a_voter_that_signed_two_texts_is_shown() -> None:
    collector = begun()
    collector.step(ballot(1), now_ms=200)
    other = proposal(4, question="Another text?")
    found, refused = collector.step(ballot(1, on=other), now_ms=200)
    assert isinstance(found, EvidenceFound)
    assert refused == Refused(identity(1).peer_id, BallotFault.OTHER_TEXT)
    assert collector.step(ballot(1, on=other), now_ms=200) == [refused]
    assert collector.step(ballot(1, Choice.REJECT), now_ms=200) == []  # shown once
    assert collector.step(ballot(2, on=other), now_ms=200) == [
        Refused(identity(2).peer_id, BallotFault.OTHER_TEXT)
    ]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"nonsense", BallotFault.MALFORMED),
        (ballot(1, on=proposal(4, number=9)).data, BallotFault.OTHER_PROPOSAL),
        (ballot(1, on=proposal(4, round=2, deadline_ms=5_000)).data, BallotFault.OTHER_ROUND),
        (ballot(4, on=proposal(5)).data, BallotFault.OTHER_ELECTORATE),
        (ballot(1).data[:-1] + bytes([ballot(1).data[-1] ^ 1]), BallotFault.SIGNATURE),
    ],
)
def test_what_does_not_count_is_refused_and_counted(data: bytes, fault: BallotFault) -> None:
    collector = begun()
    for times in range(1, 4):
        effects = collector.step(BallotReceived("peer", data), now_ms=200)
        assert effects == [Refused("peer", fault)]
        assert collector.refusals == {fault: times}
    assert Collector(SCHEME).step(BallotReceived("peer", data), now_ms=0) == [
        Refused("peer", BallotFault.OTHER_PROPOSAL)
    ]


def test_a_forged_ballot_accuses_nobody() -> None:
    collector = begun()
    collector.step(ballot(1), now_ms=200)
    forged = bytearray(ballot(1, Choice.REJECT).data)
    forged[-1] ^= 1
    effects = collector.step(BallotReceived("peer", bytes(forged)), now_ms=200)
    assert effects == [Refused("peer", BallotFault.SIGNATURE)]


def test_an_approval_that_became_impossible_is_said_once_and_decides_nothing() -> None:
    collector = begun()
    assert collector.step(ballot(0, Choice.REJECT), now_ms=200) == []
    assert collector.can_pass
    impossible = ApprovalImpossible(ON.proposal_id)
    assert collector.step(ballot(1, Choice.ABSTAIN), now_ms=200) == [impossible]
    assert not collector.can_pass
    blocking = collector.blocking()
    assert blocking is not None
    blocking.check(ON, SCHEME)
    assert collector.step(ballot(1, Choice.ABSTAIN), now_ms=200) == []
    assert collector.step(ballot(2), now_ms=200) == []
    assert collector.status is Status.OPEN
    assert ExpiryDue(ON.proposal_id) in collector.step(Tick(), now_ms=5_100)
    (decided,) = collector.step(ballot(3, Choice.REJECT), now_ms=5_200)
    assert isinstance(decided, Decided)
    assert decided.status is Status.REJECTED
    assert collector.blocking() is None
    other = begun()
    for voter in (0, 1):
        other.step(ballot(voter, Choice.REJECT), now_ms=200)
    (ended,) = other.step(ExpiryDecided(ON.proposal_id), now_ms=5_200)
    assert ended == Decided(Status.EXPIRED, None)


@pytest.mark.parametrize("seed", range(20))
def test_voters_that_crash_and_messages_that_get_lost_end_in_a_decision(seed: int) -> None:
    """Seven voters, a third of all messages lost, kills between any two effects."""
    draw = random.Random(seed)
    on = proposal(7, deadline_ms=3_000)
    boxes = [MemoryBox(CLUSTER, identity(i).public_key) for i in range(7)]
    votes = [draw.choice([Choice.APPROVE, Choice.APPROVE, Choice.REJECT]) for _ in range(7)]
    voters = {identity(i).peer_id: i for i in range(7)}
    running = {}

    def start(number: int) -> None:
        running[number] = Voter(identity(number), CLUSTER, boxes[number].ballots())
        running[number].step(EpochBegan(7, on.electors))

    for number in range(7):
        start(number)
    collector = Collector(SCHEME, ask_again_ms=10)
    effects = collector.step(Opened(on), now_ms=0)
    end: Decided | None = None
    now_ms = 0
    while end is None:
        assert now_ms < 5_000, f"seed {seed}: nothing was decided"
        arrived = []
        for each in effects:
            if isinstance(each, Decided):
                end = each
            if not isinstance(each, AskVoter) or draw.random() < 0.33:
                continue
            number = voters[each.peer_id]
            me = running[number]
            outcome = me.step(ProposalReceived(on.proposer, each.proposal))
            outcome += me.step(ChoiceMade(on.proposal_id, on.round, votes[number]))
            for effect in outcome:
                if draw.random() < 0.2:
                    start(number)
                    break
                if isinstance(effect, StoreBallot):
                    boxes[number].store(effect.ballot)
                elif isinstance(effect, SendBallot) and draw.random() > 0.33:
                    arrived.append(BallotReceived(each.peer_id, effect.ballot.raw))
        draw.shuffle(arrived)
        effects = [made for event in arrived for made in collector.step(event, now_ms=now_ms)]
        assert not any(isinstance(each, EvidenceFound) for each in effects)
        now_ms += 10
        effects += collector.step(Tick(), now_ms=now_ms)
        if ExpiryDue(on.proposal_id) in effects:
            assert not collector.can_pass
            effects += collector.step(ExpiryDecided(on.proposal_id), now_ms=now_ms)
    yes = votes.count(Choice.APPROVE)
    assert (end.status is Status.EXPIRED) == (yes in {3, 4}), f"seed {seed}"
    if end.status is Status.EXPIRED:
        assert end.certificate is None
        return
    expected = Status.APPROVED if yes >= 5 else Status.REJECTED
    assert end.status is expected, f"seed {seed}"
    assert end.certificate is not None
    assert verify(end.certificate.to_bytes(), SCHEME, on.electors).outcome is expected
