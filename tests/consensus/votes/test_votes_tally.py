"""V1, V2, V4, V7: what is counted, once each, and what ends a vote."""

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from votes_lab import cast, check, electorate, people, proposal

from consensus.votes.ballot import CheckedBallot, Choice, check_ballot
from consensus.votes.certificate import Outcome
from consensus.votes.electorate import Threshold, quorum
from consensus.votes.errors import Undecided
from consensus.votes.question import Proposal, Slot
from consensus.votes.tally import Added, ExpiryDecided, Status, Tally
from consensus.votes.verify import verify

YES, NO, PASS, VETO = Choice.APPROVE, Choice.REJECT, Choice.ABSTAIN, Choice.VETO


def counted(asked: Proposal, choices: Iterable[Choice]) -> Tally:
    tally = Tally(asked)
    for number, choice in enumerate(choices):
        assert tally.add(cast(asked, number, choice)) is Added.COUNTED
    tally.check_invariants()
    return tally


@pytest.mark.parametrize("n", range(1, 10))
@pytest.mark.parametrize(("choice", "status"), [(YES, Status.APPROVED), (NO, Status.REJECTED)])
def test_v1_exactly_a_quorum_decides(n: int, choice: Choice, status: Status) -> None:
    asked = proposal(n)
    assert asked.quorum_weight == quorum(n)
    assert counted(asked, [choice] * (quorum(n) - 1)).status is Status.OPEN
    assert counted(asked, [choice] * quorum(n)).status is status


def test_v1_weights_and_other_thresholds_decide_by_the_same_rule() -> None:
    heavy = proposal(electorate(4, weights=[1, 1, 1, 6]))
    assert counted(heavy, [YES, YES, YES]).status is Status.OPEN
    tally = counted(heavy, [YES, YES, YES])
    tally.add(cast(heavy, 3, NO))
    assert tally.status is Status.OPEN
    assert not tally.can_be_approved
    half = proposal(4, threshold=Threshold(1, 2))
    assert counted(half, [YES, YES]).status is Status.OPEN
    assert counted(half, [YES, YES, YES]).status is Status.APPROVED
    nearly_all = proposal(4, threshold=Threshold(3, 4))
    assert counted(nearly_all, [YES] * 3).status is Status.OPEN
    assert counted(nearly_all, [YES] * 4).status is Status.APPROVED


def test_v2_who_abstains_or_says_nothing_has_not_said_yes() -> None:
    assert counted(proposal(4), [YES, YES, PASS]).status is Status.OPEN
    assert counted(proposal(4), [YES, YES]).status is Status.OPEN
    tally = counted(proposal(4), [YES, YES, PASS])
    assert tally.weights.total == 4
    assert tally.waiting_for == (people(4)[3].peer_id,)


def test_v2_a_ballot_that_comes_again_counts_once() -> None:
    asked = proposal(4)
    tally = counted(asked, [YES, YES])
    for _ in range(3):
        assert tally.add(cast(asked, 0)) is Added.REPEATED
    assert tally.weights.approve == 2
    assert tally.status is Status.OPEN


def test_rejecting_and_abstaining_together_reject() -> None:
    assert counted(proposal(4), [NO, PASS]).status is Status.OPEN
    assert counted(proposal(4), [NO, PASS, PASS]).status is Status.REJECTED


def test_a_vote_that_cannot_pass_any_more_is_no_rejection_yet() -> None:
    tally = counted(proposal(4), [NO, NO])
    assert not tally.can_be_approved
    assert tally.status is Status.OPEN
    assert counted(proposal(4), [NO]).can_be_approved


def test_v8_one_liar_of_four_cannot_make_both_outcomes() -> None:
    """Why two refusals of four are no certified rejection: the third voter here says both."""
    asked = proposal(4)
    approving = counted(asked, [YES, YES, YES])
    refusing = Tally(asked)
    refusing.add(cast(asked, 3, NO))
    refusing.add(cast(asked, 2, NO))
    assert approving.status is Status.APPROVED
    assert not refusing.can_be_approved
    assert refusing.status is Status.OPEN


def test_a_veto_ends_the_vote_at_once() -> None:
    asked = proposal(electorate(4, vetoers=[0]))
    assert counted(asked, [VETO]).status is Status.VETOED


