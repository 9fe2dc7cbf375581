"""The voter's side: one ballot a slot, on disk before anyone hears of it (V4).

    on_proposal   -> Deliberate, when the question is new and proper
                     Store, SendBallot, when this node has voted: the same ballot again
                     RefuseProposal, and ProposerEvidenceFound if its proposer asked two questions
    on_choice     -> Store, SendBallot to everyone who asked

Effects run in list order: when Store fails, SendBallot must not run. The core does not learn
whether a Store went well, so Store stands before every SendBallot, also of a ballot that was cast
long ago; storing what is there costs nothing.

What has been cast is `recovered` from the ballot box at start. A voter that lost its box may vote
twice without knowing it, and its key is answerable: it must come back under a new key.

What this module does not know: how a choice is made (Deliberate asks), disks, time.

Invariants: at most one ballot a slot is ever handed out; no question waits that was voted on; at
most `max_waiting` wait.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from consensus.votes.ballot import MAX_BALLOT_BYTES, Ballot, Choice
from consensus.votes.electorate import TWO_THIRDS, Electorate, Threshold
from consensus.votes.errors import (
    BallotImpossible,
    BallotRefused,
    ProposalFault,
    ProposalRefused,
)
from consensus.votes.evidence import ProposerEvidence
from consensus.votes.question import (
    MAX_HEADER_BYTES,
    Header,
    Proposal,
    SignedHeader,
    SignedProposal,
    Slot,
)
from consensus.votes.signing import SIGNATURE_BYTES, SignatureCheck, Signer, peer_id_of
from consensus.votes.wire import Malformed, Reader, Writer

MAX_RECORD_BYTES: Final = MAX_BALLOT_BYTES + MAX_HEADER_BYTES + SIGNATURE_BYTES + 16
MAX_WAITING: Final = 64
MAX_ASKERS: Final = 8  # who is answered when one question's choice is made; others ask again


@dataclass(frozen=True, slots=True)
class CastRecord:
    """What a voter keeps for ever: its ballot, and the question as its proposer signed it.

    bytes   "CVR1" | ballot blob | header blob | signature 64
    """

    ballot: Ballot
    question: SignedHeader

    @property
    def slot(self) -> Slot:
        return self.ballot.slot

    def to_bytes(self) -> bytes:
        return (
            Writer(b"CVR1")
            .blob(self.ballot.to_bytes())
            .blob(self.question.header.to_bytes())
            .raw(self.question.signature, SIGNATURE_BYTES)
            .done()
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> CastRecord:
        """
        Raises:
            Malformed: these bytes are none, or the ballot is about another question.
        """
        reader = Reader(data, b"CVR1", MAX_RECORD_BYTES, "the record of a ballot")
        try:
            ballot = Ballot.from_bytes(reader.blob("a ballot", MAX_BALLOT_BYTES))
        except BallotRefused as error:
            raise Malformed(str(error)) from error
        header = Header.from_bytes(reader.blob("a header", MAX_HEADER_BYTES))
        record = cls(ballot, SignedHeader(header, reader.raw(SIGNATURE_BYTES)))
        reader.finish()
        if header.slot != ballot.slot or header.proposal_digest != ballot.proposal_digest:
            raise Malformed("its ballot and its question do not belong together")
        return record


@dataclass(frozen=True, slots=True)
class Deliberate:
    """A new question, proper in all that a machine can see: choose, then call `on_choice`."""

    proposal: Proposal


@dataclass(frozen=True, slots=True)
class Store:
    """Make this durable before the next effect; if that fails, drop the effects that follow."""

    record: CastRecord


@dataclass(frozen=True, slots=True)
class SendBallot:
    """Send this ballot to who asked."""

    to: str
    data: bytes


@dataclass(frozen=True, slots=True)
class RefuseProposal:
    """A question that is not voted on; to be counted by `fault`."""

    sender: str
    fault: ProposalFault
    detail: str


@dataclass(frozen=True, slots=True)
class ProposerEvidenceFound:
    """A proposer put two questions in one slot."""

    evidence: ProposerEvidence


Effect = Deliberate | Store | SendBallot | RefuseProposal | ProposerEvidenceFound


@dataclass(slots=True)
class _Waiting:
    signed: SignedProposal
    askers: list[str] = field(default_factory=list)

    def add_asker(self, peer: str) -> None:
        if peer not in self.askers and len(self.askers) < MAX_ASKERS:
            self.askers.append(peer)


class VotingCore:
    """The votes of one key in one cluster.

    `recovered` is all that the ballot box holds. A question with a threshold below `at_least` is
    refused.
    """

    def __init__(
        self,
        signer: Signer,
        check: SignatureCheck,
        cluster_id: str,
        recovered: Iterable[CastRecord] = (),
        *,
        at_least: Threshold = TWO_THIRDS,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        assert max_waiting > 0
        self.peer_id = peer_id_of(signer.public_key)
        self._signer = signer
        self._check = check
        self._cluster_id = cluster_id
        self._at_least = at_least
        self._max_waiting = max_waiting
        self._electorates: dict[int, Electorate] = {}
        self._waiting: dict[Slot, _Waiting] = {}
        self._cast: dict[Slot, CastRecord] = {}
        for record in recovered:
            assert record.ballot.voter == self.peer_id, "the ballot box of another voter"
            assert record.slot not in self._cast, "a ballot box with two ballots of one slot"
            self._cast[record.slot] = record

    def know(self, electorate: Electorate) -> None:
        """From now on questions of this epoch are voted on."""
        assert electorate.cluster_id == self._cluster_id
        known = self._electorates.setdefault(electorate.epoch, electorate)
        assert known.digest == electorate.digest, "an epoch has one electorate"

    def forget_before(self, epoch: int) -> None:
        """Questions of earlier epochs are not voted on any more. What was cast is still said."""
        for old in [each for each in self._electorates if each < epoch]:
            del self._electorates[old]
        for slot in [s for s, w in self._waiting.items() if w.signed.proposal.epoch < epoch]:
            del self._waiting[slot]

    @property
    def waiting(self) -> tuple[Proposal, ...]:
        """Questions without a choice, oldest first."""
        return tuple(waiting.signed.proposal for waiting in self._waiting.values())

    def on_proposal(self, data: bytes, sender: str) -> list[Effect]:
        """A question has come, perhaps not for the first time."""
        try:
            signed = SignedProposal.from_bytes(data)
            slot = signed.proposal.slot
            if slot in self._cast:
                return self._again(self._cast[slot], signed, sender)
            if slot in self._waiting:
                return self._while_waiting(self._waiting[slot], signed, sender)
            self._check_proposal(signed)
        except ProposalRefused as error:
            return [RefuseProposal(sender, error.fault, error.detail)]
        self._waiting[slot] = _Waiting(signed, [sender])
        return [Deliberate(signed.proposal)]

    def on_choice(self, slot: Slot, choice: Choice, reason: str = "") -> list[Effect]:
        """A choice was made, which is final.

        Raises:
            BallotImpossible: no such question waits, no right of veto, or too long a reason; the
                question goes on waiting.
        """
        waiting = self._waiting.get(slot)
        if waiting is None:
            name = f"{slot.proposal_id.hex()}, round {slot.round}"
            raise BallotImpossible(self.peer_id, f"no question waits under {name}")
        ballot = Ballot.cast(self._signer, waiting.signed.proposal, choice, reason)
        record = CastRecord(ballot, waiting.signed.signed_header)
        del self._waiting[slot]
        self._cast[slot] = record
        return _answer(record, waiting.askers)

    def withdraw(self, slot: Slot) -> None:
        """No choice will be made for now. If it is asked again, the question is new."""
        self._waiting.pop(slot, None)

    def _again(self, record: CastRecord, signed: SignedProposal, sender: str) -> list[Effect]:
        if record.question.header == signed.proposal.header:
            return _answer(record, [sender])
        return self._other_question(record.question, signed, sender)

    def _while_waiting(
        self, waiting: _Waiting, signed: SignedProposal, sender: str
    ) -> list[Effect]:
        if waiting.signed.proposal.digest == signed.proposal.digest:
            waiting.add_asker(sender)
            return []
        return self._other_question(waiting.signed.signed_header, signed, sender)

    def _other_question(
        self, known: SignedHeader, signed: SignedProposal, sender: str
    ) -> list[Effect]:
        """V4: one ballot a slot, whatever is asked under its name."""
        other = signed.signed_header
        if not other.is_genuine(self._check):
            raise ProposalRefused(ProposalFault.SIGNATURE, other.header.proposer)
        effects: list[Effect] = []
        if (known.header.proposer_key, known.header.cluster_id) == (
            other.header.proposer_key,
            other.header.cluster_id,
        ):
            effects.append(ProposerEvidenceFound(ProposerEvidence.of(known, other)))
        detail = f"of {known.header.proposer}"
        return [*effects, RefuseProposal(sender, ProposalFault.OTHER_QUESTION, detail)]

    def _check_proposal(self, signed: SignedProposal) -> None:
        proposal = signed.proposal
        if proposal.cluster_id != self._cluster_id:
            raise ProposalRefused(ProposalFault.CLUSTER, repr(proposal.cluster_id))
        electorate = self._electorates.get(proposal.epoch)
        if electorate is None:
            raise ProposalRefused(ProposalFault.EPOCH, str(proposal.epoch))
        if proposal.electorate.digest != electorate.digest:
            raise ProposalRefused(ProposalFault.ELECTORATE, f"of epoch {proposal.epoch}")
        if electorate.find(self.peer_id) is None:
            raise ProposalRefused(ProposalFault.NO_VOICE, f"in epoch {proposal.epoch}")
        if not proposal.threshold.is_at_least(self._at_least):
            detail = f"{proposal.threshold} instead of {self._at_least}"
            raise ProposalRefused(ProposalFault.THRESHOLD, detail)
        if not signed.signed_header.is_genuine(self._check):
            raise ProposalRefused(ProposalFault.SIGNATURE, proposal.proposer)
        if len(self._waiting) >= self._max_waiting:
            raise ProposalRefused(ProposalFault.BUSY, f"{self._max_waiting} of them")

    def check_invariants(self) -> None:
        """For tests."""
        assert not set(self._waiting) & set(self._cast)
        assert len(self._waiting) <= self._max_waiting
        assert all(slot == record.slot for slot, record in self._cast.items())


def _answer(record: CastRecord, askers: Iterable[str]) -> list[Effect]:
    data = record.ballot.to_bytes()
    return [Store(record), *(SendBallot(peer, data) for peer in askers)]
