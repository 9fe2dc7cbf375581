"""The proof of a decision: the proposal, the outcome and the ballots that decided it.

It stands alone: with these bytes and the electorate of the epoch anybody can count again, offline
(V5). Of a voter that voted twice both ballots are in it, so that others count what the tally
counted. In an approval there is a ballot of every elector with the right of veto. An expiry has no
certificate: nobody can sign that nobody said anything, so it is an event of the log (V7).

What this module does not know: whether a certificate holds; that is `verify`, which shares no
counting with the tally. Reading one checks its form and its bounds and no signature.

Invariants: equal certificates have equal bytes; ballots stand in the order of (voter, bytes).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from consensus.ballots.ballot import MAX_BALLOT_BYTES, Ballot
from consensus.ballots.errors import CertificateFault, CertificateInvalid, Malformed
from consensus.ballots.proposal import MAX_ELECTORS, MAX_PROPOSAL_BYTES, Proposal
from consensus.ballots.tally import Status, Tally
from consensus.ballots.wire import Reader, Writer

MAGIC: Final = b"CNBC\x01"
MAX_BALLOTS: Final = 2 * MAX_ELECTORS
MAX_CERTIFICATE_BYTES: Final = MAX_PROPOSAL_BYTES + MAX_BALLOTS * (MAX_BALLOT_BYTES + 4) + 64

_OUTCOMES: Final = {1: Status.APPROVED, 2: Status.REJECTED, 3: Status.VETOED}
_NUMBERS: Final = {outcome: number for number, outcome in _OUTCOMES.items()}


@dataclass(frozen=True, slots=True)
class QuorumCertificate:
    """A claim with its proof. Believe it after `verify.verify`."""

    proposal: Proposal
    outcome: Status
    ballots: tuple[Ballot, ...]

    @classmethod
    def of(cls, tally: Tally) -> QuorumCertificate | None:
        """What the tally decided; None if it decided nothing, or that the time was over."""
        if not tally.deciding:
            return None
        return cls(tally.proposal, tally.status, tally.deciding)

    def to_bytes(self) -> bytes:
        writer = Writer().fixed(MAGIC, len(MAGIC)).u8(_NUMBERS[self.outcome])
        writer.blob(self.proposal.raw).u32(len(self.ballots))
        for ballot in self.ballots:
            writer.blob(ballot.raw)
        return writer.take()

    @classmethod
    def from_bytes(cls, data: bytes) -> QuorumCertificate:
        """The certificate's form, its bounds and its order; nothing is believed by that.

        Raises:
            CertificateInvalid: these bytes are not one.
        """
        if len(data) > MAX_CERTIFICATE_BYTES:
            why = f"{len(data):,} bytes, and the limit is {MAX_CERTIFICATE_BYTES:,}"
            raise CertificateInvalid(CertificateFault.TOO_LARGE, why=why)
        try:
            reader = Reader("certificate", data, MAX_CERTIFICATE_BYTES)
            reader.magic(MAGIC)
            outcome = _OUTCOMES.get(reader.u8())
            if outcome is None:
                raise reader.fault("an outcome that there is not")
            proposal = Proposal.decode(reader.blob(MAX_PROPOSAL_BYTES))
            count = reader.u32(2 * len(proposal.electors))
            ballots = tuple(Ballot.decode(reader.blob(MAX_BALLOT_BYTES)) for _ in range(count))
            reader.finish()
        except Malformed as error:
            raise CertificateInvalid(CertificateFault.MALFORMED, why=str(error)) from error
        order = [(ballot.voter, ballot.raw) for ballot in ballots]
        if any(here >= following for here, following in pairwise(order)):
            raise CertificateInvalid(CertificateFault.NOT_SORTED)
        return cls(proposal, outcome, ballots)
