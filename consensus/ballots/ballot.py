"""One voter's word on one proposal, signed so that it serves for nothing else (V3).

A ballot signs, under the domain "ballot": cluster, epoch, electorate digest, proposal id, proposal
digest, choice, round, voter and the reason given. It says itself which key made it, so that two of
them accuse a voter without any other bytes: `Evidence` is two different ballots of one voter for
one proposal and round (V4), verifiable by anyone, offline.

What this module does not know: what other voters said, thresholds, storage, time.

Invariants: `CheckedBallot` is made by `check` only, from a ballot whose every field and signature
fit the proposal. Evidence holds two ballots in the order of their bytes, so it has one form.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from consensus.ballots.errors import BallotFault, BallotInvalid, EvidenceInvalid
from consensus.ballots.proposal import (
    DIGEST_BYTES,
    ID_BYTES,
    MAX_NAME_BYTES,
    MAX_ROUND,
    Elector,
    Proposal,
)
from consensus.ballots.scheme import KEY_BYTES, SIGNATURE_BYTES, Scheme, Signer
from consensus.ballots.wire import Reader, Writer

MAGIC: Final = b"CNBB\x01"
EVIDENCE_MAGIC: Final = b"CNBE\x01"
DOMAIN: Final = "ballot"
MAX_REASON_BYTES: Final = 1024
MAX_BODY_BYTES: Final = MAX_REASON_BYTES + MAX_NAME_BYTES + 256
MAX_BALLOT_BYTES: Final = MAX_BODY_BYTES + SIGNATURE_BYTES + 16
MAX_EVIDENCE_BYTES: Final = 2 * MAX_BALLOT_BYTES + 32


class Choice(Enum):
    """What a voter can say. Only APPROVE is yes; VETO takes the right to."""

    APPROVE = 1
    REJECT = 2
    ABSTAIN = 3
    VETO = 4


_CHOICES: Final = {choice.value: choice for choice in Choice}


@dataclass(frozen=True, slots=True)
class Ballot:
    """Make one with `sign`, read one with `decode`, believe it after `check`."""

    cluster_id: str
    epoch: int
    electorate_digest: bytes
    proposal_id: str
    proposal_digest: bytes
    choice: Choice
    round: int
    voter: bytes  # public key
    reason: str
    signature: bytes = field(repr=False)
    body: bytes = field(repr=False, compare=False)
    raw: bytes = field(repr=False, compare=False)

    @classmethod
    def sign(cls, signer: Signer, proposal: Proposal, choice: Choice, reason: str = "") -> Ballot:
        """
        Raises:
            BallotInvalid: the signer is no elector, or has no right to a veto.
            ValueError: the reason is too long, or no text that has bytes.
        """
        if len(reason.encode("utf-8")) > MAX_REASON_BYTES:
            raise ValueError(f"a reason has at most {MAX_REASON_BYTES} bytes")
        _right_to(proposal, signer.public_key, choice, signer.peer_id)
        body = statement(proposal, signer.public_key, choice, reason)
        return cls.decode(sealed(body, signer.sign(DOMAIN, body)))

    @classmethod
    def decode(cls, raw: bytes) -> Ballot:
        """
        Raises:
            Malformed: these bytes are not one.
        """
        outer = Reader("ballot", raw, MAX_BALLOT_BYTES)
        outer.magic(MAGIC)
        body = outer.blob(MAX_BODY_BYTES)
        signature = outer.fixed(SIGNATURE_BYTES)
        outer.finish()
        reader = Reader("ballot", body, MAX_BODY_BYTES)
        ballot = cls(
            cluster_id=reader.text(MAX_NAME_BYTES),
            epoch=reader.u64(),
            electorate_digest=reader.fixed(DIGEST_BYTES),
            proposal_id=reader.fixed(ID_BYTES).hex(),
            proposal_digest=reader.fixed(DIGEST_BYTES),
            choice=_choice(reader),
            round=reader.u32(MAX_ROUND),
            voter=reader.fixed(KEY_BYTES),
            reason=reader.text(MAX_REASON_BYTES),
            signature=signature,
            body=body,
            raw=raw,
        )
        reader.finish()
        return ballot

    def check(self, proposal: Proposal, scheme: Scheme) -> CheckedBallot:
        """
        Raises:
            BallotInvalid: it does not count for this proposal; says why.
        """
        who = scheme.peer_id_of(self.voter)
        fault = self._fault(proposal)
        if fault is not None:
            raise BallotInvalid(fault, who)
        elector = _right_to(proposal, self.voter, self.choice, who)
        self.check_signature(scheme)
        return CheckedBallot(self, elector)

    def check_signature(self, scheme: Scheme) -> None:
        """
        Raises:
            BallotInvalid: the voter that it names did not sign it.
        """
        fault = scheme.fault(self.voter, DOMAIN, self.body, self.signature)
        if fault is not None:
            who = scheme.peer_id_of(self.voter)
            raise BallotInvalid(BallotFault.SIGNATURE, who, fault.value)

    def _fault(self, proposal: Proposal) -> BallotFault | None:
        if self.cluster_id != proposal.cluster_id:
            return BallotFault.OTHER_CLUSTER
        if self.proposal_id != proposal.proposal_id:
            return BallotFault.OTHER_PROPOSAL
        if self.epoch != proposal.epoch:
            return BallotFault.OTHER_EPOCH
        if self.round != proposal.round:
            return BallotFault.OTHER_ROUND
        if self.electorate_digest != proposal.electorate_digest:
            return BallotFault.OTHER_ELECTORATE
        if self.proposal_digest != proposal.digest:
            return BallotFault.OTHER_TEXT
        return None


@dataclass(frozen=True, slots=True)
class CheckedBallot:
    """A ballot that counts for its proposal, and the elector whose it is."""

    ballot: Ballot
    elector: Elector


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two different ballots of one voter for one proposal and round, in the order of their bytes.

    Make one with `of`, read one with `decode`, believe it after `check`.
    """

    first: Ballot
    second: Ballot

    @classmethod
    def of(cls, one: Ballot, other: Ballot) -> Evidence:
        """
        Raises:
            EvidenceInvalid: the two do not contradict each other.
        """
        return _evidence(*sorted((one, other), key=lambda ballot: ballot.raw))

    @classmethod
    def decode(cls, raw: bytes) -> Evidence:
        """
        Raises:
            Malformed: these bytes are not one.
            EvidenceInvalid: the two do not contradict each other.
        """
        reader = Reader("evidence", raw, MAX_EVIDENCE_BYTES)
        reader.magic(EVIDENCE_MAGIC)
        first = Ballot.decode(reader.blob(MAX_BALLOT_BYTES))
        second = Ballot.decode(reader.blob(MAX_BALLOT_BYTES))
        reader.finish()
        if first.raw >= second.raw:
            raise reader.fault("its ballots are not in order")
        return _evidence(first, second)

    def encode(self) -> bytes:
        writer = Writer().fixed(EVIDENCE_MAGIC, len(EVIDENCE_MAGIC))
        return writer.blob(self.first.raw).blob(self.second.raw).take()

    def check(self, scheme: Scheme) -> None:
        """
        Raises:
            EvidenceInvalid: one of the two was not signed by the accused.
        """
        for ballot in (self.first, self.second):
            fault = scheme.fault(ballot.voter, DOMAIN, ballot.body, ballot.signature)
            if fault is not None:
                raise EvidenceInvalid(scheme.peer_id_of(self.voter), fault.value)

    @property
    def voter(self) -> bytes:
        return self.first.voter

    @property
    def proposal_id(self) -> str:
        return self.first.proposal_id

    @property
    def round(self) -> int:
        return self.first.round


