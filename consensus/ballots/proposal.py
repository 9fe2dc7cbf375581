"""What is put to a vote, by whom it is decided and how much it takes.

A proposal carries its electorate: the voters of one epoch (the log index of their configuration)
with their weights, frozen when it was made (V2). Its digest covers everything, so a ballot that
names the digest is about this text, this electorate and this threshold and about nothing else.

The threshold is a fraction that must be *exceeded*: a proposal passes if
`denominator * yes > numerator * total`, in integers (V1). It is at least one half, so that yes and
no can never both pass.

What this module does not know: who votes what, signatures, whether the electorate is really that
of the epoch, when the deadline began.

Invariants: a `Proposal` that exists is valid; equal proposals have equal bytes and digests.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from consensus.ballots.errors import NotByzantine, ProposalInvalid
from consensus.ballots.scheme import KEY_BYTES
from consensus.ballots.wire import MAX_INTEGER, Reader, Writer

MAGIC: Final = b"CNBP\x01"
DIGEST_BYTES: Final = 32
ID_BYTES: Final = 16
MAX_ELECTORS: Final = 128
MAX_WEIGHT: Final = 2**31 - 1
MAX_NAME_BYTES: Final = 256
MAX_QUESTION_BYTES: Final = 4 * 1024
MAX_SUBJECT_BYTES: Final = 64 * 1024
MAX_KIND_BYTES: Final = 64
MAX_ROUND: Final = 2**31 - 1
MAX_DENOMINATOR: Final = 1_000_000
TWO_THIRDS: Final = (2, 3)
BYZANTINE_ELECTORS: Final = 4
MAX_PROPOSAL_BYTES: Final = (
    MAX_QUESTION_BYTES + MAX_SUBJECT_BYTES + MAX_ELECTORS * (2 * MAX_NAME_BYTES + 64) + 1024
)

_ID: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, order=True)
class Elector:
    """One who may vote. The key is who it is; the name is for people and proves nothing."""

    peer_id: str
    public_key: bytes
    weight: int = 1
    may_veto: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Make one with `make`, read one with `decode`."""

    proposal_id: str  # 16 bytes as 32 hexadecimal digits, drawn by the caller
    cluster_id: str
    epoch: int  # log index of the voters' configuration
    electors: tuple[Elector, ...]  # sorted
    threshold: tuple[int, int]
    question: str
    subject: bytes
    kind: str
    round: int
    deadline_ms: int  # a duration, from when the log opened it
    proposer: str  # peer id
    raw: bytes = field(init=False, repr=False, compare=False)
    digest: bytes = field(init=False, repr=False, compare=False)
    electorate_digest: bytes = field(init=False, repr=False, compare=False)
    total_weight: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self)
        object.__setattr__(self, "raw", _encode(self))
        object.__setattr__(self, "digest", _digest(b"proposal", self.raw))
        object.__setattr__(self, "electorate_digest", electorate_digest(self.electors))
        object.__setattr__(self, "total_weight", sum(each.weight for each in self.electors))

    @classmethod
    def make(
        cls,
        *,
        proposal_id: str,
        cluster_id: str,
        epoch: int,
        electors: Iterable[Elector],
        question: str,
        proposer: str,
        deadline_ms: int,
        subject: bytes = b"",
        kind: str = "",
        round: int = 0,
        threshold: tuple[int, int] = TWO_THIRDS,
        byzantine: bool = False,
    ) -> Proposal:
        """
        Args:
            electors: in any order.
            byzantine: refuse an electorate that one liar can mislead.

        Raises:
            ProposalInvalid: it cannot be put to a vote.
            NotByzantine: `byzantine` was asked for and there are fewer than four electors.
        """
        proposal = cls(
            proposal_id=proposal_id,
            cluster_id=cluster_id,
            epoch=epoch,
            electors=tuple(sorted(electors)),
            threshold=threshold,
            question=question,
            subject=subject,
            kind=kind,
            round=round,
            deadline_ms=deadline_ms,
            proposer=proposer,
        )
        if byzantine and len(proposal.electors) < BYZANTINE_ELECTORS:
            raise NotByzantine(len(proposal.electors))
        return proposal

    @classmethod
    def decode(cls, raw: bytes) -> Proposal:
        """
        Raises:
            Malformed: these bytes are not one that could be put to a vote.
        """
        reader = Reader("proposal", raw, MAX_PROPOSAL_BYTES)
        reader.magic(MAGIC)
        try:
            proposal = cls(
                proposal_id=reader.fixed(ID_BYTES).hex(),
                cluster_id=reader.text(MAX_NAME_BYTES),
                epoch=reader.u64(),
                electors=_electors(reader),
                threshold=(reader.u32(), reader.u32()),
                question=reader.text(MAX_QUESTION_BYTES),
                subject=reader.blob(MAX_SUBJECT_BYTES),
                kind=reader.text(MAX_KIND_BYTES),
                round=reader.u32(),
                deadline_ms=reader.u64(),
                proposer=reader.text(MAX_NAME_BYTES),
            )
        except ProposalInvalid as error:
            raise reader.fault(str(error)) from error
        reader.finish()
        if proposal.raw != raw:
            raise reader.fault("not its one byte form")
        return proposal

    def elector(self, public_key: bytes) -> Elector | None:
        return next((each for each in self.electors if each.public_key == public_key), None)

    def passes(self, weight: int) -> bool:
        """Whether this much weight is strictly more than the threshold (V1)."""
        numerator, denominator = self.threshold
        return denominator * weight > numerator * self.total_weight

    @property
    def quorum_weight(self) -> int:
        """The least weight that passes."""
        numerator, denominator = self.threshold
        return numerator * self.total_weight // denominator + 1


