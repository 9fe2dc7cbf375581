"""Two certificates that differ name who cheated (V8)."""

from __future__ import annotations

import pytest
from ballots_lab import SCHEME, elector, identity, proposal
from certificate_lab import (
    ABSTAIN,
    APPROVED,
    FOUR,
    NO,
    REJECTED,
    THRESHOLDS,
    VETO,
    WEIGHTS,
    YES,
    after,
    claimed,
    decided,
    sign,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from consensus.ballots.ballot import Choice
from consensus.ballots.errors import CertificateInvalid
from consensus.ballots.tally import Status
from consensus.ballots.verify import Accusation, conflict

_LEANING = st.builds(  # a few say anything, then everybody the same: most of these decide
    lambda casts, lean: casts + [(voter, lean) for voter in range(6)],
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(Choice)), max_size=4),
    st.sampled_from([YES, NO, ABSTAIN]),
)


def test_v8_yes_and_no_name_everybody_who_signed_both() -> None:
    yes = decided(proposal(4), (0, YES), (1, YES), (2, YES)).to_bytes()
    no = decided(proposal(4), (3, NO), (2, NO), (1, ABSTAIN)).to_bytes()
    accusation = conflict(yes, no, SCHEME, proposal(4).electors)
    assert isinstance(accusation, Accusation)
    assert set(accusation.guilty) == {elector(1), elector(2)}
    assert accusation.outcomes == (Status.APPROVED, Status.REJECTED)
    assert (accusation.guilty_weight, accusation.total_weight) == (2, 4)
    assert accusation.more_than_a_third
    assert accusation.guilty_vetoers == ()
    for evidence in accusation.evidence:
        evidence.check(SCHEME)


def test_v8_yes_and_a_quorum_of_no_prove_more_than_a_third() -> None:
    on = proposal(7)
    yes = decided(on, *((voter, YES) for voter in range(5))).to_bytes()
    no = claimed(on, Status.REJECTED, *(sign(on, voter, NO) for voter in range(2, 7)))
    accusation = conflict(yes, no, SCHEME)
    assert accusation is not None
    assert accusation.guilty_weight == 3
    assert accusation.more_than_a_third


def test_v8_two_texts_under_one_id_and_round_name_who_signed_both() -> None:
    other = proposal(4, vetoers=(3,), question="Another text?")
    second = decided(other, (1, YES), (2, YES), (3, NO), (0, YES))
    accusation = conflict(APPROVED.to_bytes(), second.to_bytes(), SCHEME)
    assert accusation is not None
    assert set(accusation.guilty) == set(FOUR.electors)
    assert accusation.more_than_a_third


def test_v8_a_veto_and_an_approval_name_who_vetoed() -> None:
    veto = decided(FOUR, (3, VETO))
    accusation = conflict(APPROVED.to_bytes(), veto.to_bytes(), SCHEME)
    assert accusation is not None
    assert accusation.guilty == accusation.guilty_vetoers == (elector(3, may_veto=True),)
    assert not accusation.more_than_a_third


def test_v8_a_late_veto_and_a_rejection_accuse_nobody() -> None:
    veto = decided(FOUR, (3, VETO))
    assert conflict(REJECTED.to_bytes(), veto.to_bytes(), SCHEME) is None


def test_v8_other_rounds_and_proposals_do_not_conflict() -> None:
    no = [(0, NO), (1, NO), (2, NO)]
    for other in (proposal(4, vetoers=(3,), round=1), proposal(4, vetoers=(3,), number=2)):
        certificate = decided(other, *no)
        assert conflict(APPROVED.to_bytes(), certificate.to_bytes(), SCHEME) is None
    assert conflict(APPROVED.to_bytes(), APPROVED.to_bytes(), SCHEME) is None


def test_v8_an_invalid_certificate_accuses_nobody() -> None:
    with pytest.raises(CertificateInvalid):
        conflict(APPROVED.to_bytes(), REJECTED.to_bytes()[:-1], SCHEME)


@settings(max_examples=150, deadline=None)
@given(WEIGHTS, THRESHOLDS, _LEANING, _LEANING)
def test_v8_approved_and_rejected_always_share_a_cheat(
    weights: list[int],
    threshold: tuple[int, int],
    casts: list[tuple[int, Choice]],
    others: list[tuple[int, Choice]],
) -> None:
    on = proposal(weights=weights, threshold=threshold, vetoers=(4, 5))
    one, other = after(on, casts), after(on, others)
    assume(one is not None and other is not None)
    assert one is not None
    assert other is not None
    accusation = conflict(one.to_bytes(), other.to_bytes(), SCHEME)
    if {one.outcome, other.outcome} == {Status.APPROVED, Status.REJECTED}:
        assert accusation is not None
        excess = 2 * threshold[0] - threshold[1]
        assert threshold[1] * accusation.guilty_weight > excess * sum(weights)
        assert accusation.more_than_a_third or threshold == (1, 2)
    if {one.outcome, other.outcome} == {Status.APPROVED, Status.VETOED}:
        assert accusation is not None
        assert accusation.guilty_vetoers
    if accusation is not None:
        said: dict[int, set[Choice]] = {}
        for voter, choice in casts + others:
            said.setdefault(voter, set()).add(choice)
        liars = {identity(v).public_key for v, choices in said.items() if len(choices) > 1}
        assert {each.public_key for each in accusation.guilty} <= liars
