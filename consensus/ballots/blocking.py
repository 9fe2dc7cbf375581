"""Ballots that show that a proposal cannot be approved any more, and no more than that.

    blocking  magic | proposal id | round u32 | count u32 | ballots, in the order of (voter, bytes)

This is no certificate. With one liar among four, an honest no and the liar's no block what two
honest yeses and the liar's yes would have approved, and both sets of ballots would be genuine. So
they prove nothing to anybody but the log: a replica that has verified them ends the round, as it
would at its deadline, and the log's order says whether a certificate came first.

What this module does not know: what the register holds, time.

Invariants: equal sets of ballots have equal bytes; what `check` lets through leaves every order of
counting open and without a way to an approval.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from consensus.ballots.ballot import MAX_BALLOT_BYTES, Ballot
from consensus.ballots.certificate import MAX_BALLOTS
from consensus.ballots.errors import Malformed
from consensus.ballots.proposal import ID_BYTES, MAX_ROUND, Proposal
from consensus.ballots.scheme import Scheme
from consensus.ballots.tally import Status, Tally
from consensus.ballots.wire import Reader, Writer

MAGIC: Final = b"CNBK\x01"  # CNBB is a ballot
MAX_BLOCKING_BYTES: Final = MAX_BALLOTS * (MAX_BALLOT_BYTES + 4) + 64


@dataclass(frozen=True, slots=True)
class Blocking:
    """A claim with its ballots. Believe it after `check`."""

    proposal_id: str
    round: int
    ballots: tuple[Ballot, ...]

    @classmethod
    def of(cls, tally: Tally) -> Blocking | None:
        """All that the tally knows; None if it decided, or may still approve."""
        if tally.status is not Status.OPEN or tally.can_pass:
            return None
        on = tally.proposal
        return cls(on.proposal_id, on.round, tally.ballots)

    def to_bytes(self) -> bytes:
        writer = Writer().fixed(MAGIC, len(MAGIC)).fixed(bytes.fromhex(self.proposal_id), ID_BYTES)
        writer.u32(self.round).u32(len(self.ballots))
        for ballot in self.ballots:
            writer.blob(ballot.raw)
        return writer.take()

    @classmethod
    def from_bytes(cls, data: bytes) -> Blocking:
        """
        Raises:
            Malformed: these bytes are not one.
        """
        reader = Reader("blocking", data, MAX_BLOCKING_BYTES)
        reader.magic(MAGIC)
        proposal_id, round_number = reader.fixed(ID_BYTES).hex(), reader.u32(MAX_ROUND)
        count = reader.u32(MAX_BALLOTS)
        ballots = tuple(Ballot.decode(reader.blob(MAX_BALLOT_BYTES)) for _ in range(count))
        reader.finish()
        order = [(ballot.voter, ballot.raw) for ballot in ballots]
        if any(here >= following for here, following in pairwise(order)):
            raise reader.fault("ballots out of order, or one there twice")
        return cls(proposal_id, round_number, ballots)

    def check(self, proposal: Proposal, scheme: Scheme) -> None:
        """Count the ballots on this proposal.

        Raises:
            Malformed: it is about another one, or does not block it.
            BallotInvalid: one of the ballots does not count.
        """
        if (self.proposal_id, self.round) != (proposal.proposal_id, proposal.round):
            raise Malformed("blocking", "it is about another proposal or round")
        tally = Tally(proposal)
        for ballot in self.ballots:
            tally.add(ballot.check(proposal, scheme))
        if tally.status is not Status.OPEN:
            raise Malformed("blocking", f"its ballots decide: {tally.status.value}")
        if tally.can_pass:
            raise Malformed("blocking", "with its ballots it can still be approved")
