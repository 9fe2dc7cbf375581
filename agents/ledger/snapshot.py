"""A whole ledger as bytes, and back: what a replica needs that no longer gets the log.

One stream of msgpack values, which may be cut into chunks anywhere:

    ["conclave ledger", version, index, time_ms, next_sequence]
    [JOBS, name, ...]                               in the order in which jobs appeared
    [TASK, spec, sequence, submitted_ms, state, attempts, executions, token, lease, finished_ms,
           result, error, history, terms, votes, decision]   by sequence; the last three only of a
                                                    task that is voted on
    [LEASES, sequence, ...]                         by holder, in the order of the grants
    [FINISHED, sequence, ...]                       in the order in which they became final
    [END]
    32 bytes of BLAKE2b over everything before      as one msgpack bin, always 34 bytes long

`lease` is nil or [peer, agent, incarnation, assigned_ms, deadline_ms]; its token is the task's.
The version is 2 where a task is voted on and 1 where none is, so that nodes that know no votes
agree about every byte until there is one, and refuse it then.
The orders are kept because they decide the order of later verdicts, and what is forgotten first.
Counts and the other indexes follow from the tasks and are built anew.

Invariants: equal ledgers give equal bytes, whether they came from a log or from a snapshot; what is
read is checked in full before anyone sees it; memory for what was read grows only with bytes that
arrived, whatever lengths they claim.
What this module does not know: files, the network, who asks, what the log holds. The counts of
refusals are a replica's own and are not in here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum, StrEnum
from itertools import islice
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types

from agents.errors import AgentsError, MisuseError
from agents.ledger.model import (
    FINAL_STATES,
    MAX_PAYLOAD_BYTES,
    MAX_RESULT_BYTES,
    MAX_TIME_MS,
    State,
)
from agents.ledger.snapshot_rows import fault_of, parse_task, row_of
from agents.ledger.state import LedgerState
from agents.ledger.task import Task
from consensus.kv import FrameFault, FrameLimits, FrameReader, chunks_of

MAGIC: Final = "conclave ledger"
VERSION: Final = 1
VOTED_VERSION: Final = 2
_BATCH: Final = 1000  # sequences or names in one record
LIMITS: Final = FrameLimits(
    record_bytes=MAX_PAYLOAD_BYTES + MAX_RESULT_BYTES + 384 * 1024,
    text_bytes=64 * 1024,
    value_bytes=max(MAX_PAYLOAD_BYTES, MAX_RESULT_BYTES),
    items=_BATCH + 1,
)


class Tag(IntEnum):
    """What a record holds. Numbers are stored and sent: never reuse one. They only grow."""

    JOBS = 1
    TASK = 2
    LEASES = 3
    FINISHED = 4
    END = 5


class SnapshotFault(StrEnum):
    """Why bytes are no snapshot."""

    FOREIGN = "it does not begin like one"
    VERSION = "its version is not known here"
    TRUNCATED = "its end is missing"
    TRAILING = "bytes follow its end"
    CHECKSUM = "its checksum does not match"
    MALFORMED = "a record is not of its shape"
    INCONSISTENT = "its records contradict each other"


class LedgerSnapshotInvalid(AgentsError):
    """Bytes that are no snapshot of a ledger, or a damaged one. Nothing was changed by them."""

    def __init__(self, fault: SnapshotFault, detail: str = "") -> None:
        more = f" ({detail})" if detail else ""
        super().__init__(
            f"a snapshot of the task ledger was refused: {fault.value}{more}; fetch another"
        )
        self.fault = fault
        self.detail = detail


class LedgerChanged(MisuseError):
    """An entry was applied while a snapshot was being taken; what was taken is of no use."""

    def __init__(self, begun_at: int, now_at: int) -> None:
        super().__init__(
            f"the ledger moved on, from index {begun_at} to {now_at}, while a snapshot was taken:"
            " apply nothing between its chunks, or take it again"
        )
        self.begun_at = begun_at
        self.now_at = now_at


def write(state: LedgerState) -> Iterator[bytes]:
    """Chunks of CHUNK_BYTES, the last one shorter, each made when it is asked for.

    Raises:
        LedgerChanged: an entry was applied between two of them.
    """
    begun = (state.index, state.time_ms)

    def check() -> None:
        if (state.index, state.time_ms) != begun:
            raise LedgerChanged(begun[0], state.index)

    yield from chunks_of(_records(state), check)


class SnapshotReader(FrameReader[LedgerState]):
    """Takes chunks of any size; `feed` and `finish` raise `LedgerSnapshotInvalid`."""

    def __init__(self) -> None:
        super().__init__(_Builder(), LIMITS, _refused)


class _Builder:
    """Records into a state, each judged when it comes and the whole at the end."""

    def __init__(self) -> None:
        self._state = LedgerState()
        self._by_sequence: dict[int, Task] = {}
        self._tag: int | None = None  # None: the header is still to come
        self._newest = -1
        self._version = VERSION
        self._placed: set[int] = set()  # only asked, never walked

    def take(self, record: Any) -> None:
        if self._tag is None:
            self._take_header(record)
            return
        if self._tag == Tag.END:
            raise LedgerSnapshotInvalid(SnapshotFault.TRAILING)
        if not isinstance(record, list) or not record or type(record[0]) is not int:
            raise _malformed("a record without a tag")
        tag, fields = record[0], record[1:]
        if tag < self._tag:
            raise _malformed("records out of order")
        self._tag = tag
        match tag:
            case Tag.TASK:
                self._take_task(fields)
            case Tag.JOBS:
                self._take_jobs(fields)
            case Tag.LEASES | Tag.FINISHED:
                for sequence in fields:
                    self._take_place(tag, sequence)
            case Tag.END if not fields:
                pass
            case _:
                raise _malformed(f"a record of kind {tag}")

    def check_ended(self) -> None:
        if self._tag != Tag.END:
            raise LedgerSnapshotInvalid(SnapshotFault.TRUNCATED)

    def finish(self) -> LedgerState:
        """The state, once every task is where its state says and every job has a task."""
        state = self._state
        placed = len(state.leases) + len(state.finished)
        if placed != sum(state.counts[kind] for kind in (State.ASSIGNED, *sorted(FINAL_STATES))):
            raise _inconsistent("a task is missing among leases or finished tasks")
        if not all(any(counts.values()) for counts in state.jobs.values()):
            raise _inconsistent("a job without tasks")
        if bool(state.voted) != (self._version == VOTED_VERSION):
            raise _inconsistent("a version that is not that of its tasks")
        return state

    def _take_header(self, record: Any) -> None:
        if not isinstance(record, list) or not record or record[0] != MAGIC:
            raise LedgerSnapshotInvalid(SnapshotFault.FOREIGN)
        if len(record) < 2 or type(record[1]) is not int:
            raise LedgerSnapshotInvalid(SnapshotFault.VERSION)
        if record[1] not in (VERSION, VOTED_VERSION):
            raise LedgerSnapshotInvalid(SnapshotFault.VERSION)
        numbers = record[2:]
        if len(numbers) != 3 or not all(type(n) is int and 0 <= n <= MAX_TIME_MS for n in numbers):
            raise _malformed("the header")
        self._state.index, self._state.time_ms, self._state.next_sequence = numbers
        self._version = record[1]
        self._tag = 0

    def _take_jobs(self, names: list[Any]) -> None:
        for name in names:
            if type(name) is not str or name in self._state.jobs:
                raise _malformed("a job's name")
            self._state.open_job(name)

    def _take_task(self, fields: list[Any]) -> None:
        task = parse_task(fields)
        if task is None:
            raise _malformed("a task")
        fault = fault_of(task, self._state)
        if fault is None and task.sequence <= self._newest:
            fault = "not by sequence"
        if fault is not None:
            raise _inconsistent(f"task {task.task_id}: {fault}")
        self._newest = task.sequence
        self._by_sequence[task.sequence] = task
        self._state.put_back(task)

    def _take_place(self, tag: int, sequence: Any) -> None:
        task = self._by_sequence.get(sequence) if type(sequence) is int else None
        if task is None or sequence in self._placed:
            raise _inconsistent("a place for no task, or for one that has it already")
        self._placed.add(sequence)
        if tag == Tag.LEASES and task.lease is not None:
            self._state.leases.add(task)
        elif tag == Tag.FINISHED and task.state in FINAL_STATES:
            self._state.add_finished(task)
        else:
            raise _inconsistent(f"task {task.task_id} in a place that is not its own")


def _records(state: LedgerState) -> Iterator[bytes]:
    pack = msgpack.Packer(use_bin_type=True).pack
    version = VOTED_VERSION if state.voted else VERSION
    yield pack([MAGIC, version, state.index, state.time_ms, state.next_sequence])
    for names in _batches(state.jobs):
        yield pack([Tag.JOBS, *names])
    for task in state.tasks.values():  # a new task is the last: they are by sequence
        yield pack([Tag.TASK, *row_of(task)])
    for sequences in _batches(task.sequence for task in state.leases):
        yield pack([Tag.LEASES, *sequences])
    for sequences in _batches(task.sequence for task in state.finished.values()):
        yield pack([Tag.FINISHED, *sequences])
    yield pack([Tag.END])


def _batches(values: Iterable[Any]) -> Iterator[list[Any]]:
    """`itertools.batched` is not in every Python that we run on."""
    iterator = iter(values)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def _refused(fault: FrameFault) -> LedgerSnapshotInvalid:
    if fault is FrameFault.TRUNCATED:
        return LedgerSnapshotInvalid(SnapshotFault.TRUNCATED)
    if fault is FrameFault.CHECKSUM:
        return LedgerSnapshotInvalid(SnapshotFault.CHECKSUM)
    return _malformed("no msgpack" if fault is FrameFault.UNREADABLE else "a record too large")


def _malformed(detail: str) -> LedgerSnapshotInvalid:
    return LedgerSnapshotInvalid(SnapshotFault.MALFORMED, detail)


def _inconsistent(detail: str) -> LedgerSnapshotInvalid:
    return LedgerSnapshotInvalid(SnapshotFault.INCONSISTENT, detail)