def contradict(one: Ballot, other: Ballot) -> bool:
    """Whether one voter said two things about one proposal in one round.

    Signing one statement twice is no fault, whatever the two signatures look like.
    """
    return (
        (one.cluster_id, one.proposal_id, one.round, one.voter)
        == (other.cluster_id, other.proposal_id, other.round, other.voter)
    ) and one.body != other.body


def statement(proposal: Proposal, voter: bytes, choice: Choice, reason: str) -> bytes:
    """The bytes that a voter signs."""
    writer = Writer().text(proposal.cluster_id).u64(proposal.epoch)
    writer.fixed(proposal.electorate_digest, DIGEST_BYTES)
    writer.fixed(bytes.fromhex(proposal.proposal_id), ID_BYTES)
    writer.fixed(proposal.digest, DIGEST_BYTES)
    writer.u8(choice.value).u32(proposal.round).fixed(voter, KEY_BYTES)
    return writer.text(reason).take()


def sealed(body: bytes, signature: bytes) -> bytes:
    """A ballot's bytes from what was signed and the signature."""
    writer = Writer().fixed(MAGIC, len(MAGIC)).blob(body)
    return writer.fixed(signature, SIGNATURE_BYTES).take()


def _evidence(first: Ballot, second: Ballot) -> Evidence:
    if not contradict(first, second):
        raise EvidenceInvalid(
            first.voter.hex()[:16], "its two ballots do not contradict each other"
        )
    return Evidence(first, second)


def _right_to(proposal: Proposal, voter: bytes, choice: Choice, who: str) -> Elector:
    elector = proposal.elector(voter)
    if elector is None:
        raise BallotInvalid(BallotFault.FOREIGN_VOTER, who)
    if choice is Choice.VETO and not elector.may_veto:
        raise BallotInvalid(BallotFault.NO_VETO_RIGHT, who)
    return elector


def _choice(reader: Reader) -> Choice:
    choice = _CHOICES.get(reader.u8())
    if choice is None:
        raise reader.fault("a choice that nobody has")
    return choice
