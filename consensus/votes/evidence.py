"""Proof that someone said two things in one slot: two signatures, which anyone can check offline.

`Evidence` is against a voter: two ballots of one slot with different bodies (V4).
`ProposerEvidence` is against a proposer: two questions under one id and round. Nothing else is held
against anyone: a missing answer proves nothing.

    evidence            "CVX1" | ballot blob | ballot blob, sorted by their bodies
    proposer evidence   "CVY1" | header blob | signature 64 | header blob | signature 64, sorted

What this module does not know: what is done to the culprit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consensus.votes import readable
from consensus.votes.ballot import MAX_BALLOT_BYTES, Ballot, Choice, check_genuine
from consensus.votes.electorate import Electorate
from consensus.votes.errors import BallotRefused, EvidenceInvalid
from consensus.votes.question import (
    MAX_HEADER_BYTES,
    PROPOSAL_ID_BYTES,
    Header,
    SignedHeader,
    Slot,
)
from consensus.votes.readable import Document
from consensus.votes.signing import KEY_BYTES, SIGNATURE_BYTES, SignatureCheck, id_bytes
from consensus.votes.wire import DIGEST_BYTES, Malformed, Reader, Writer

MAX_EVIDENCE_BYTES: Final = 2 * MAX_BALLOT_BYTES + 64
MAX_PROPOSER_EVIDENCE_BYTES: Final = 2 * (MAX_HEADER_BYTES + SIGNATURE_BYTES) + 64
FORMAT: Final = "conclave-vote-evidence/1"
PROPOSER_FORMAT: Final = "conclave-proposer-evidence/1"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two different ballots of one voter in one slot. `of` makes one, `verify` believes one."""

    first: Ballot
    second: Ballot

    @classmethod
    def of(cls, one: Ballot, other: Ballot) -> Evidence:
        first, second = sorted((one, other), key=lambda ballot: ballot.body)
        return cls(first, second)

    @property
    def voter(self) -> str:
        return self.first.voter

    @property
    def slot(self) -> Slot:
        return self.first.slot

    def verify(self, electorate: Electorate, check: SignatureCheck) -> None:
        """
        Raises:
            EvidenceInvalid: it does not prove that a voter of this electorate voted twice.
        """
        if self.first.body >= self.second.body:
            raise EvidenceInvalid("its ballots say the same, or are not in order")
        if self.first.voter != self.second.voter:
            raise EvidenceInvalid("its ballots are of two voters")
        if self.first.slot != self.second.slot:
            raise EvidenceInvalid("its ballots are of two proposals or rounds")
        try:
            check_genuine(self.first, electorate, check)
            check_genuine(self.second, electorate, check)
        except BallotRefused as error:
            raise EvidenceInvalid(str(error)) from error

    def to_bytes(self) -> bytes:
        return Writer(b"CVX1").blob(self.first.to_bytes()).blob(self.second.to_bytes()).done()

    @classmethod
    def from_bytes(cls, data: bytes) -> Evidence:
        """
        Raises:
            EvidenceInvalid: these bytes are none.
        """
        try:
            reader = Reader(data, b"CVX1", MAX_EVIDENCE_BYTES, "evidence")
            first = Ballot.from_bytes(reader.blob("a ballot", MAX_BALLOT_BYTES))
            second = Ballot.from_bytes(reader.blob("a ballot", MAX_BALLOT_BYTES))
            reader.finish()
        except (Malformed, BallotRefused) as error:
            raise EvidenceInvalid(str(error)) from error
        return cls(first, second)

    def to_json(self) -> str:
        return readable.written(self._document())

    def _document(self) -> Document:
        return {
            "format": FORMAT,
            "voter": self.voter,
            "first": _ballot_document(self.first),
            "second": _ballot_document(self.second),
        }

    @classmethod
    def from_json(cls, text: str | bytes) -> Evidence:
        """
        Raises:
            EvidenceInvalid: this text is none.
        """
        try:
            document = readable.read(text)
            read = cls(
                _read_ballot(readable.inner(document, "first")),
                _read_ballot(readable.inner(document, "second")),
            )
            evidence = cls.from_bytes(read.to_bytes())  # which knows the limits
            if not readable.same(document, evidence._document()):
                raise Malformed("its fields do not fit each other")
        except Malformed as error:
            raise EvidenceInvalid(str(error)) from error
        return evidence


