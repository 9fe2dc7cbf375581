"""What is put to the vote: a proposal, whole and with everything that decides its outcome.

A proposal holds its electorate and its threshold, so its digest, which every ballot signs, fixes
who votes, with which weight, and what is enough (V2, V3). Its *slot* is (proposal id, round): each
voter has one ballot in it (V4). The proposer signs a `Header` that names slot and digest, so two
headers of one slot with different digests prove that it asked two questions as if they were one.

    proposal   "CVP1" | electorate blob | proposal id 16 | round u64 | threshold u32 u32
               kind text | question text | subject blob | deadline_ms u64 | proposer key 32
    header     "CVH1" | cluster text | epoch u64 | electorate digest 32 | proposal id 16
               round u64 | proposal digest 32 | proposer key 32
    signed     "CVQ1" | proposal blob | signature 64

What this module does not know: ballots, time. A deadline is how long the proposer is going to wait;
nothing ends by itself when it has passed (V7).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from consensus.votes.electorate import (
    MAX_CLUSTER_ID_BYTES,
    MAX_ELECTORATE_BYTES,
    MAX_WEIGHT,
    TWO_THIRDS,
    Electorate,
    Threshold,
)
from consensus.votes.errors import (
    ElectorateInvalid,
    ProposalFault,
    ProposalInvalid,
    ProposalRefused,
)
from consensus.votes.signing import (
    KEY_BYTES,
    SIGNATURE_BYTES,
    SignatureCheck,
    Signer,
    is_signed,
    is_strict_point,
    peer_id_of,
)
from consensus.votes.wire import (
    DIGEST_BYTES,
    MAX_NUMBER,
    Malformed,
    Reader,
    Writer,
    digest,
    text_problem,
)

DOMAIN: Final = "vote-proposal"
PROPOSAL_ID_BYTES: Final = 16
MAX_QUESTION_BYTES: Final = 4 * 1024
MAX_SUBJECT_BYTES: Final = 64 * 1024
MAX_KIND_CHARS: Final = 64
MAX_PROPOSAL_BYTES: Final = MAX_ELECTORATE_BYTES + MAX_QUESTION_BYTES + MAX_SUBJECT_BYTES + 256
MAX_SIGNED_BYTES: Final = MAX_PROPOSAL_BYTES + SIGNATURE_BYTES + 16
MAX_HEADER_BYTES: Final = 512

_KIND = re.compile(r"[a-z][a-z0-9.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Slot:
    """What a voter has one ballot for."""

    proposal_id: bytes
    round: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """One question to one electorate.

    `proposal_id` is 16 bytes that the caller drew at random; `subject` is what is decided upon, not
    looked into; `deadline_ms` is a duration; `proposer_key` an Ed25519 public key, which needs no
    vote of its own.

    Raises:
        ProposalInvalid: a field is out of its bounds, named.
    """

    proposal_id: bytes
    electorate: Electorate
    kind: str
    question: str
    subject: bytes = field(repr=False)
    proposer_key: bytes = field(repr=False)
    deadline_ms: int
    round: int = 0
    threshold: Threshold = TWO_THIRDS
    raw: bytes = field(init=False, compare=False, repr=False)
    digest: bytes = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.proposal_id) != PROPOSAL_ID_BYTES:
            raise ProposalInvalid("id", f"is {len(self.proposal_id)} bytes, not 16")
        if not _KIND.fullmatch(self.kind):
            raise ProposalInvalid("kind", f"{self.kind[:80]!r} is not a word of a-z, 0-9, '.', '-'")
        problem = text_problem(self.question, MAX_QUESTION_BYTES)
        if problem:
            raise ProposalInvalid("question", problem)
        if len(self.subject) > MAX_SUBJECT_BYTES:
            size = len(self.subject)
            raise ProposalInvalid("subject", f"{size} bytes, the limit is {MAX_SUBJECT_BYTES}")
        if not is_strict_point(self.proposer_key):
            raise ProposalInvalid("proposer", "this is no key that can sign")
        for name, value in (("round", self.round), ("deadline_ms", self.deadline_ms)):
            if not 0 <= value <= MAX_NUMBER:
                raise ProposalInvalid(name, f"{value} is not from 0 to {MAX_NUMBER}")
        object.__setattr__(self, "raw", self._encoded())
        object.__setattr__(self, "digest", digest(self.raw))

    @property
    def cluster_id(self) -> str:
        return self.electorate.cluster_id

    @property
    def epoch(self) -> int:
        return self.electorate.epoch

    @property
    def slot(self) -> Slot:
        return Slot(self.proposal_id, self.round)

    @property
    def proposer(self) -> str:
        """The peer id of who asks."""
        return peer_id_of(self.proposer_key)

    @property
    def quorum_weight(self) -> int:
        """The least weight of one opinion that decides."""
        return self.threshold.needed(self.electorate.total_weight)

    @property
    def header(self) -> Header:
        electorate = self.electorate
        return Header(
            cluster_id=electorate.cluster_id,
            epoch=electorate.epoch,
            electorate_digest=electorate.digest,
            proposal_id=self.proposal_id,
            round=self.round,
            proposal_digest=self.digest,
            proposer_key=self.proposer_key,
        )

    def _encoded(self) -> bytes:
        return (
            Writer(b"CVP1")
            .blob(self.electorate.raw)
            .raw(self.proposal_id, PROPOSAL_ID_BYTES)
            .number(self.round, 8)
            .number(self.threshold.numerator, 4)
            .number(self.threshold.denominator, 4)
            .text(self.kind)
            .text(self.question)
            .blob(self.subject)
            .number(self.deadline_ms, 8)
            .raw(self.proposer_key, KEY_BYTES)
            .done()
        )

    def to_bytes(self) -> bytes:
        return self.raw

    @classmethod
    def from_bytes(cls, data: bytes) -> Proposal:
        """
        Raises:
            ProposalRefused: MALFORMED, these bytes are not the one form of a proposal.
        """
        try:
            proposal = cls._read(Reader(data, b"CVP1", MAX_PROPOSAL_BYTES, "a proposal"))
        except (Malformed, ElectorateInvalid, ProposalInvalid) as error:
            raise ProposalRefused(ProposalFault.MALFORMED, str(error)) from error
        if proposal.raw != data:
            raise ProposalRefused(ProposalFault.MALFORMED, "not in canonical form")
        return proposal

    @classmethod
    def _read(cls, reader: Reader) -> Proposal:
        electorate = Electorate.from_bytes(reader.blob("the electorate", MAX_ELECTORATE_BYTES))
        proposal_id = reader.raw(PROPOSAL_ID_BYTES)
        round_number = reader.number("the round", 8)
        numerator = reader.number("a threshold", 4, 1, MAX_WEIGHT)
        denominator = reader.number("a threshold", 4, 1, MAX_WEIGHT)
        kind = reader.text("the kind", MAX_KIND_CHARS)
        question = reader.text("the question", MAX_QUESTION_BYTES)
        subject = reader.blob("the subject", MAX_SUBJECT_BYTES)
        deadline_ms = reader.number("the deadline", 8)
        proposer_key = reader.raw(KEY_BYTES)
        reader.finish()
        return cls(
            proposal_id=proposal_id,
            electorate=electorate,
            kind=kind,
            question=question,
            subject=subject,
            proposer_key=proposer_key,
            deadline_ms=deadline_ms,
            round=round_number,
            threshold=Threshold(numerator, denominator),
        )


@dataclass(frozen=True, slots=True)
class Header:
    """What a proposer signs: which question, in which slot. Small enough to be kept for ever."""

    cluster_id: str
    epoch: int
    electorate_digest: bytes
    proposal_id: bytes
    round: int
    proposal_digest: bytes
    proposer_key: bytes

    @property
    def slot(self) -> Slot:
        return Slot(self.proposal_id, self.round)

    @property
    def proposer(self) -> str:
        return peer_id_of(self.proposer_key)

    def to_bytes(self) -> bytes:
        return (
            Writer(b"CVH1")
            .text(self.cluster_id)
            .number(self.epoch, 8)
            .raw(self.electorate_digest, DIGEST_BYTES)
            .raw(self.proposal_id, PROPOSAL_ID_BYTES)
            .number(self.round, 8)
            .raw(self.proposal_digest, DIGEST_BYTES)
            .raw(self.proposer_key, KEY_BYTES)
            .done()
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Header:
        """
        Raises:
            Malformed.
        """
        reader = Reader(data, b"CVH1", MAX_HEADER_BYTES, "a proposal's header")
        header = cls(
            cluster_id=reader.text("the cluster id", MAX_CLUSTER_ID_BYTES),
            epoch=reader.number("the epoch", 8),
            electorate_digest=reader.raw(DIGEST_BYTES),
            proposal_id=reader.raw(PROPOSAL_ID_BYTES),
            round=reader.number("the round", 8),
            proposal_digest=reader.raw(DIGEST_BYTES),
            proposer_key=reader.raw(KEY_BYTES),
        )
        reader.finish()
        return header


@dataclass(frozen=True, slots=True)
class SignedHeader:
    """A header and its proposer's signature."""

    header: Header
    signature: bytes = field(repr=False)

    def is_genuine(self, check: SignatureCheck) -> bool:
        key = self.header.proposer_key
        return is_signed(check, key, DOMAIN, self.header.to_bytes(), self.signature)


