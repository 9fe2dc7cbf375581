"""A quorum certificate: a question, its outcome, and the ballots that prove it.

    "CVC1" | proposal blob | outcome u8 | number of ballots u16, then for each ballot
    voter 32 | choice u8 | reason text | signature 64

A ballot in here has only what the question does not say; it is put together again from the question
before its signature is checked, so one that was signed for anything else is a bad signature. Which
outcome needs what:

    APPROVED   approve has more than the threshold, no ballot is a veto, and every voter with the
               right of veto is heard
    REJECTED   reject and abstain together have more than the threshold, and no ballot is a veto
    VETOED     at least one veto of a voter with that right

Approve and rejection each take a quorum, so both for one slot prove that the voters in both cheated
(V8). "Approve cannot pass any more" is no rejection: one liar could make it true and untrue.

What this module does not know: whether a certificate is valid (`verify`), who gathered its ballots.

Invariant: what is encoded has its ballots sorted by voter; what was decoded may have anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from consensus.votes.ballot import MAX_REASON_BYTES, Ballot, Choice
from consensus.votes.electorate import MAX_VOTERS
from consensus.votes.errors import CertificateFault, CertificateInvalid, ProposalRefused
from consensus.votes.question import MAX_PROPOSAL_BYTES, Proposal
from consensus.votes.signing import ID_BYTES, SIGNATURE_BYTES, id_bytes, id_text
from consensus.votes.wire import Malformed, Reader, Writer, digest

_BALLOT_BYTES = ID_BYTES + 1 + 4 + MAX_REASON_BYTES + SIGNATURE_BYTES
MAX_CERTIFICATE_BYTES: Final = 64 + MAX_PROPOSAL_BYTES + MAX_VOTERS * _BALLOT_BYTES


class Outcome(Enum):
    """What signatures can prove of a question. The numbers stand in bytes for ever."""

    APPROVED = 1
    REJECTED = 2
    VETOED = 3


@dataclass(frozen=True, slots=True)
class Weights:
    """How much weight said what, of how much in all."""

    approve: int
    reject: int
    abstain: int
    veto: int
    total: int

    @property
    def not_approving(self) -> int:
        return self.reject + self.abstain + self.veto

    def __str__(self) -> str:
        said = f"approve {self.approve}, reject {self.reject}, abstain {self.abstain}"
        return f"{said}, veto {self.veto} of {self.total}"


@dataclass(frozen=True, slots=True)
class QuorumCertificate:
    """`of` makes one, `from_bytes` reads one, `consensus.votes.verify` believes one."""

    proposal: Proposal
    outcome: Outcome
    ballots: tuple[Ballot, ...]

    @classmethod
    def of(
        cls, proposal: Proposal, outcome: Outcome, ballots: Iterable[Ballot]
    ) -> QuorumCertificate:
        return cls(proposal, outcome, tuple(sorted(ballots, key=lambda ballot: ballot.voter)))

    @property
    def digest(self) -> bytes:
        """Names these bytes. Two certificates of one outcome may differ in their ballots."""
        return digest(self.to_bytes())

    def to_bytes(self) -> bytes:
        writer = Writer(b"CVC1").blob(self.proposal.raw).number(self.outcome.value, 1)
        writer.number(len(self.ballots), 2)
        for ballot in self.ballots:
            voter = id_bytes(ballot.voter)
            assert voter is not None, ballot.voter
            writer.raw(voter, ID_BYTES).number(ballot.choice.value, 1)
            writer.text(ballot.reason).raw(ballot.signature, SIGNATURE_BYTES)
        return writer.done()

    @classmethod
    def from_bytes(cls, data: bytes) -> QuorumCertificate:
        """Nothing of it is believed yet.

        Raises:
            CertificateInvalid: TOO_LARGE, or MALFORMED.
        """
        if len(data) > MAX_CERTIFICATE_BYTES:
            raise CertificateInvalid(
                CertificateFault.TOO_LARGE,
                detail=f"{len(data)} bytes, the limit is {MAX_CERTIFICATE_BYTES}",
            )
        try:
            certificate = cls._read(
                Reader(data, b"CVC1", MAX_CERTIFICATE_BYTES, "a quorum certificate")
            )
        except (Malformed, ProposalRefused) as error:
            raise CertificateInvalid(CertificateFault.MALFORMED, detail=str(error)) from error
        if certificate.to_bytes() != data:
            raise CertificateInvalid(CertificateFault.MALFORMED, detail="not in canonical form")
        return certificate

    @classmethod
    def _read(cls, reader: Reader) -> QuorumCertificate:
        proposal = Proposal.from_bytes(reader.blob("the proposal", MAX_PROPOSAL_BYTES))
        outcome = Outcome(reader.number("the outcome", 1, 1, len(Outcome)))
        count = reader.number("the number of ballots", 2, 1, MAX_VOTERS)
        ballots = tuple(_read_ballot(reader, proposal) for _ in range(count))
        reader.finish()
        return cls(proposal, outcome, ballots)


def _read_ballot(reader: Reader, proposal: Proposal) -> Ballot:
    voter = id_text(reader.raw(ID_BYTES))
    choice = Choice(reader.number("a choice", 1, 1, len(Choice)))
    reason = reader.text("a reason", MAX_REASON_BYTES)
    return Ballot.unsigned(proposal, voter, choice, reason, reader.raw(SIGNATURE_BYTES))
