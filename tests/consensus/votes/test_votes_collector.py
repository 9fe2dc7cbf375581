"""The proposer's side: who is asked when, what is counted, how a vote ends."""

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st
from votes_lab import cast, check, electorate, people, proposal, signed

from consensus.votes.ballot import Choice
from consensus.votes.certificate import Outcome
from consensus.votes.collector import (
    AskExpiry,
    AskVoter,
    BallotReceived,
    CannotPass,
    Collector,
    Decided,
    Effect,
    EvidenceFound,
    Expired,
    Opened,
    Refused,
    Tick,
)
from consensus.votes.errors import BallotFault
from consensus.votes.question import Proposal
from consensus.votes.tally import ExpiryDecided
from consensus.votes.verify import verify

YES, NO, PASS = Choice.APPROVE, Choice.REJECT, Choice.ABSTAIN
IDS = [one.peer_id for one in people(4)]


def opened(asked: Proposal) -> Collector:
    collector = Collector(signed(asked), check, ask_again_ms=1000)
    assert collector.deadline_ms is None
    effects = collector.step(Opened(), now_ms=0)
    data = signed(asked).to_bytes()
    assert effects == [AskVoter(voter.peer_id, data) for voter in asked.electorate.voters]
    return collector


def given_ballot(
    collector: Collector, number: int, choice: Choice = YES, reason: str = ""
) -> list[Effect]:
    ballot = cast(collector.tally.proposal, number, choice, reason)
    return collector.step(BallotReceived(ballot.voter, ballot.to_bytes()), now_ms=10)


def asked_again(effects: list[Effect]) -> list[str]:
    return [effect.voter for effect in effects if isinstance(effect, AskVoter)]


def test_a_vote_is_asked_counted_and_decided_once() -> None:
    asked = proposal()
    collector = opened(asked)
    assert given_ballot(collector, 0) == []
    assert given_ballot(collector, 1) == []
    (decided,) = given_ballot(collector, 2)
    assert isinstance(decided, Decided)
    verified = verify(decided.certificate.to_bytes(), asked.electorate, check)
    assert verified.outcome is Outcome.APPROVED
    assert given_ballot(collector, 3) == []
    assert collector.deadline_ms is None
    assert collector.step(Tick(), now_ms=10**9) == []


def test_who_is_silent_is_asked_again_and_nobody_else() -> None:
    collector = opened(proposal())
    given_ballot(collector, 1)
    assert collector.deadline_ms == 1000
    assert collector.step(Tick(), now_ms=999) == []
    assert asked_again(collector.step(Tick(), now_ms=1000)) == [IDS[0], IDS[2], IDS[3]]
    assert collector.deadline_ms == 2000
    given_ballot(collector, 3)
    assert asked_again(collector.step(Tick(), now_ms=5000)) == [IDS[0], IDS[2]]
    assert collector.deadline_ms == 6000


def test_v7_a_deadline_that_has_passed_only_asks_for_an_expiry() -> None:
    asked = proposal(deadline_ms=2500)
    collector = opened(asked)
    collector.step(Tick(), now_ms=2000)
    assert collector.deadline_ms == 2500
    assert collector.step(Tick(), now_ms=2500) == [AskExpiry(asked.slot)]
    effects = collector.step(Tick(), now_ms=3500)
    assert effects[0] == AskExpiry(asked.slot)
    assert len(asked_again(effects)) == 4
    for number in range(3):
        effects = given_ballot(collector, number)
    assert isinstance(effects[0], Decided)


def test_v7_a_decided_expiry_ends_the_vote() -> None:
    asked = proposal()
    collector = opened(asked)
    given_ballot(collector, 0)
    given_ballot(collector, 1)
    event = ExpiryDecided(asked.slot, 17)
    assert collector.step(event, now_ms=20) == [Expired(event)]
    assert collector.step(event, now_ms=20) == []
    assert given_ballot(collector, 2) == []
    assert collector.deadline_ms is None


