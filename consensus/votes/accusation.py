"""Two certificates that contradict each other, and who is in both (V8).

Certificates contradict each other when they are of one slot and one electorate and either are about
different questions, or one approves what the other does not. Whoever is in both with different
ballots signed twice in one slot, which no honest voter does: the culprits. When both took a quorum
of two thirds the culprits weigh more than a third, and no assumption that made the vote safe holds
any more: raise an alarm, stop, show this. A veto takes one voter, so a certificate of it and one of
approval prove only that this voter lied.

    "CVA1" | certificate blob | certificate blob, sorted

What this module does not know: what is done to the culprits, and certificates of different epochs:
each proves itself against its own electorate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from consensus.votes import readable
from consensus.votes.certificate import MAX_CERTIFICATE_BYTES, Outcome, QuorumCertificate
from consensus.votes.documents import certificate_document, read_certificate
from consensus.votes.electorate import Electorate, Threshold
from consensus.votes.errors import CertificateInvalid, EvidenceInvalid
from consensus.votes.evidence import Evidence
from consensus.votes.readable import Document
from consensus.votes.signing import SignatureCheck
from consensus.votes.verify import verify
from consensus.votes.wire import Malformed, Reader, Writer

MAX_ACCUSATION_BYTES: Final = 2 * MAX_CERTIFICATE_BYTES + 64
FORMAT: Final = "conclave-vote-accusation/1"

_ANY = Threshold(1, 2)  # what a question asked for is its own affair: the signatures accuse


@dataclass(frozen=True, slots=True)
class Accusation:
    """`conflict` makes one, `verify` believes one."""

    first: QuorumCertificate
    second: QuorumCertificate

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The two ballots of each culprit, by voter."""
        others = {ballot.voter: ballot for ballot in self.second.ballots}
        return tuple(
            Evidence.of(ballot, others[ballot.voter])
            for ballot in self.first.ballots
            if ballot.voter in others and ballot.body != others[ballot.voter].body
        )

    @property
    def culprits(self) -> tuple[str, ...]:
        """Peer ids of those who signed both, sorted."""
        return tuple(evidence.voter for evidence in self.evidence)

    @property
    def weight(self) -> int:
        """What the culprits weigh together."""
        voters = self.first.proposal.electorate.voters
        guilty = set(self.culprits)
        return sum(voter.weight for voter in voters if voter.peer_id in guilty)

    @property
    def total_weight(self) -> int:
        return self.first.proposal.electorate.total_weight

    @property
    def is_more_than_a_third(self) -> bool:
        """Whether more cheated than a vote of two thirds bears."""
        return 3 * self.weight > self.total_weight

    def verify(self, electorate: Electorate, check: SignatureCheck) -> None:
        """
        Raises:
            EvidenceInvalid: it does not prove that these voters signed two ballots in one slot.
        """
        problem = _no_conflict(self.first, self.second)
        if problem:
            raise EvidenceInvalid(problem)
        if self.first.to_bytes() > self.second.to_bytes():
            raise EvidenceInvalid("its certificates are not in order")
        try:
            for certificate in (self.first, self.second):
                verify(certificate.to_bytes(), electorate, check, at_least=_ANY)
        except CertificateInvalid as error:
            raise EvidenceInvalid(str(error)) from error
        if not self.culprits:
            raise EvidenceInvalid("nobody is in both of its certificates")

    def to_bytes(self) -> bytes:
        return Writer(b"CVA1").blob(self.first.to_bytes()).blob(self.second.to_bytes()).done()

    @classmethod
    def from_bytes(cls, data: bytes) -> Accusation:
        """
        Raises:
            EvidenceInvalid: these bytes are none.
        """
        try:
            reader = Reader(data, b"CVA1", MAX_ACCUSATION_BYTES, "an accusation")
            first = QuorumCertificate.from_bytes(
                reader.blob("a certificate", MAX_CERTIFICATE_BYTES)
            )
            second = QuorumCertificate.from_bytes(
                reader.blob("a certificate", MAX_CERTIFICATE_BYTES)
            )
            reader.finish()
        except (Malformed, CertificateInvalid) as error:
            raise EvidenceInvalid(str(error)) from error
        return cls(first, second)

    def to_json(self, names: Mapping[str, str] | None = None) -> str:
        return readable.written(self._document(names or {}))

    def _document(self, names: Mapping[str, str]) -> Document:
        return {
            **self._summary(),
            "first": certificate_document(self.first, names),
            "second": certificate_document(self.second, names),
        }

    def _summary(self) -> Document:
        return {
            "format": FORMAT,
            "culprits": list(self.culprits),
            "weight": self.weight,
            "total_weight": self.total_weight,
            "is_more_than_a_third": self.is_more_than_a_third,
        }

    @classmethod
    def from_json(cls, text: str | bytes) -> Accusation:
        """
        Raises:
            EvidenceInvalid: this text is none.
        """
        try:
            document = readable.read(text)
            accusation = cls(
                read_certificate(readable.inner(document, "first")),
                read_certificate(readable.inner(document, "second")),
            )
            summary = {key: document[key] for key in document if key not in {"first", "second"}}
            if not readable.same(summary, accusation._summary()):
                raise Malformed("its fields do not fit its certificates")
        except Malformed as error:
            raise EvidenceInvalid(str(error)) from error
        return accusation


def conflict(one: QuorumCertificate, other: QuorumCertificate) -> Accusation | None:
    """The accusation that follows from two certificates, which `verify` has believed; None if they
    do not contradict each other, or nobody is in both."""
    if _no_conflict(one, other):
        return None
    first, second = sorted((one, other), key=lambda certificate: certificate.to_bytes())
    accusation = Accusation(first, second)
    return accusation if accusation.culprits else None


def _no_conflict(one: QuorumCertificate, other: QuorumCertificate) -> str | None:
    """Why these two may both be, or None."""
    if one.proposal.electorate.digest != other.proposal.electorate.digest:
        return "its certificates are of two electorates"
    if one.proposal.slot != other.proposal.slot:
        return "its certificates are of two proposals or rounds"
    is_same_question = one.proposal.digest == other.proposal.digest
    approvals = [one.outcome, other.outcome].count(Outcome.APPROVED)
    if is_same_question and approvals != 1:
        return "its certificates agree"
    return None
