"""Whether an audit log is whole: the first entry that is not as it was written, and what was done.

A file is `(first sequence number, bytes)`, in order. Rules, in the order in which a file is read:

1. a log begins with entry 1, or behind what a `log.dropped` entry of it says was dropped;
2. a file begins with the entry that it is named after, and all but the last end with a checkpoint;
3. each entry has the next number and the digest of the one before;
4. each checkpoint is of the node's key, and of the entry before it.

What stands behind the last checkpoint may be unfinished: a crash leaves that. Then the latest heads
that others hold are compared: a log that ends before one of them was cut short.

What this module does not know: files' names on disk, who holds heads, where the key is from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from keys.auditing.entry import (
    START,
    AuditEntry,
    Checkpoint,
    Head,
    decode_audit_entry,
    decode_checkpoint,
    frames,
    is_checkpoint,
    last_signed_after,
)
from keys.canonical import NotCanonical
from keys.identity import peer_id_of

DROPPED: Final = "log.dropped"
THROUGH: Final = "through"  # of such an entry: the number of the last one that was dropped


class Fault(StrEnum):
    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    REORDERED = "reordered"
    TRUNCATED = "truncated"
    SIGNATURE = "signature"


@dataclass(frozen=True, slots=True)
class AuditProblem:
    """The first thing that is wrong.

    Attributes:
        file: the number that its file is named after.
        sequence: of the first bad entry.
        through: where the chain was made again up to a checkpoint, it is one from `sequence` to
            this; otherwise the same number.
    """

    fault: Fault
    file: int
    sequence: int
    through: int
    said: str


@dataclass(slots=True)
class AuditVerdict:
    """What was found.

    Attributes:
        unsigned: entries behind the last checkpoint; a crash leaves some.
        torn_bytes: an unfinished end, which the node cuts off at its next start.
        compared: heads of others that this log could be compared with.
    """

    first: int = 0
    last: int = 0
    checkpoints: int = 0
    signed: int = 0
    torn_bytes: int = 0
    compared: int = 0
    problem: AuditProblem | None = None

    @property
    def unsigned(self) -> int:
        return self.last - max(self.signed, self.first - 1)


class _Bad(Exception):
    def __init__(self, fault: Fault, sequence: int, said: str, through: int = 0) -> None:
        self.fault, self.sequence, self.said = fault, sequence, said
        self.through = through or sequence


def verify_log(
    files: Iterable[tuple[int, bytes]], public_key: bytes, held: Iterable[Checkpoint] = ()
) -> AuditVerdict:
    """Read a whole log; the first problem ends the reading.

    Args:
        held: heads that others keep; those that this key did not sign are left out.
    """
    heads = [one for one in held if one.is_signed_by(public_key)]
    walk = _Walk(public_key, {one.head.sequence for one in heads})
    name = 0
    try:
        for name, data in files:
            walk.begin_file(name)
            walk.read(data)
        walk.check_beginning()
        walk.compare(heads)
    except _Bad as bad:
        walk.verdict.problem = AuditProblem(bad.fault, name, bad.sequence, bad.through, bad.said)
    return walk.verdict


class _Walk:
    """One reading of a log."""

    def __init__(self, public_key: bytes, wanted: set[int]) -> None:
        self.verdict = AuditVerdict()
        self._public_key = public_key
        self._wanted = wanted
        self._seen: dict[int, bytes] = {}
        self._head = START
        self._before = 0  # the number before the first entry
        self._dropped = 0  # through this entry, as the log itself says
        self._left_open = False  # entries of an earlier file without a checkpoint behind them
        self._torn = False

    def begin_file(self, name: int) -> None:
        if self._torn:
            raise _Bad(
                Fault.CHANGED,
                self._head.sequence + 1,
                "the file before this one ends in something that is no entry",
            )
        if self._left_open:
            raise _Bad(
                Fault.REMOVED,
                self._head.sequence,
                "the file before this one ends without a checkpoint",
            )
        if not self.verdict.first:
            self._head = Head(name - 1, b"")
            self._before = name - 1
            self.verdict.first = name
            self.verdict.last = self.verdict.signed = name - 1
        elif name != self._head.sequence + 1:
            raise self._gap(name, b"")

    def read(self, data: bytes) -> None:
        for offset, raw in frames(data):
            if raw is None:
                self._end_in_pieces(data, offset)
                return
            try:
                if not is_checkpoint(raw):
                    self._entry(decode_audit_entry(raw), data[offset:])
                    continue
                checkpoint = decode_checkpoint(raw)
            except NotCanonical:
                self._end_in_pieces(data, offset)
                return
            if self._is_unfinished(checkpoint):
                self._end_in_pieces(data, offset, Fault.SIGNATURE)
                return
            self._checkpoint(checkpoint)
        self._left_open = self.verdict.last > self.verdict.signed

    def _is_unfinished(self, checkpoint: Checkpoint) -> bool:
        """It names our key, and perhaps not all of its signature came to stand."""
        is_ours = checkpoint.peer_id == peer_id_of(self._public_key)
        return is_ours and not checkpoint.is_signed_by(self._public_key)

    def _end_in_pieces(self, data: bytes, offset: int, fault: Fault = Fault.CHANGED) -> None:
        """An unfinished end, or something that was broken while what is behind it was written."""
        later = last_signed_after(data, offset, self._public_key)
        if later is not None and later.head.sequence >= self._head.sequence:
            said = f"it cannot be read, and entry {later.head.sequence} behind it is signed"
            sequence = self._head.sequence + (fault is Fault.CHANGED)
            raise _Bad(fault, sequence, said)
        self._torn = True
        self.verdict.torn_bytes = len(data) - offset

    def _entry(self, entry: AuditEntry, rest: bytes) -> None:
        expected = self._head.sequence + 1
        if entry.sequence != expected:
            raise self._gap(entry.sequence, rest)
        if self._head.digest and entry.previous != self._head.digest:
            at_signed = self._head.sequence == self.verdict.signed
            bad = expected if at_signed or expected == 1 else expected - 1
            raise _Bad(Fault.CHANGED, bad, "its digest is not the one that the next entry names")
        if expected == 1 and entry.previous != START.digest:
            raise _Bad(Fault.CHANGED, 1, "the first entry names one before it")
        self._head = entry.head
        self.verdict.last = entry.sequence
        if entry.sequence in self._wanted:
            self._seen[entry.sequence] = entry.digest
        if entry.note.kind == DROPPED:
            through = entry.note.detail.get(THROUGH)
            self._dropped = max(self._dropped, through if isinstance(through, int) else 0)

    def _gap(self, sequence: int, rest: bytes) -> _Bad:
        expected = self._head.sequence + 1
        if sequence < expected:
            return _Bad(Fault.INSERTED, sequence, "an entry of this number stands there twice")
        if expected in _numbers_in(rest):
            return _Bad(Fault.REORDERED, expected, f"entry {sequence} stands before it")
        until = f"to {sequence - 1} are" if sequence - 1 > expected else "is"
        return _Bad(Fault.REMOVED, expected, f"entry {expected} {until} missing")

    def _checkpoint(self, checkpoint: Checkpoint) -> None:
        expected = self._head
        sequence = checkpoint.head.sequence
        if not checkpoint.is_signed_by(self._public_key):
            said = f"the checkpoint of entry {sequence} is not signed by this node's key"
            raise _Bad(Fault.SIGNATURE, sequence, said)
        if sequence > expected.sequence:
            raise self._gap(sequence + 1, b"")
        if sequence < expected.sequence:
            bad = max(sequence, self.verdict.signed) + 1
            raise _Bad(Fault.REORDERED, bad, f"the checkpoint of entry {sequence} follows it")
        if expected.digest and checkpoint.head.digest != expected.digest:
            since = min(self.verdict.signed + 1, sequence)
            span = f"one of the entries {since} to {sequence}" if since < sequence else "it"
            raise _Bad(Fault.CHANGED, since, f"{span} is not as it was signed", sequence)
        self.verdict.signed = sequence
        self.verdict.checkpoints += 1

    def check_beginning(self) -> None:
        if self._before > self._dropped:
            said = f"the log begins with entry {self._before + 1}, and no entry says why"
            raise _Bad(Fault.REMOVED, 1 + self._dropped, said)

    def compare(self, heads: Iterable[Checkpoint]) -> None:
        for one in sorted(heads, key=lambda one: one.head.sequence):
            sequence, digest = one.head
            if sequence > self.verdict.last:
                first = self.verdict.last + 1
                said = f"others hold the signed head of entry {sequence}; the log ends before it"
                raise _Bad(Fault.TRUNCATED, first, said)
            if sequence in self._seen:
                self.verdict.compared += 1
                if self._seen[sequence] != digest:
                    said = "others hold another head of this number, which this node signed"
                    raise _Bad(Fault.CHANGED, sequence, said)


def _numbers_in(data: bytes) -> set[int]:
    """The numbers of what can still be read as entries."""
    found: set[int] = set()
    for _, raw in frames(data):
        if raw is not None and not is_checkpoint(raw):
            try:
                found.add(decode_audit_entry(raw).sequence)
            except NotCanonical:
                continue
    return found
