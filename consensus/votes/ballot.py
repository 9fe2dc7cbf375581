"""One voter's signed choice, good for one slot of one question and nowhere else (V3).

    body     "CVB1" | cluster text | epoch u64 | electorate digest 32 | proposal id 16 | round u64
             proposal digest 32 | choice u8 | voter 32 | reason text
    ballot   "CVS1" | body blob | signature 64 over the body, domain "vote-ballot"

`check_ballot` is the one way from bytes that someone sent to a `CheckedBallot`, which is what a
tally takes. It looks at everything that is cheap before it looks at the signature.

Two ballots differ when their bodies do. The same body under two signatures is one ballot: only a
voter who signs with fresh randomness makes such a pair, and it says the same thing twice.

What this module does not know: how ballots are counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NewType

from consensus.votes.electorate import MAX_CLUSTER_ID_BYTES, Electorate
from consensus.votes.errors import BallotFault, BallotImpossible, BallotRefused
from consensus.votes.question import PROPOSAL_ID_BYTES, Proposal, Slot
from consensus.votes.signing import (
    ID_BYTES,
    SIGNATURE_BYTES,
    SignatureCheck,
    Signer,
    id_bytes,
    id_text,
    is_signed,
    peer_id_of,
)
from consensus.votes.wire import DIGEST_BYTES, Malformed, Reader, Writer, text_problem

DOMAIN: Final = "vote-ballot"
MAX_REASON_BYTES: Final = 1024
MAX_BODY_BYTES: Final = 256 + MAX_CLUSTER_ID_BYTES + MAX_REASON_BYTES
MAX_BALLOT_BYTES: Final = MAX_BODY_BYTES + SIGNATURE_BYTES + 16


class Choice(Enum):
    """What a voter says. The numbers stand in bytes for ever."""

    APPROVE = 1
    REJECT = 2
    ABSTAIN = 3
    VETO = 4


@dataclass(frozen=True, slots=True)
class Ballot:
    """`cast` makes one, `from_bytes` reads one, `check_ballot` makes sure of it."""

    cluster_id: str
    epoch: int
    electorate_digest: bytes = field(repr=False)
    proposal_id: bytes
    round: int
    proposal_digest: bytes = field(repr=False)
    choice: Choice
    voter: str
    reason: str = ""
    signature: bytes = field(default=b"", repr=False)

    @classmethod
    def cast(cls, signer: Signer, proposal: Proposal, choice: Choice, reason: str = "") -> Ballot:
        """Sign a choice.

        Raises:
            BallotImpossible: the signer has no vote or no veto there, or the reason is too long.
        """
        voter_id = peer_id_of(signer.public_key)
        voter = proposal.electorate.find(voter_id)
        if voter is None:
            raise BallotImpossible(voter_id, f"it has no vote in epoch {proposal.epoch}")
        if choice is Choice.VETO and not voter.can_veto:
            raise BallotImpossible(voter_id, "it has no right of veto; it can reject")
        problem = text_problem(reason, MAX_REASON_BYTES)
        if problem:
            raise BallotImpossible(voter_id, f"its reason: {problem}")
        unsigned = cls.unsigned(proposal, voter_id, choice, reason)
        return cls.unsigned(proposal, voter_id, choice, reason, signer.sign(DOMAIN, unsigned.body))

    @classmethod
    def unsigned(
        cls,
        proposal: Proposal,
        voter: str,
        choice: Choice,
        reason: str,
        signature: bytes = b"",
    ) -> Ballot:
        """The ballot of this voter on this question, with whatever signature is given."""
        return cls(
            cluster_id=proposal.cluster_id,
            epoch=proposal.epoch,
            electorate_digest=proposal.electorate.digest,
            proposal_id=proposal.proposal_id,
            round=proposal.round,
            proposal_digest=proposal.digest,
            choice=choice,
            voter=voter,
            reason=reason,
            signature=signature,
        )

    @property
    def slot(self) -> Slot:
        return Slot(self.proposal_id, self.round)

    @property
    def body(self) -> bytes:
        """What is signed."""
        voter = id_bytes(self.voter)
        assert voter is not None, self.voter
        return (
            Writer(b"CVB1")
            .text(self.cluster_id)
            .number(self.epoch, 8)
            .raw(self.electorate_digest, DIGEST_BYTES)
            .raw(self.proposal_id, PROPOSAL_ID_BYTES)
            .number(self.round, 8)
            .raw(self.proposal_digest, DIGEST_BYTES)
            .number(self.choice.value, 1)
            .raw(voter, ID_BYTES)
            .text(self.reason)
            .done()
        )

    def to_bytes(self) -> bytes:
        return Writer(b"CVS1").blob(self.body).raw(self.signature, SIGNATURE_BYTES).done()

    @classmethod
    def from_bytes(cls, data: bytes) -> Ballot:
        """Nothing of it is believed yet.

        Raises:
            BallotRefused: MALFORMED, these bytes are not the one form of a ballot.
        """
        try:
            outer = Reader(data, b"CVS1", MAX_BALLOT_BYTES, "a ballot")
            body = outer.blob("the body", MAX_BODY_BYTES)
            signature = outer.raw(SIGNATURE_BYTES)
            outer.finish()
            ballot = cls._read(Reader(body, b"CVB1", MAX_BODY_BYTES, "a ballot's body"), signature)
        except Malformed as error:
            raise BallotRefused(BallotFault.MALFORMED, None, str(error)) from error
        if ballot.to_bytes() != data:
            raise BallotRefused(BallotFault.MALFORMED, ballot.voter, "not in canonical form")
        return ballot

    @classmethod
    def _read(cls, reader: Reader, signature: bytes) -> Ballot:
        ballot = cls(
            cluster_id=reader.text("the cluster id", MAX_CLUSTER_ID_BYTES),
            epoch=reader.number("the epoch", 8),
            electorate_digest=reader.raw(DIGEST_BYTES),
            proposal_id=reader.raw(PROPOSAL_ID_BYTES),
            round=reader.number("the round", 8),
            proposal_digest=reader.raw(DIGEST_BYTES),
            choice=Choice(reader.number("the choice", 1, 1, len(Choice))),
            voter=id_text(reader.raw(ID_BYTES)),
            reason=reader.text("the reason", MAX_REASON_BYTES),
            signature=signature,
        )
        reader.finish()
        return ballot


CheckedBallot = NewType("CheckedBallot", Ballot)


def check_ballot(ballot: Ballot, proposal: Proposal, check: SignatureCheck) -> CheckedBallot:
    """The ballot, if its voter signed it for this question.

    Raises:
        BallotRefused: its fault says what does not fit. With DIGEST alone the ballot is its
            voter's own, for another question under the same id and round.
    """
    signed = check_slot(ballot, proposal, check)
    if ballot.proposal_digest != proposal.digest:
        raise BallotRefused(BallotFault.DIGEST, ballot.voter)
    return signed


def check_slot(ballot: Ballot, proposal: Proposal, check: SignatureCheck) -> CheckedBallot:
    """As `check_ballot`, for any question under the proposal's id and round.

    Raises:
        BallotRefused.
    """
    if ballot.proposal_id != proposal.proposal_id:
        raise BallotRefused(BallotFault.PROPOSAL, ballot.voter)
    if ballot.round != proposal.round:
        raise BallotRefused(
            BallotFault.ROUND, ballot.voter, f"{ballot.round} instead of {proposal.round}"
        )
    return check_genuine(ballot, proposal.electorate, check)


def check_genuine(ballot: Ballot, electorate: Electorate, check: SignatureCheck) -> CheckedBallot:
    """The ballot, if a voter of this electorate signed it, whatever the question.

    Raises:
        BallotRefused.
    """
    if ballot.cluster_id != electorate.cluster_id:
        raise BallotRefused(BallotFault.CLUSTER, ballot.voter, repr(ballot.cluster_id))
    if ballot.epoch != electorate.epoch:
        raise BallotRefused(
            BallotFault.EPOCH, ballot.voter, f"{ballot.epoch} instead of {electorate.epoch}"
        )
    if ballot.electorate_digest != electorate.digest:
        raise BallotRefused(BallotFault.ELECTORATE, ballot.voter)
    voter = electorate.find(ballot.voter)
    if voter is None:
        raise BallotRefused(BallotFault.FOREIGN, ballot.voter)
    if ballot.choice is Choice.VETO and not voter.can_veto:
        raise BallotRefused(BallotFault.VETO, ballot.voter)
    if not is_signed(check, voter.public_key, DOMAIN, ballot.body, ballot.signature):
        raise BallotRefused(BallotFault.SIGNATURE, ballot.voter)
    return CheckedBallot(ballot)