@dataclass(frozen=True, slots=True)
class SignedProposal:
    """A proposal as its proposer hands it out. `sign` makes one."""

    proposal: Proposal
    signature: bytes = field(repr=False)

    @classmethod
    def sign(cls, signer: Signer, proposal: Proposal) -> SignedProposal:
        """
        Raises:
            ProposalInvalid: the proposal names another proposer.
        """
        if signer.public_key != proposal.proposer_key:
            raise ProposalInvalid("proposer", f"is {proposal.proposer}, whose key this is not")
        return cls(proposal, signer.sign(DOMAIN, proposal.header.to_bytes()))

    @property
    def signed_header(self) -> SignedHeader:
        return SignedHeader(self.proposal.header, self.signature)

    def to_bytes(self) -> bytes:
        return Writer(b"CVQ1").blob(self.proposal.raw).raw(self.signature, SIGNATURE_BYTES).done()

    @classmethod
    def from_bytes(cls, data: bytes) -> SignedProposal:
        """The signature is not yet checked.

        Raises:
            ProposalRefused: MALFORMED.
        """
        try:
            reader = Reader(data, b"CVQ1", MAX_SIGNED_BYTES, "a signed proposal")
            raw = reader.blob("the proposal", MAX_PROPOSAL_BYTES)
            signature = reader.raw(SIGNATURE_BYTES)
            reader.finish()
        except Malformed as error:
            raise ProposalRefused(ProposalFault.MALFORMED, str(error)) from error
        return cls(Proposal.from_bytes(raw), signature)
