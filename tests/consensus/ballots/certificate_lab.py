"""Certificates that are true, and those that a liar would write."""

from __future__ import annotations

from ballots_lab import SCHEME, identity, proposal
from hypothesis import strategies as st

from consensus.ballots.ballot import Ballot, Choice
from consensus.ballots.certificate import QuorumCertificate
from consensus.ballots.proposal import Proposal
from consensus.ballots.tally import Status, Tally

YES, NO, ABSTAIN, VETO = Choice.APPROVE, Choice.REJECT, Choice.ABSTAIN, Choice.VETO


def sign(on: Proposal, voter: int, choice: Choice, reason: str = "") -> Ballot:
    return Ballot.sign(identity(voter), on, choice, reason)


def decided(on: Proposal, *casts: tuple[int, Choice]) -> QuorumCertificate:
    tally = Tally(on)
    for voter, choice in casts:
        tally.add(sign(on, voter, choice).check(on, SCHEME))
    certificate = QuorumCertificate.of(tally)
    assert certificate is not None
    return certificate


def claimed(on: Proposal, outcome: Status, *ballots: Ballot) -> bytes:
    """A certificate as a liar would write it."""
    order = tuple(sorted(ballots, key=lambda each: (each.voter, each.raw)))
    return QuorumCertificate(on, outcome, order).to_bytes()


FOUR = proposal(4, vetoers=(3,))
APPROVED = decided(FOUR, (0, YES), (1, YES), (2, YES), (3, NO))
REJECTED = decided(FOUR, (0, NO), (1, ABSTAIN), (2, NO))
VETOED = decided(FOUR, (0, YES), (3, VETO))
LIAR = decided(FOUR, (0, YES), (0, NO), (1, NO), (2, ABSTAIN), (3, NO))
WEIGHTS = st.lists(st.integers(1, 4), min_size=6, max_size=6)
THRESHOLDS = st.sampled_from([(2, 3), (1, 2), (4, 5)])


def after(on: Proposal, casts: list[tuple[int, Choice]]) -> QuorumCertificate | None:
    tally = Tally(on)
    for voter, choice in casts:
        if choice is not VETO or voter >= 4:
            tally.add(sign(on, voter, choice).check(on, SCHEME))
    return QuorumCertificate.of(tally)
