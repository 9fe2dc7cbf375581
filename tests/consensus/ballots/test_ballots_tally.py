"""The tally against a recomputation from scratch, and its rules one by one."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from ballots_lab import SCHEME, identity, proposal
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.ballots.ballot import Ballot, CheckedBallot, Choice
from consensus.ballots.proposal import Proposal
from consensus.ballots.tally import Added, Count, Status, Tally

YES, NO, ABSTAIN, VETO = Choice.APPROVE, Choice.REJECT, Choice.ABSTAIN, Choice.VETO


def cast(on: Proposal, voter: int, choice: Choice, reason: str = "") -> CheckedBallot:
    return Ballot.sign(identity(voter), on, choice, reason).check(on, SCHEME)


def counted(on: Proposal, *choices: Choice) -> Tally:
    tally = Tally(on)
    for voter, choice in enumerate(choices):
        tally.add(cast(on, voter, choice))
        tally.check_invariants()
    return tally


@pytest.mark.parametrize("electors", range(1, 10))
def test_v1_every_count_of_one_to_nine_equal_electors(electors: int) -> None:
    on = proposal(electors)
    quorum = 2 * electors // 3 + 1
    for yes in range(electors + 1):
        status = counted(on, *[YES] * yes).status
        assert status is (Status.APPROVED if yes >= quorum else Status.OPEN)
        rest = counted(on, *[NO] * yes).status
        assert rest is (Status.REJECTED if yes >= quorum else Status.OPEN)
        mixed = counted(on, *[ABSTAIN] * (yes // 2), *[NO] * (yes - yes // 2))
        assert mixed.status is rest
        assert mixed.can_pass is (electors - yes >= quorum)


def test_v2_absent_and_abstaining_are_not_yes() -> None:
    on = proposal(4)
    assert counted(on, YES, YES).status is Status.OPEN
    assert counted(on, YES, YES, ABSTAIN).status is Status.OPEN
    assert counted(on, YES, YES, ABSTAIN, ABSTAIN).status is Status.OPEN
    assert not counted(on, YES, YES, ABSTAIN, ABSTAIN).can_pass
    assert counted(on, YES, NO, ABSTAIN, ABSTAIN).status is Status.REJECTED
    assert counted(on, YES, YES, ABSTAIN, YES).status is Status.APPROVED


def test_v2_weights_count_and_not_heads() -> None:
    on = proposal(weights=[7, 1, 1, 1])
    assert counted(on, YES).status is Status.APPROVED
    assert counted(on, NO).status is Status.REJECTED
    on = proposal(weights=[6, 1, 1, 1])
    assert counted(on, YES).status is Status.OPEN  # exactly two thirds is not more
    assert counted(on, YES, YES).status is Status.APPROVED


def test_v2_one_key_counts_once_however_often_it_comes() -> None:
    on = proposal(4)
    tally = Tally(on)
    for _ in range(5):
        added, evidence = tally.add(cast(on, 0, YES))
        assert evidence is None
    assert added is Added.REPEATED
    assert tally.count() == Count(1, 0, 0, 0, 0, 3)


def test_v4_a_second_ballot_makes_the_weight_count_for_nothing() -> None:
    on = proposal(4)
    tally = counted(on, YES, YES)
    added, evidence = tally.add(cast(on, 1, NO))
    assert added is Added.EQUIVOCATED
    assert evidence is not None
    evidence.check(SCHEME)
    assert tally.count() == Count(1, 0, 0, 0, 1, 2)
    assert tally.add(cast(on, 1, ABSTAIN)) == (Added.DISCREDITED, None)
    tally.add(cast(on, 2, YES))
    tally.add(cast(on, 3, YES))
    assert tally.status is Status.APPROVED
    assert tally.evidence == (evidence,)


def test_v4_an_equivocator_can_make_a_proposal_impossible() -> None:
    on = proposal(4)
    tally = counted(on, YES, NO)
    assert tally.can_pass
    tally.add(cast(on, 0, NO))
    assert tally.status is Status.OPEN  # its lost weight is no no
    assert not tally.can_pass
    tally.add(cast(on, 2, NO))
    assert tally.status is Status.OPEN
    tally.add(cast(on, 3, NO))
    assert tally.status is Status.REJECTED
    assert len(tally.deciding) == 5  # both of the equivocator, so that others count the same


def test_v4_a_decision_stands_when_a_voter_is_caught_later() -> None:
    on = proposal(4)
    tally = counted(on, YES, YES, YES)
    deciding = tally.deciding
    added, evidence = tally.add(cast(on, 0, NO))
    assert added is Added.EQUIVOCATED
    assert evidence is not None
    assert tally.status is Status.APPROVED
    assert tally.deciding == deciding
    assert tally.add(cast(on, 3, NO)) == (Added.LATE, None)
    assert tally.add(cast(on, 3, YES))[0] is Added.EQUIVOCATED
    tally.check_invariants()


def test_a_veto_decides_at_once_and_only_before_the_decision() -> None:
    on = proposal(4, vetoers=(3,))
    tally = counted(on, YES, YES)
    tally.add(cast(on, 3, VETO))
    assert tally.status is Status.VETOED
    tally = counted(on, YES, YES, YES)
    assert tally.status is Status.OPEN  # the elector that may veto has not spoken
    assert tally.can_pass
    tally.add(cast(on, 3, VETO))
    assert tally.status is Status.VETOED
    assert not tally.can_pass
    tally = counted(on, NO, NO, NO)
    assert tally.add(cast(on, 3, VETO)) == (Added.LATE, None)
    assert tally.status is Status.REJECTED


@pytest.mark.parametrize("choice", [YES, NO, ABSTAIN])
def test_an_approval_waits_for_every_right_of_veto(choice: Choice) -> None:
    on = proposal(7, vetoers=(5, 6))
    tally = counted(on, YES, YES, YES, YES, YES, choice)
    assert tally.status is Status.OPEN
    tally.add(cast(on, 6, NO))
    assert tally.status is Status.APPROVED
    assert {each.voter for each in tally.deciding} >= {identity(n).public_key for n in (5, 6)}
    assert tally.can_pass


def test_an_elector_that_may_veto_and_voted_twice_is_never_counted() -> None:
    on = proposal(7, vetoers=(6,))
    tally = Tally(on)
    tally.add(cast(on, 6, YES, "one"))
    assert tally.can_pass
    tally.add(cast(on, 6, YES, "other"))
    assert not tally.can_pass
    for voter in range(6):
        tally.add(cast(on, voter, YES))
    assert tally.status is Status.OPEN
    assert tally.expire() is Status.EXPIRED


def test_a_veto_and_something_else_is_no_veto() -> None:
    on = proposal(weights=[1, 1, 1, 1, 1, 1], vetoers=(0,))
    tally = counted(on, YES)
    tally.add(cast(on, 0, VETO))
    assert tally.status is Status.OPEN
    assert tally.count().discredited == 1


def test_v7_only_an_explicit_event_expires_and_never_a_decided_one() -> None:
    on = proposal(4)
    tally = counted(on, YES, YES)
    assert tally.status is Status.OPEN
    assert tally.expire() is Status.EXPIRED
    assert tally.add(cast(on, 2, YES)) == (Added.LATE, None)
    assert tally.status is Status.EXPIRED
    tally.check_invariants()
    assert counted(on, YES, YES, YES).expire() is Status.APPROVED


def test_yes_and_no_never_both_pass_for_any_votes_of_four() -> None:
    on = proposal(4)
    for choices in product((YES, NO, ABSTAIN), repeat=4):
        tally = counted(on, *choices)
        yes = choices.count(YES)
        assert (tally.status is Status.APPROVED) == (yes >= 3)
        assert (tally.status is Status.REJECTED) == (yes <= 1)
        assert tally.can_pass == (yes >= 3)


_CASTS = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from(Choice), st.sampled_from(["", "because"])),
    max_size=20,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=7, max_size=7),
    st.sampled_from([(2, 3), (1, 2), (3, 4), (9, 10)]),
    _CASTS,
    st.integers(0, 25),
    st.sets(st.integers(0, 6)),
)
def test_the_tally_is_what_a_recomputation_from_all_ballots_says(
    weights: list[int],
    threshold: tuple[int, int],
    casts: list[Any],
    expire_at: int,
    vetoers: set[int],
) -> None:
    on = proposal(weights=weights, threshold=threshold, vetoers=sorted(vetoers))
    casts = [each for each in casts if each[1] is not VETO or each[0] in vetoers]
    tally, so_far = Tally(on), []
    expected = Status.OPEN
    for number, (voter, choice, reason) in enumerate(casts):
        if number == expire_at:
            tally.expire()
            expected = Status.EXPIRED if expected is Status.OPEN else expected
        tally.add(cast(on, voter, choice, reason))
        so_far.append((voter, choice, reason))
        if expected is Status.OPEN:
            expected = recomputed(weights, threshold, so_far, vetoers)
        assert tally.status is expected
        assert {e.voter for e in tally.evidence} == {identity(v).public_key for v in liars(so_far)}
        tally.check_invariants()


def liars(casts: list[Any]) -> set[int]:
    said: dict[int, set[Any]] = {}
    for voter, choice, reason in casts:
        said.setdefault(voter, set()).add((choice, reason))
    return {voter for voter, things in said.items() if len(things) > 1}


def recomputed(
    weights: list[int], threshold: tuple[int, int], casts: list[Any], vetoers: set[int]
) -> Status:
    caught = liars(casts)
    voice = {voter: choice for voter, choice, _ in casts if voter not in caught}
    needed = Fraction(*threshold) * sum(weights)
    yes = sum(weights[v] for v, choice in voice.items() if choice is YES)
    no = sum(weights[v] for v, choice in voice.items() if choice in {NO, ABSTAIN})
    if VETO in voice.values():
        return Status.VETOED
    if yes > needed and voice.keys() >= vetoers:
        return Status.APPROVED
    return Status.REJECTED if no > needed else Status.OPEN


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(7)), st.lists(st.sampled_from([YES, NO, ABSTAIN]), min_size=7))
def test_without_vetoes_and_liars_all_orders_decide_the_same(
    order: list[int], choices: list[Choice]
) -> None:
    on = proposal(7)
    tally = Tally(on)
    for voter in order:
        tally.add(cast(on, voter, choices[voter]))
    assert tally.status is counted(on, *choices[:7]).status
