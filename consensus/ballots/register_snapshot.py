"""The register's state, and its one form as a snapshot.

    head      magic | cluster | ledger time | limits | how many of each kind follow
    open      one chunk each, in the order of ids
    closed    one chunk each, in the order in which they were closed; with the certificate, or the
              ballots that blocked it
    evidence  one chunk each, in the order of (proposal id, voter)

What this module does not know: commands, signatures. `read` is total: whatever the chunks are, it
gives a state that `write` would have written, or `SnapshotInvalid`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from consensus.ballots.ballot import MAX_BALLOT_BYTES, MAX_EVIDENCE_BYTES, Evidence
from consensus.ballots.blocking import Blocking
from consensus.ballots.certificate import MAX_CERTIFICATE_BYTES, QuorumCertificate
from consensus.ballots.errors import BallotsError
from consensus.ballots.proposal import MAX_NAME_BYTES, MAX_PROPOSAL_BYTES, Proposal
from consensus.ballots.tally import Status
from consensus.ballots.wire import MAX_INTEGER, Reader, Writer
from consensus.errors import SnapshotInvalid

MAGIC: Final = b"CNBS\x01"
MAX_EVIDENCE: Final = 1_000  # in the whole register
MAX_CHUNK_BYTES: Final = MAX_PROPOSAL_BYTES + MAX_CERTIFICATE_BYTES + 256

_CLOSED: Final = (
    Status.APPROVED,
    Status.REJECTED,
    Status.VETOED,
    Status.EXPIRED,
    Status.BLOCKED,
)


@dataclass(frozen=True, slots=True)
class Decision:
    """One proposal's latest round. Times are ledger time."""

    proposal: Proposal
    status: Status
    opened_index: int
    opened_ms: int
    due_ms: int
    closed_index: int = 0
    closed_ms: int = 0
    certificate: bytes | None = None  # of one that is approved, rejected or vetoed
    blocking: bytes | None = None  # of one that is blocked

    def closed(self, status: Status, index: int, time_ms: int, proof: bytes | None) -> Decision:
        """`proof` is the certificate, or what blocked it, or None of one that expired."""
        is_blocked = status is Status.BLOCKED
        return replace(
            self,
            status=status,
            closed_index=index,
            closed_ms=time_ms,
            certificate=None if is_blocked else proof,
            blocking=proof if is_blocked else None,
        )

    @property
    def cost(self) -> int:
        """Bytes held; for an open one also those that its certificate may take."""
        size = len(self.proposal.raw)
        if self.status is Status.OPEN:
            return 2 * size + 2 * len(self.proposal.electors) * (MAX_BALLOT_BYTES + 4) + 64
        return size + len(self.certificate or self.blocking or b"")

    @property
    def order(self) -> tuple[int, str]:
        """When it was opened; several may be by one entry."""
        return self.opened_index, self.proposal.proposal_id


@dataclass(frozen=True, slots=True)
class RegisterState:
    """Everything that replicas share."""

    time_ms: int
    open: dict[str, Decision]
    closed: dict[str, Decision]  # in the order of closing
    evidence: dict[tuple[str, bytes], bytes]  # by proposal id and voter


def write(state: RegisterState, cluster_id: str, limits: tuple[int, int]) -> Iterator[bytes]:
    """Equal states give equal chunks."""
    head = Writer().fixed(MAGIC, len(MAGIC)).text(cluster_id).u64(state.time_ms)
    head.u64(limits[0]).u64(limits[1])
    head.u32(len(state.open)).u32(len(state.closed)).u32(len(state.evidence))
    yield head.take()
    for _, decision in sorted(state.open.items()):
        yield _opened(decision).take()
    for decision in state.closed.values():
        writer = _opened(decision).u8(_CLOSED.index(decision.status))
        writer.u64(decision.closed_index).u64(decision.closed_ms)
        yield writer.blob(decision.certificate or decision.blocking or b"").take()
    for _, raw in sorted(state.evidence.items()):
        yield raw


