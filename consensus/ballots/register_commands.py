"""What the log carries for the register of decisions, byte for byte, and what it answers.

    command   magic | kind u8 | body
    opened    the proposal
    closed    the certificate
    expired   proposal id | round u32
    evidence  the evidence
    forgotten count u32 | proposal ids
    blocked   the blocking: ballots after which nothing can be approved

What this module does not know: which command is accepted when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from consensus.ballots.ballot import MAX_EVIDENCE_BYTES, Evidence
from consensus.ballots.certificate import MAX_CERTIFICATE_BYTES
from consensus.ballots.proposal import ID_BYTES, MAX_PROPOSAL_BYTES, MAX_ROUND, Proposal
from consensus.ballots.wire import Reader, Writer

MAGIC: Final = b"CNBR\x01"
MAX_FORGOTTEN: Final = 256  # by one command
MAX_COMMAND_BYTES: Final = MAX_CERTIFICATE_BYTES + 64


class ReplyCode(StrEnum):
    """What became of a command. Only DONE changed anything, and CONFLICT, which kept evidence."""

    DONE = "done"
    REPEATED = "it was so already"
    MALFORMED = "not a command"
    OTHER_CLUSTER = "of another cluster"
    FUTURE_EPOCH = "of an epoch that is still to come"
    KNOWN_ID = "another text stands under this id"
    OTHER_ROUND = "not the round that stands under this id"
    FULL = "the register is full: forget the oldest closed ones"
    UNKNOWN = "no such proposal stands here"
    CLOSED = "it was closed before, and otherwise"
    OTHER_TEXT = "for another text than the one that was opened"
    CERTIFICATE_INVALID = "the certificate proves nothing"
    CONFLICT = "two certificates: somebody signed both"
    NOT_DUE = "its time is not over"
    BLOCKING_INVALID = "these ballots do not block it"
    EVIDENCE_INVALID = "the evidence proves nothing"
    FOREIGN_VOTER = "the accused is no elector of it"
    NOT_OLDEST = "these are not the oldest closed ones"


@dataclass(frozen=True, slots=True)
class Reply:
    """The same on every replica."""

    code: ReplyCode
    proposal_id: str = ""
    why: str = ""
    accused: tuple[str, ...] = ()  # peer ids, with CONFLICT


@dataclass(frozen=True, slots=True)
class OpenProposal:
    proposal: Proposal


@dataclass(frozen=True, slots=True)
class CloseProposal:
    certificate: bytes


@dataclass(frozen=True, slots=True)
class ExpireProposal:
    proposal_id: str
    round: int


@dataclass(frozen=True, slots=True)
class KeepEvidence:
    raw: bytes


@dataclass(frozen=True, slots=True)
class ForgetProposals:
    proposal_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BlockProposal:
    blocking: bytes


Command = (
    OpenProposal | CloseProposal | ExpireProposal | KeepEvidence | ForgetProposals | BlockProposal
)


def opened(proposal: Proposal) -> bytes:
    return _begin(1).blob(proposal.raw).take()


def closed(certificate: bytes) -> bytes:
    return _begin(2).blob(certificate).take()


def expired(proposal_id: str, round_number: int) -> bytes:
    return _begin(3).fixed(bytes.fromhex(proposal_id), ID_BYTES).u32(round_number).take()


def evidence(found: Evidence) -> bytes:
    return _begin(4).blob(found.encode()).take()


def forgotten(proposal_ids: Sequence[str]) -> bytes:
    writer = _begin(5).u32(len(proposal_ids))
    for each in proposal_ids:
        writer.fixed(bytes.fromhex(each), ID_BYTES)
    return writer.take()


def blocked(blocking: bytes) -> bytes:
    return _begin(6).blob(blocking).take()


def decode(data: bytes) -> Command:
    """
    Raises:
        Malformed: these bytes are not a command. What a certificate or evidence says is not read.
    """
    reader = Reader("command of the register", data, MAX_COMMAND_BYTES)
    reader.magic(MAGIC)
    kind = reader.u8()
    command: Command
    if kind == 1:
        command = OpenProposal(Proposal.decode(reader.blob(MAX_PROPOSAL_BYTES)))
    elif kind == 2:
        command = CloseProposal(reader.blob(MAX_CERTIFICATE_BYTES))
    elif kind == 3:
        command = ExpireProposal(reader.fixed(ID_BYTES).hex(), reader.u32(MAX_ROUND))
    elif kind == 4:
        command = KeepEvidence(reader.blob(MAX_EVIDENCE_BYTES))
    elif kind == 5:
        count = reader.u32(MAX_FORGOTTEN)
        command = ForgetProposals(tuple(reader.fixed(ID_BYTES).hex() for _ in range(count)))
    elif kind == 6:
        command = BlockProposal(reader.blob(MAX_CERTIFICATE_BYTES))
    else:
        raise reader.fault(f"of an unknown kind, {kind}")
    reader.finish()
    return command


def _begin(kind: int) -> Writer:
    return Writer().fixed(MAGIC, len(MAGIC)).u8(kind)