def test_v7_a_decided_expiry_comes_too_late_for_a_certificate() -> None:
    asked = proposal()
    collector = opened(asked)
    for number in range(3):
        given_ballot(collector, number)
    assert collector.step(ExpiryDecided(asked.slot, 17), now_ms=20) == []


def test_when_nothing_can_be_approved_any_more_the_proposer_learns_it_once() -> None:
    asked = proposal()
    collector = opened(asked)
    assert given_ballot(collector, 0, NO) == []
    assert given_ballot(collector, 1, PASS) == [CannotPass(asked.slot)]
    (decided,) = given_ballot(collector, 2, NO)
    assert isinstance(decided, Decided)
    assert decided.certificate.outcome is Outcome.REJECTED


def test_v4_a_second_ballot_is_evidence_once() -> None:
    asked = proposal()
    collector = opened(asked)
    given_ballot(collector, 0, YES)
    (found,) = given_ballot(collector, 0, NO)
    assert isinstance(found, EvidenceFound)
    found.evidence.verify(asked.electorate, check)
    assert given_ballot(collector, 0, PASS) == []
    assert given_ballot(collector, 1, NO) == [CannotPass(asked.slot)]
    assert [type(effect) for effect in given_ballot(collector, 1, YES)] == [EvidenceFound]


def test_v4_evidence_is_found_after_the_end_too() -> None:
    collector = opened(proposal())
    for number in range(3):
        given_ballot(collector, number)
    (found,) = given_ballot(collector, 0, NO)
    assert isinstance(found, EvidenceFound)


def test_a_ballot_counts_whoever_brings_it() -> None:
    asked = proposal()
    collector = opened(asked)
    for number in range(3):
        effects = collector.step(
            BallotReceived("a relay", cast(asked, number).to_bytes()), now_ms=1
        )
    assert isinstance(effects[0], Decided)


def test_what_is_no_ballot_of_this_vote_is_refused_with_its_sender_and_its_fault() -> None:
    asked = proposal()
    collector = opened(asked)
    yes = cast(asked, 0)
    forged = dataclasses.replace(yes, choice=NO)
    other_slot = cast(proposal(round_number=1), 0)
    other_question = cast(proposal(question="Another?"), 1)
    for data, voter, fault in (
        (b"junk", None, BallotFault.MALFORMED),
        (forged.to_bytes(), yes.voter, BallotFault.SIGNATURE),
        (other_slot.to_bytes(), yes.voter, BallotFault.ROUND),
        (other_question.to_bytes(), IDS[1], BallotFault.DIGEST),
    ):
        (refused,) = collector.step(BallotReceived("sender", data), now_ms=1)
        assert isinstance(refused, Refused)
        assert (refused.sender, refused.voter, refused.fault) == ("sender", voter, fault)
    assert collector.tally.weights.approve == 0
    assert given_ballot(collector, 0) == []
    assert collector.tally.weights.approve == 1


def test_a_ballot_that_changes_nothing_costs_no_signature_check() -> None:
    checks: list[bytes] = []

    def counting(key: bytes, domain: str, body: bytes, signature: bytes) -> bool:
        checks.append(key)
        return check(key, domain, body, signature)

    asked = proposal()
    collector = Collector(signed(asked), counting, ask_again_ms=1000)
    for choice in (YES, YES, NO, PASS, YES, NO):
        given_ballot(collector, 0, choice)
    assert len(checks) == 2


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=5), st.permutations(range(4)))
def test_junk_between_ballots_changes_nothing(junk: list[bytes], order: list[int]) -> None:
    collector = opened(proposal(electorate(4)))
    ends: list[Effect] = []
    for number in order:
        for data in junk:
            (refused,) = collector.step(BallotReceived("x", b"CVS1" + data), now_ms=1)
            assert isinstance(refused, Refused)
        ends += given_ballot(collector, number)
    assert [type(effect) for effect in ends] == [Decided]