def test_nothing_is_approved_before_every_voter_with_a_veto_is_heard() -> None:
    asked = proposal(electorate(4, vetoers=[3]))
    tally = counted(asked, [YES, YES, YES])
    assert tally.status is Status.OPEN
    tally.add(cast(asked, 3, PASS))
    assert tally.status is Status.APPROVED
    assert verify(tally.certificate().to_bytes(), asked.electorate, check).weights.abstain == 1


def test_v4_two_ballots_of_one_voter_are_evidence_and_neither_counts() -> None:
    asked = proposal(4)
    tally = counted(asked, [YES, YES])
    assert tally.add(cast(asked, 1, NO)) is Added.EQUIVOCATION
    assert tally.weights.approve == 1
    (evidence,) = tally.evidence
    evidence.verify(asked.electorate, check)
    assert evidence.voter == people(4)[1].peer_id
    assert tally.add(cast(asked, 1, PASS)) is Added.OUT
    assert tally.add(cast(asked, 1, YES)) is Added.OUT
    tally.add(cast(asked, 2))
    tally.add(cast(asked, 3))
    assert tally.status is Status.APPROVED
    tally.check_invariants()


def test_v4_another_reason_is_another_ballot() -> None:
    asked = proposal(4)
    tally = counted(asked, [YES])
    assert tally.add(cast(asked, 0, YES, "for a reason")) is Added.EQUIVOCATION


def test_v4_a_ballot_about_another_question_in_the_slot_counts_nothing_and_is_remembered() -> None:
    asked, other = proposal(4), proposal(4, question="Shall we not?")
    tally = counted(asked, [YES])
    assert tally.add(cast(other, 1)) is Added.STRAY
    assert tally.weights.approve == 1
    assert tally.add(cast(asked, 1)) is Added.EQUIVOCATION
    tally.evidence[0].verify(asked.electorate, check)
    assert tally.weights.approve == 1


def test_v4_a_vetoer_that_signed_two_ballots_can_approve_nothing() -> None:
    asked = proposal(electorate(4, vetoers=[3]))
    tally = counted(asked, [YES])
    tally.add(cast(asked, 3, YES))
    assert tally.can_be_approved
    tally.add(cast(asked, 3, VETO))
    assert not tally.can_be_approved
    tally.add(cast(asked, 1))
    tally.add(cast(asked, 2))
    assert tally.status is Status.OPEN


def test_v4_a_decision_stays_when_evidence_comes_later() -> None:
    asked = proposal(4)
    tally = counted(asked, [YES, YES, YES])
    certificate = tally.certificate()
    assert tally.add(cast(asked, 2, NO)) is Added.EQUIVOCATION
    assert tally.add(cast(asked, 3, NO)) is Added.LATE
    assert tally.add(cast(asked, 3, YES)) is Added.EQUIVOCATION
    assert tally.status is Status.APPROVED
    assert tally.certificate() == certificate
    assert len(tally.evidence) == 2
    tally.check_invariants()


def test_v7_only_a_decided_event_lets_a_vote_expire() -> None:
    asked = proposal(4, deadline_ms=0)
    tally = counted(asked, [YES, YES])
    assert tally.status is Status.OPEN
    assert tally.expire(ExpiryDecided(asked.slot, 17))
    assert tally.status is Status.EXPIRED
    assert tally.add(cast(asked, 2)) is Added.LATE
    assert tally.status is Status.EXPIRED
    with pytest.raises(Undecided, match="a vote that is expired has no certificate"):
        tally.certificate()
    assert not tally.expire(ExpiryDecided(asked.slot, 18))
    assert tally.expiry == ExpiryDecided(asked.slot, 17)


def test_v7_an_expiry_that_comes_after_the_decision_changes_nothing() -> None:
    asked = proposal(4)
    tally = counted(asked, [YES, YES, YES])
    assert not tally.expire(ExpiryDecided(asked.slot, 17))
    assert tally.status is Status.APPROVED
    with pytest.raises(AssertionError):
        tally.expire(ExpiryDecided(Slot(bytes(16), 0), 17))


def test_an_open_vote_has_no_certificate() -> None:
    with pytest.raises(Undecided, match="open"):
        Tally(proposal(4)).certificate()


# -- a model: everything counted again from the start, after each ballot -----------------------