def read(chunks: Iterable[bytes], cluster_id: str, limits: tuple[int, int]) -> RegisterState:
    """
    Raises:
        SnapshotInvalid: they are not what `write` writes for such a register.
    """
    parts = iter(chunks)
    try:
        head = Reader("snapshot of the register", next(parts, b""), MAX_CHUNK_BYTES)
        head.magic(MAGIC)
        if head.text(MAX_NAME_BYTES) != cluster_id:
            raise head.fault("of another cluster")
        state = RegisterState(head.u64(), {}, {}, {})
        if (head.u64(), head.u64()) != limits:
            raise head.fault("of a register with other limits")
        counts = head.u32(limits[0]), head.u32(limits[0]), head.u32(MAX_EVIDENCE)
        head.finish()
        for _ in range(counts[0]):
            _read_open(state, next(parts, b""))
        for _ in range(counts[1]):
            _read_closed(state, next(parts, b""))
        for _ in range(counts[2]):
            _read_evidence(state, next(parts, b""))
        if next(parts, None) is not None:
            raise head.fault("chunks follow its end")
        every = (*state.open.values(), *state.closed.values())
        if len(every) > limits[0] or sum(each.cost for each in every) > limits[1]:
            raise head.fault("more decisions than there may be")
    except BallotsError as error:
        raise SnapshotInvalid(str(error)) from error
    return state


def _opened(decision: Decision) -> Writer:
    writer = Writer().blob(decision.proposal.raw)
    return writer.u64(decision.opened_index).u64(decision.opened_ms)


def _read_opened(reader: Reader, state: RegisterState) -> Decision:
    proposal = Proposal.decode(reader.blob(MAX_PROPOSAL_BYTES))
    opened_index, opened_ms = reader.u64(), reader.u64()
    due_ms = min(opened_ms + proposal.deadline_ms, MAX_INTEGER)
    key = proposal.proposal_id
    if opened_ms > state.time_ms or proposal.epoch > opened_index:
        raise reader.fault("opened later than it was")
    if key in state.open or key in state.closed:
        raise reader.fault("one proposal is there twice")
    return Decision(proposal, Status.OPEN, opened_index, opened_ms, due_ms)


def _read_open(state: RegisterState, chunk: bytes) -> None:
    reader = Reader("open decision", chunk, MAX_CHUNK_BYTES)
    decision = _read_opened(reader, state)
    reader.finish()
    key = decision.proposal.proposal_id
    if state.open and key < next(reversed(state.open)):
        raise reader.fault("out of order")
    state.open[key] = decision


def _read_closed(state: RegisterState, chunk: bytes) -> None:
    reader = Reader("closed decision", chunk, MAX_CHUNK_BYTES)
    decision = _read_opened(reader, state)
    status = _CLOSED[reader.u8(len(_CLOSED) - 1)]
    closed_index, closed_ms = reader.u64(), reader.u64()
    proof = reader.blob(MAX_CERTIFICATE_BYTES) or None
    reader.finish()
    if not decision.opened_ms <= closed_ms <= state.time_ms:
        raise reader.fault("closed before it was opened, or later than now")
    if state.closed and next(reversed(state.closed.values())).closed_ms > closed_ms:
        raise reader.fault("out of order")
    if (proof is None) != (status is Status.EXPIRED):
        raise reader.fault("an outcome without its certificate, or the other way round")
    if proof is not None and status is Status.BLOCKED:
        blocking = Blocking.from_bytes(proof)
        if blocking.proposal_id != decision.proposal.proposal_id:
            raise reader.fault("ballots on something else")
    elif proof is not None:
        claim = QuorumCertificate.from_bytes(proof)
        if (claim.proposal, claim.outcome) != (decision.proposal, status):
            raise reader.fault("a certificate of something else")
    key = decision.proposal.proposal_id
    state.closed[key] = decision.closed(status, closed_index, closed_ms, proof)


def _read_evidence(state: RegisterState, chunk: bytes) -> None:
    reader = Reader("evidence", chunk, MAX_EVIDENCE_BYTES)
    found = Evidence.decode(chunk)
    key = (found.proposal_id, found.voter)
    decision = state.open.get(key[0]) or state.closed.get(key[0])
    if decision is None:
        raise reader.fault("about a proposal that is not there")
    if state.evidence and key <= next(reversed(state.evidence)):
        raise reader.fault("out of order, or twice")
    state.evidence[key] = chunk