@dataclass(frozen=True, slots=True)
class ProposerEvidence:
    """Two questions of one proposer in one slot. `of` makes one, `verify` believes one."""

    first: SignedHeader
    second: SignedHeader

    @classmethod
    def of(cls, one: SignedHeader, other: SignedHeader) -> ProposerEvidence:
        first, second = sorted((one, other), key=lambda signed: signed.header.to_bytes())
        return cls(first, second)

    @property
    def proposer(self) -> str:
        return self.first.header.proposer

    def verify(self, check: SignatureCheck) -> None:
        """
        Raises:
            EvidenceInvalid: it does not prove that one key asked two questions in one slot.
        """
        first, second = self.first.header, self.second.header
        if first.to_bytes() >= second.to_bytes():
            raise EvidenceInvalid("its questions are the same, or not in order")
        if first.proposer_key != second.proposer_key:
            raise EvidenceInvalid("its questions are of two proposers")
        if first.cluster_id != second.cluster_id or first.slot != second.slot:
            raise EvidenceInvalid("its questions are of two clusters, proposals or rounds")
        for signed in (self.first, self.second):
            if not signed.is_genuine(check):
                raise EvidenceInvalid(f"a question is not signed by {self.proposer}")

    def to_bytes(self) -> bytes:
        writer = Writer(b"CVY1")
        for signed in (self.first, self.second):
            writer.blob(signed.header.to_bytes()).raw(signed.signature, SIGNATURE_BYTES)
        return writer.done()

    @classmethod
    def from_bytes(cls, data: bytes) -> ProposerEvidence:
        """
        Raises:
            EvidenceInvalid: these bytes are none.
        """
        try:
            what = "evidence against a proposer"
            reader = Reader(data, b"CVY1", MAX_PROPOSER_EVIDENCE_BYTES, what)
            evidence = cls(_read_header(reader), _read_header(reader))
            reader.finish()
        except Malformed as error:
            raise EvidenceInvalid(str(error)) from error
        return evidence

    def to_json(self) -> str:
        return readable.written(self._document())

    def _document(self) -> Document:
        return {
            "format": PROPOSER_FORMAT,
            "proposer": self.proposer,
            "first": _header_document(self.first),
            "second": _header_document(self.second),
        }

    @classmethod
    def from_json(cls, text: str | bytes) -> ProposerEvidence:
        """
        Raises:
            EvidenceInvalid: this text is none.
        """
        try:
            document = readable.read(text)
            read = cls(
                _read_signed_header(readable.inner(document, "first")),
                _read_signed_header(readable.inner(document, "second")),
            )
            evidence = cls.from_bytes(read.to_bytes())  # which knows the limits
            if not readable.same(document, evidence._document()):
                raise Malformed("its fields do not fit each other")
        except Malformed as error:
            raise EvidenceInvalid(str(error)) from error
        return evidence


def _read_header(reader: Reader) -> SignedHeader:
    header = Header.from_bytes(reader.blob("a header", MAX_HEADER_BYTES))
    return SignedHeader(header, reader.raw(SIGNATURE_BYTES))


def _header_document(signed: SignedHeader) -> Document:
    header = signed.header
    return {
        "cluster": header.cluster_id,
        "epoch": header.epoch,
        "electorate_digest": header.electorate_digest.hex(),
        "proposal_id": header.proposal_id.hex(),
        "round": header.round,
        "proposal_digest": header.proposal_digest.hex(),
        "proposer_key": readable.shown(header.proposer_key),
        "signature": readable.shown(signed.signature),
    }


def _read_signed_header(document: Document) -> SignedHeader:
    header = Header(
        cluster_id=readable.text(document, "cluster"),
        epoch=readable.number(document, "epoch"),
        electorate_digest=readable.hexadecimal(document, "electorate_digest", DIGEST_BYTES),
        proposal_id=readable.hexadecimal(document, "proposal_id", PROPOSAL_ID_BYTES),
        round=readable.number(document, "round"),
        proposal_digest=readable.hexadecimal(document, "proposal_digest", DIGEST_BYTES),
        proposer_key=readable.data(document, "proposer_key", KEY_BYTES),
    )
    return SignedHeader(header, readable.data(document, "signature", SIGNATURE_BYTES))


def _ballot_document(ballot: Ballot) -> Document:
    return {
        "cluster": ballot.cluster_id,
        "epoch": ballot.epoch,
        "electorate_digest": ballot.electorate_digest.hex(),
        "proposal_id": ballot.proposal_id.hex(),
        "round": ballot.round,
        "proposal_digest": ballot.proposal_digest.hex(),
        "choice": ballot.choice.name.lower(),
        "voter": ballot.voter,
        "reason": ballot.reason,
        "signature": readable.shown(ballot.signature),
    }


def _read_ballot(document: Document) -> Ballot:
    voter = readable.text(document, "voter")
    if id_bytes(voter) is None:
        raise Malformed("voter is not a peer id")
    return Ballot(
        cluster_id=readable.text(document, "cluster"),
        epoch=readable.number(document, "epoch"),
        electorate_digest=readable.hexadecimal(document, "electorate_digest", DIGEST_BYTES),
        proposal_id=readable.hexadecimal(document, "proposal_id", PROPOSAL_ID_BYTES),
        round=readable.number(document, "round"),
        proposal_digest=readable.hexadecimal(document, "proposal_digest", DIGEST_BYTES),
        choice=read_choice(document),
        voter=voter,
        reason=readable.text(document, "reason"),
        signature=readable.data(document, "signature", SIGNATURE_BYTES),
    )


def read_choice(document: Document) -> Choice:
    """
    Raises:
        Malformed: the field `choice` names none.
    """
    name = readable.text(document, "choice")
    for choice in Choice:
        if choice.name.lower() == name:
            return choice
    raise Malformed(f"{name[:40]!r} is no choice")