def recount(asked: Proposal, ballots: list[CheckedBallot]) -> Outcome | None:
    """The outcome of a set of ballots, in the plainest way."""
    bodies: dict[str, set[bytes]] = {}
    for ballot in ballots:
        bodies.setdefault(ballot.voter, set()).add(ballot.body)
    weight = dict.fromkeys(Choice, 0)
    heard = set()
    for ballot in {b.voter: b for b in ballots}.values():
        if len(bodies[ballot.voter]) == 1 and ballot.proposal_digest == asked.digest:
            (voter,) = [v for v in asked.electorate.voters if v.peer_id == ballot.voter]
            weight[ballot.choice] += voter.weight
            heard.add(ballot.voter)
    total = sum(voter.weight for voter in asked.electorate.voters)
    num, den = asked.threshold.numerator, asked.threshold.denominator
    if weight[VETO]:
        return Outcome.VETOED
    if den * weight[YES] > num * total:
        vetoers = {v.peer_id for v in asked.electorate.voters if v.can_veto}
        return Outcome.APPROVED if vetoers <= heard else None
    return Outcome.REJECTED if den * (weight[NO] + weight[PASS]) > num * total else None


@st.composite
def votes(draw: st.DrawFn) -> tuple[Proposal, list[CheckedBallot]]:
    count = draw(st.integers(1, 7))
    voters = electorate(
        count,
        weights=draw(st.lists(st.integers(1, 5), min_size=count, max_size=count)),
        vetoers=draw(st.sets(st.integers(0, count - 1), max_size=2).map(sorted)),
    )
    threshold = draw(st.sampled_from([Threshold(2, 3), Threshold(1, 2), Threshold(4, 5)]))
    asked = proposal(voters, threshold=threshold)
    other = proposal(voters, threshold=threshold, question="Another?")
    liked = draw(st.sampled_from(list(Choice)))
    ballots = []
    for number in draw(st.lists(st.integers(0, count - 1), max_size=3 * count)):
        about = other if draw(st.integers(0, 19)) == 0 else asked
        choice = draw(st.sampled_from([liked, liked, liked, *Choice]))
        if choice is VETO and not voters.voters[number].can_veto:
            choice = NO
        ballots.append(cast(about, number, choice, draw(st.sampled_from(["", "", "", "why"]))))
    return asked, ballots


@settings(deadline=None)
@given(votes())
def test_a_tally_is_what_a_recount_of_all_ballots_gives(
    drawn: tuple[Proposal, list[CheckedBallot]],
) -> None:
    asked, ballots = drawn
    tally = Tally(asked)
    expected: Outcome | None = None
    for end, ballot in enumerate(ballots, 1):
        tally.add(ballot)
        tally.check_invariants()
        expected = expected or recount(asked, ballots[:end])
        assert tally.status is (Status[expected.name] if expected else Status.OPEN)
    doubled = {b.voter for b in ballots if len({o.body for o in ballots if o.voter == b.voter}) > 1}
    assert {evidence.voter for evidence in tally.evidence} == doubled
    for evidence in tally.evidence:
        evidence.verify(asked.electorate, check)


@settings(deadline=None)
@given(votes(), st.randoms(use_true_random=False))
def test_while_a_vote_is_open_the_order_of_ballots_does_not_matter(
    drawn: tuple[Proposal, list[CheckedBallot]], rng: Random
) -> None:
    asked, ballots = drawn
    shuffled = list(ballots)
    rng.shuffle(shuffled)
    tallies = [Tally(asked), Tally(asked)]
    for tally, order in zip(tallies, (ballots, shuffled), strict=True):
        for ballot in order:
            tally.add(ballot)
    if all(tally.status is Status.OPEN for tally in tallies):
        assert tallies[0].weights == tallies[1].weights
        assert [e.voter for e in tallies[0].evidence] == [e.voter for e in tallies[1].evidence]


@settings(deadline=None)
@given(votes())
def test_every_decision_by_ballots_gives_a_certificate_that_verifies(
    drawn: tuple[Proposal, list[CheckedBallot]],
) -> None:
    asked, ballots = drawn
    tally = Tally(asked)
    for ballot in ballots:
        tally.add(ballot)
    if tally.status is Status.OPEN:
        return
    verified = verify(
        tally.certificate().to_bytes(), asked.electorate, check, at_least=Threshold(1, 2)
    )
    assert verified.outcome.name == tally.status.name
    for counted_ballot in verified.certificate.ballots:
        check_ballot(counted_ballot, asked, check)
