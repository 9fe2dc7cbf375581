"""Counting: checked ballots in, a status out, and it moves once.

    OPEN      nothing is decided yet
    VETOED    an elector with the right to it vetoed before anything else was decided
    APPROVED  `denominator * yes > numerator * total`, and every elector with the right of veto has
              been counted with something else
    REJECTED  `denominator * (no + abstain) > numerator * total`
    EXPIRED   somebody said so by a decided event (V7); counting alone never gets here
    BLOCKED   likewise, before the deadline: the log saw ballots after which yes cannot pass

A rejection needs as much as an approval, so that the two share more weight than may lie (V8).
Abstaining is not yes, so it counts towards rejecting (V2). When yes can merely not pass any more,
nothing is decided: `can_pass` says it, and the log ends it, as blocked or at its deadline.

The first ballot of a key counts. When a second, different one comes while the tally is open, the
two are evidence, and that key's weight is neither yes nor silent from then on: it counts for
nothing. When it comes after the decision, the decision stands, since others may have acted on it,
and the evidence is given all the same.

What this module does not know: signatures (a `CheckedBallot` was checked), time, who asks whom.

Invariants: a status other than OPEN never changes, nor do its deciding ballots; a key has at most
two ballots here; the status depends on the set of ballots counted and not on the order in which
they came, up to the first decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from consensus.ballots.ballot import Ballot, CheckedBallot, Choice, Evidence, contradict
from consensus.ballots.proposal import Elector, Proposal


class Status(StrEnum):
    """How a proposal stands."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    VETOED = "vetoed"
    EXPIRED = "expired"
    BLOCKED = "blocked"


class Added(Enum):
    """What became of a ballot."""

    COUNTED = "counted"
    REPEATED = "there already"
    EQUIVOCATED = "the voter's second, different one: evidence"
    DISCREDITED = "of a voter already shown to vote twice"
    LATE = "after the decision: kept to compare others with it"


@dataclass(frozen=True, slots=True)
class Count:
    """Weights. They add up to the total of the frozen electorate."""

    approve: int
    reject: int
    abstain: int
    veto: int
    discredited: int
    silent: int

    @property
    def total(self) -> int:
        spoken = self.approve + self.reject + self.abstain + self.veto
        return spoken + self.discredited + self.silent


class Tally:
    """The count of one proposal."""

    def __init__(self, proposal: Proposal) -> None:
        self.proposal = proposal
        self._first: dict[bytes, CheckedBallot] = {}
        self._second: dict[bytes, Ballot] = {}
        self._status = Status.OPEN
        self._deciding: tuple[Ballot, ...] = ()

    @property
    def status(self) -> Status:
        return self._status

    @property
    def can_pass(self) -> bool:
        """Whether it was approved, or still can be by those who are silent; once False, always."""
        if self._status is Status.OPEN:
            return self._could_pass(self.count())
        return self._status is Status.APPROVED

    @property
    def deciding(self) -> tuple[Ballot, ...]:
        """The ballots that decided, both of each equivocator; empty if open or expired."""
        return self._deciding

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """All that is known, in the order of the voters' keys."""
        return tuple(
            Evidence.of(self._first[voter].ballot, self._second[voter])
            for voter in sorted(self._second)
        )

    @property
    def ballots(self) -> tuple[Ballot, ...]:
        """All that are known, both of each equivocator, in the order of (voter, bytes)."""
        ballots = [checked.ballot for checked in self._first.values()]
        ballots += self._second.values()
        return tuple(sorted(ballots, key=lambda each: (each.voter, each.raw)))

    def silent(self) -> tuple[Elector, ...]:
        """Those who have not voted, in the electorate's order."""
        return tuple(e for e in self.proposal.electors if e.public_key not in self._first)

    def ballot_of(self, voter: bytes) -> Ballot | None:
        """The first one of this key."""
        found = self._first.get(voter)
        return found.ballot if found else None

    def add(self, checked: CheckedBallot) -> tuple[Added, Evidence | None]:
        """Take one ballot; evidence comes with EQUIVOCATED only."""
        ballot = checked.ballot
        assert ballot.proposal_digest == self.proposal.digest, "it was checked for another one"
        known = self._first.get(ballot.voter)
        if known is None:
            self._first[ballot.voter] = checked
            if self._status is not Status.OPEN:
                return Added.LATE, None
            self._decide()
            return Added.COUNTED, None
        if not contradict(known.ballot, ballot):
            return Added.REPEATED, None
        if ballot.voter in self._second:
            return Added.DISCREDITED, None
        self._second[ballot.voter] = ballot
        if self._status is Status.OPEN:
            self._decide()
        return Added.EQUIVOCATED, Evidence.of(known.ballot, ballot)

    def expire(self) -> Status:
        """It was decided that the time is over; says how the proposal stands then (V7)."""
        if self._status is Status.OPEN:
            self._status = Status.EXPIRED
        return self._status

    def count(self) -> Count:
        """All ballots known now, late ones too."""
        weights = dict.fromkeys(Choice, 0)
        discredited = spoken = 0
        for voter, checked in self._first.items():
            weight = checked.elector.weight
            spoken += weight
            if voter in self._second:
                discredited += weight
            else:
                weights[checked.ballot.choice] += weight
        return Count(
            approve=weights[Choice.APPROVE],
            reject=weights[Choice.REJECT],
            abstain=weights[Choice.ABSTAIN],
            veto=weights[Choice.VETO],
            discredited=discredited,
            silent=self.proposal.total_weight - spoken,
        )

    def check_invariants(self) -> None:
        """For tests, after every step."""
        count = self.count()
        assert count.total == self.proposal.total_weight
        assert self._second.keys() <= self._first.keys()
        assert bool(self._deciding) == (self._status not in {Status.OPEN, Status.EXPIRED})
        if self._status is Status.OPEN:
            assert self._outcome() is Status.OPEN

    def _decide(self) -> None:
        self._status = self._outcome()
        if self._status is not Status.OPEN:
            self._deciding = self.ballots

    def _outcome(self) -> Status:
        count = self.count()
        if count.veto:
            return Status.VETOED
        if self.proposal.passes(count.approve) and self._vetoers_counted():
            return Status.APPROVED
        if self.proposal.passes(count.reject + count.abstain):
            return Status.REJECTED
        return Status.OPEN

    def _vetoers_counted(self) -> bool:
        """Each with one ballot; `_outcome` has asked before whether one of them is a veto."""
        return all(
            each.public_key in self._first and each.public_key not in self._second
            for each in self.proposal.electors
            if each.may_veto
        )

    def _could_pass(self, count: Count) -> bool:
        """An elector with the right of veto that voted twice will never have been counted."""
        lost = any(self._first[voter].elector.may_veto for voter in self._second)
        return not count.veto and not lost and self.proposal.passes(count.approve + count.silent)
