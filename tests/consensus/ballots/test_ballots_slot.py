"""One slot, one outcome: all that electors who lie can make of all that the others signed (V8)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain, combinations, combinations_with_replacement, product

import pytest
from ballots_lab import SCHEME, identity, proposal

from consensus.ballots.ballot import Ballot, Choice
from consensus.ballots.certificate import QuorumCertificate
from consensus.ballots.errors import CertificateFault, CertificateInvalid
from consensus.ballots.proposal import Proposal, byzantine_faults
from consensus.ballots.tally import Status
from consensus.ballots.verify import verify

YES, NO, ABSTAIN, VETO = Choice.APPROVE, Choice.REJECT, Choice.ABSTAIN, Choice.VETO
SPOKEN = (YES, NO, ABSTAIN)
TRUSTING = replace(SCHEME, verify=lambda *_: True)  # the ballots are signed; counting is tested

Held = tuple[int, Sequence[Choice]]  # a voter, and all ballots of it that somebody may use


@cache
def signed(on: Proposal, voter: int, choice: Choice) -> Ballot:
    return Ballot.sign(identity(voter), on, choice)


@cache
def outcome_of(on: Proposal, ballots: frozenset[tuple[int, Choice]]) -> Status | None:
    """What these ballots prove, whatever the certificate claims; None if nothing."""
    order = tuple(sorted((signed(on, *each) for each in ballots), key=lambda b: (b.voter, b.raw)))
    for claim in (Status.APPROVED, Status.REJECTED, Status.VETOED):
        try:
            data = QuorumCertificate(on, claim, order).to_bytes()
            return verify(data, TRUSTING, on.electors).outcome
        except CertificateInvalid as error:
            if error.fault is CertificateFault.NOT_DECIDED:
                return None
            if error.fault is not CertificateFault.OTHER_OUTCOME:
                raise
    raise AssertionError("it decides and is none of the three")


def some(choices: Sequence[Choice]) -> list[tuple[Choice, ...]]:
    """No ballot, one of them, or two."""
    return [part for size in range(3) for part in combinations(choices, size)]


def provable(on: Proposal, held: Iterable[Held]) -> set[Status]:
    """All outcomes for which somebody who holds these ballots can make a certificate."""
    each_one = [[[(voter, c) for c in part] for part in some(choices)] for voter, choices in held]
    found = {outcome_of(on, frozenset(chain(*parts))) for parts in product(*each_one)}
    return {outcome for outcome in found if outcome is not None}


def honest(choices: Iterable[Choice]) -> list[Held]:
    """The first voters, with one ballot each."""
    return [(voter, [choice]) for voter, choice in enumerate(choices)]


def test_v8_one_honest_no_and_a_liar_reject_nothing() -> None:
    """Two honest yeses and the liar's make an approval; there must be no second certificate."""
    assert provable(proposal(4), [*honest([YES, YES, NO]), (3, SPOKEN)]) == {Status.APPROVED}


@pytest.mark.parametrize("electors", range(1, 5))
def test_v8_up_to_four_with_every_liar_and_every_vote_have_one_outcome(electors: int) -> None:
    on = proposal(electors)
    for liars in combinations(range(electors), byzantine_faults(electors)):
        for choices in product(SPOKEN, repeat=electors):
            held = [(v, SPOKEN if v in liars else [c]) for v, c in enumerate(choices)]
            assert len(provable(on, held)) <= 1


@pytest.mark.parametrize("electors", [5, 7])
def test_v8_five_and_seven_with_f_liars_have_one_outcome(electors: int) -> None:
    """Who is who does not matter with equal weights: the last ones lie, the others are counted."""
    on = proposal(electors)
    first_liar = electors - byzantine_faults(electors)
    liars = [(voter, SPOKEN) for voter in range(first_liar, electors)]
    for choices in combinations_with_replacement(SPOKEN, first_liar):
        assert len(provable(on, [*honest(choices), *liars])) <= 1


@pytest.mark.parametrize("electors", [4, 5, 7])
def test_v8_one_liar_more_makes_both(electors: int) -> None:
    """The bound is exact where n = 3f + 1, so the tests above could have failed."""
    on = proposal(electors)
    first_liar = electors - byzantine_faults(electors) - 1
    liars = [(voter, SPOKEN) for voter in range(first_liar, electors)]
    most = max(
        len(provable(on, [*honest(choices), *liars]))
        for choices in combinations_with_replacement((YES, NO), first_liar)
    )
    assert most == (1 if electors == 5 else 2)


def test_v8_two_texts_of_one_slot_have_one_outcome_with_one_liar_of_four() -> None:
    texts = proposal(4), proposal(4, question="Another text?")
    for votes in product(product(range(2), SPOKEN), repeat=3):
        found: list[Status] = []
        for number, on in enumerate(texts):
            held: list[Held] = [(v, [c]) for v, (text, c) in enumerate(votes) if text == number]
            found += provable(on, [*held, (3, SPOKEN)])
        assert len(found) <= 1


@pytest.mark.parametrize("vetoers", [(0,), (0, 1), (0, 1, 2)])
def test_v8_an_approval_excludes_all_else_if_no_elector_that_may_veto_lies(
    vetoers: tuple[int, ...],
) -> None:
    on = proposal(4, vetoers=vetoers)
    for choices in product((*SPOKEN, VETO), repeat=3):
        if any(c is VETO and v not in vetoers for v, c in enumerate(choices)):
            continue
        found = provable(on, [*honest(choices), (3, SPOKEN)])
        assert len(found) <= 1 or found == {Status.REJECTED, Status.VETOED}


def test_v8_a_liar_that_may_veto_can_make_both_and_nobody_else_can() -> None:
    on = proposal(4, vetoers=(3,))
    others = honest([YES, YES, YES])
    assert provable(on, [*others, (3, (*SPOKEN, VETO))]) == {Status.APPROVED, Status.VETOED}
    assert provable(on, [*others, (3, [VETO])]) == {Status.VETOED}
    assert provable(on, others) == set()