def byzantine_faults(electors: int) -> int:
    """How many of so many may lie without deciding anything."""
    return max(0, (electors - 1) // 3)


def electorate_digest(electors: Iterable[Elector]) -> bytes:
    """The digest of these electors, in whatever order they come."""
    writer = Writer()
    _write_electors(writer, tuple(sorted(electors)))
    return _digest(b"electorate", writer.take())


def _digest(domain: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(
        b"conclave/" + domain + b"/v1\0" + data, digest_size=DIGEST_BYTES
    ).digest()


def _encode(proposal: Proposal) -> bytes:
    writer = Writer().fixed(MAGIC, len(MAGIC))
    writer.fixed(bytes.fromhex(proposal.proposal_id), ID_BYTES)
    writer.text(proposal.cluster_id).u64(proposal.epoch)
    _write_electors(writer, proposal.electors)
    writer.u32(proposal.threshold[0]).u32(proposal.threshold[1])
    writer.text(proposal.question).blob(proposal.subject).text(proposal.kind)
    writer.u32(proposal.round).u64(proposal.deadline_ms).text(proposal.proposer)
    return writer.take()


def _write_electors(writer: Writer, electors: tuple[Elector, ...]) -> None:
    writer.u32(len(electors))
    for each in electors:
        writer.text(each.peer_id).fixed(each.public_key, KEY_BYTES)
        writer.u32(each.weight).u8(int(each.may_veto)).text(each.name)


def _electors(reader: Reader) -> tuple[Elector, ...]:
    return tuple(
        Elector(
            peer_id=reader.text(MAX_NAME_BYTES),
            public_key=reader.fixed(KEY_BYTES),
            weight=reader.u32(),
            may_veto=bool(reader.u8(1)),
            name=reader.text(MAX_NAME_BYTES),
        )
        for _ in range(reader.u32(MAX_ELECTORS))
    )


def _check(proposal: Proposal) -> None:
    if not _ID.fullmatch(proposal.proposal_id):
        raise ProposalInvalid("proposal_id", "not 32 lowercase hexadecimal digits")
    _check_text("cluster_id", proposal.cluster_id, MAX_NAME_BYTES, lowest=1)
    _check_text("proposer", proposal.proposer, MAX_NAME_BYTES, lowest=1)
    _check_text("question", proposal.question, MAX_QUESTION_BYTES, lowest=1)
    _check_text("kind", proposal.kind, MAX_KIND_BYTES)
    if len(proposal.subject) > MAX_SUBJECT_BYTES:
        raise ProposalInvalid("subject", f"more than {MAX_SUBJECT_BYTES:,} bytes")
    _check_integer("epoch", proposal.epoch, 0, MAX_INTEGER)
    _check_integer("round", proposal.round, 0, MAX_ROUND)
    _check_integer("deadline_ms", proposal.deadline_ms, 1, MAX_INTEGER)
    numerator, denominator = proposal.threshold
    _check_integer("threshold", denominator, 1, MAX_DENOMINATOR)
    _check_integer("threshold", numerator, 0, denominator - 1)
    if 2 * numerator < denominator:
        raise ProposalInvalid("threshold", "below one half yes and no could both pass")
    _check_electors(proposal.electors)


def _check_electors(electors: tuple[Elector, ...]) -> None:
    if not 1 <= len(electors) <= MAX_ELECTORS:
        raise ProposalInvalid("electors", f"{len(electors)}, and 1 to {MAX_ELECTORS} may vote")
    for each in electors:
        _check_text("electors", each.peer_id, MAX_NAME_BYTES, lowest=1)
        _check_text("electors", each.name, MAX_NAME_BYTES)
        _check_integer(f"weight of {each.peer_id}", each.weight, 1, MAX_WEIGHT)
        if len(each.public_key) != KEY_BYTES:
            raise ProposalInvalid("electors", f"{each.peer_id} has no key of {KEY_BYTES} bytes")
    if len({each.public_key for each in electors}) != len(electors):
        raise ProposalInvalid("electors", "one key is there twice")
    if len({each.peer_id for each in electors}) != len(electors):
        raise ProposalInvalid("electors", "one peer id is there twice")
    if list(electors) != sorted(electors):
        raise ProposalInvalid("electors", "not sorted")


def _check_text(field_name: str, value: str, highest: int, lowest: int = 0) -> None:
    try:
        length = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise ProposalInvalid(field_name, "not text that has bytes") from None
    if not lowest <= length <= highest:
        raise ProposalInvalid(field_name, f"{length:,} bytes, and {lowest} to {highest:,} may be")


def _check_integer(field_name: str, value: int, lowest: int, highest: int) -> None:
    if type(value) is not int or not lowest <= value <= highest:
        raise ProposalInvalid(field_name, f"{value} is not from {lowest} to {highest}")
