"""Counting the ballots of one question, as they come (V1, V2, V4, V7).

    OPEN -> APPROVED | REJECTED | VETOED     by ballots, see `consensus.votes.certificate`
    OPEN -> EXPIRED                          by a decided event only, never by a clock (V7)

A state other than OPEN is final. A voter has one weight, by its key, whatever it sends. Who is
found to have signed two ballots is out: while the vote is open neither of its ballots counts, for
or against, so that the count depends on which ballots came and not on their order. It is as if that
voter were silent; if it had the right of veto, nothing can be approved any more. An outcome that
its ballot already decided stays: whoever holds that certificate is right to believe it.

Ballots are looked at after the end, too, for the evidence only.

What this module does not know: signatures (it takes checked ballots), who is asked, time.

Invariant: the weights are those of `counted`, which holds at most one ballot a voter and none of a
voter that evidence names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from consensus.votes.ballot import Ballot, CheckedBallot, Choice
from consensus.votes.certificate import Outcome, QuorumCertificate, Weights
from consensus.votes.errors import Undecided
from consensus.votes.evidence import Evidence
from consensus.votes.question import Proposal, Slot


class Status(Enum):
    """Where a vote stands."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    VETOED = "vetoed"
    EXPIRED = "expired"


class Added(Enum):
    """What became of a ballot."""

    COUNTED = "counted"
    REPEATED = "was there already"
    STRAY = "about another question in this slot: kept as evidence, not counted"
    LATE = "the vote had ended: kept as evidence, not counted"
    EQUIVOCATION = "the second, different one of its voter: neither counts"
    OUT = "of a voter that has already been found to have signed two"


@dataclass(frozen=True, slots=True)
class ExpiryDecided:
    """That this slot is expired was decided, in a log that all share, at this index of it."""

    slot: Slot
    log_index: int


_STATUS_OF = {
    Outcome.APPROVED: Status.APPROVED,
    Outcome.REJECTED: Status.REJECTED,
    Outcome.VETOED: Status.VETOED,
}


class Tally:
    """The count of one question."""

    def __init__(self, proposal: Proposal) -> None:
        self.proposal = proposal
        self.expiry: ExpiryDecided | None = None
        self._first: dict[str, Ballot] = {}  # the first ballot of each voter, counted or not
        self._counted: dict[str, Ballot] = {}
        self._evidence: dict[str, Evidence] = {}
        self._weight = dict.fromkeys(Choice, 0)
        self._outcome: Outcome | None = None
        self._deciding: tuple[Ballot, ...] = ()

    @property
    def status(self) -> Status:
        if self._outcome is not None:
            return _STATUS_OF[self._outcome]
        return Status.OPEN if self.expiry is None else Status.EXPIRED

    @property
    def weights(self) -> Weights:
        """What counts now: later evidence takes weight away, also after the end."""
        weight = self._weight
        return Weights(
            approve=weight[Choice.APPROVE],
            reject=weight[Choice.REJECT],
            abstain=weight[Choice.ABSTAIN],
            veto=weight[Choice.VETO],
            total=self.proposal.electorate.total_weight,
        )

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """One for each voter that signed two ballots, by voter."""
        return tuple(self._evidence[voter] for voter in sorted(self._evidence))

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """Voters of whom there is no ballot, sorted."""
        return tuple(
            voter.peer_id
            for voter in self.proposal.electorate.voters
            if voter.peer_id not in self._first
        )

    @property
    def can_be_approved(self) -> bool:
        """Whether it is approved, or those who are not heard yet could still make it so."""
        if self.status is not Status.OPEN:
            return self.status is Status.APPROVED
        electorate = self.proposal.electorate
        lost = [voter for voter in electorate.vetoers if self._is_lost(voter.peer_id)]
        possible = self._weight[Choice.APPROVE] + sum(
            voter.weight for voter in electorate.voters if voter.peer_id not in self._first
        )
        return not lost and self.proposal.threshold.is_passed(possible, electorate.total_weight)

    def _is_lost(self, voter: str) -> bool:
        """Whether it has spoken and will never count: it was about another question, or doubled."""
        return voter in self._first and voter not in self._counted

    def known(self, voter: str) -> Ballot | None:
        """The first ballot of this voter, if any."""
        return self._first.get(voter)

    def is_out(self, voter: str) -> bool:
        """Whether this voter has been found to have signed two ballots."""
        return voter in self._evidence

    def add(self, ballot: CheckedBallot) -> Added:
        """Take a ballot that `check_ballot` or `check_slot` has let through."""
        assert ballot.slot == self.proposal.slot, "a ballot of another slot"
        assert ballot.electorate_digest == self.proposal.electorate.digest
        before = self._first.get(ballot.voter)
        if ballot.voter in self._evidence:
            return Added.OUT
        if before is None:
            return self._add_first(ballot)
        if before.body == ballot.body:
            return Added.REPEATED
        self._evidence[ballot.voter] = Evidence.of(before, ballot)
        counted = self._counted.pop(ballot.voter, None)
        if counted is not None:
            self._weight[counted.choice] -= self._weight_of(ballot.voter)
        return Added.EQUIVOCATION

    def _add_first(self, ballot: CheckedBallot) -> Added:
        self._first[ballot.voter] = ballot
        if ballot.proposal_digest != self.proposal.digest:
            return Added.STRAY
        if self.status is not Status.OPEN:
            return Added.LATE
        self._counted[ballot.voter] = ballot
        self._weight[ballot.choice] += self._weight_of(ballot.voter)
        self._outcome = self._decide()
        if self._outcome is not None:
            self._deciding = tuple(self._counted.values())
        return Added.COUNTED

    def _weight_of(self, voter_id: str) -> int:
        voter = self.proposal.electorate.find(voter_id)
        assert voter is not None, f"{voter_id} is no voter: the ballot was not checked"
        return voter.weight

    def _decide(self) -> Outcome | None:
        electorate, threshold = self.proposal.electorate, self.proposal.threshold
        weights = self.weights
        if weights.veto:
            return Outcome.VETOED
        if threshold.is_passed(weights.approve, weights.total):
            is_heard = all(voter.peer_id in self._counted for voter in electorate.vetoers)
            return Outcome.APPROVED if is_heard else None
        if threshold.is_passed(weights.not_approving, weights.total):
            return Outcome.REJECTED
        return None

    def expire(self, decided: ExpiryDecided) -> bool:
        """End an open vote; False, and nothing changes, if it had ended."""
        assert decided.slot == self.proposal.slot, "the expiry of another slot"
        if self.status is not Status.OPEN:
            return False
        self.expiry = decided
        return True

    def certificate(self) -> QuorumCertificate:
        """The question with every ballot that counted when it was decided.

        Raises:
            Undecided: it is open, or expired, which the log proves and no signature does.
        """
        if self._outcome is None:
            raise Undecided(self.status.value)
        return QuorumCertificate.of(self.proposal, self._outcome, self._deciding)

    def check_invariants(self) -> None:
        """For tests: the sums are what a recount gives."""
        for choice in Choice:
            voters = [b.voter for b in self._counted.values() if b.choice is choice]
            assert self._weight[choice] == sum(map(self._weight_of, voters)), choice
        assert not set(self._counted) & set(self._evidence)
        assert set(self._counted) | set(self._evidence) <= set(self._first)
        weights = self.weights
        assert 0 <= weights.approve + weights.not_approving <= weights.total
        assert self._outcome is None or self.expiry is None
        assert (self._outcome is None) == (not self._deciding)
