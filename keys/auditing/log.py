"""The audit log's files in the home: `audit/<number of the first entry>.audit`, append only.

One `append` writes entries, fsyncs, and then the checkpoint behind them, fsyncs: so what stands
before a checkpoint was durable before it, and when `append` returns all of it survives a power
cut. Several processes may append, a node and a command
beside it: each holds `audit/lock` while it does, and goes on where the files end.

At the end of the last file a crash may leave something unfinished: it is cut off, and an entry says
so. Whatever is broken before a checkpoint is somebody's work: that file is left as it is, and a
new one goes on behind the last signed entry and says so.

When all files together are larger than allowed, the oldest is removed, after the entry that says
so is durable and signed.

What this module does not know: the event loop, which entries there are. A write that fails leaves
the files as they were.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from keys.auditing.entry import (
    LENGTH_BYTES,
    START,
    AuditEntry,
    AuditNote,
    Checkpoint,
    Head,
    decode_audit_entry,
    decode_checkpoint,
    frame,
    frames,
    is_checkpoint,
    last_signed_after,
    link,
    number_of,
    sign_head,
)
from keys.auditing.verdict import DROPPED, THROUGH
from keys.canonical import NotCanonical
from keys.errors import AuditUnwritable, HomeInUse, KeystoreError
from keys.files import (
    PRIVATE_FILE,
    make_private_directory,
    names_in,
    read_file,
    remove_file,
    sync_directory,
)
from keys.identity import Identity
from keys.lock import hold_lock

DIRECTORY: Final = "audit"
DEFAULT_LIMIT_BYTES: Final = 64 << 20
MIN_LIMIT_BYTES: Final = 64 << 10
FILES: Final = 16  # so many make up the whole limit
LOCK_WAIT_S: Final = 2.0

CUT: Final = "log.cut"
BROKEN: Final = "log.broken"
BEGUN: Final = "log.begun"
UNSIGNED: Final = "log.unsigned"
FOREIGN: Final = ".foreign"

_NAME = re.compile(r"([0-9]{16})\.audit")
_READ_LIMIT_BYTES = 1 << 30


class AuditLog:
    """Appends to the files of one home.

    Args:
        signer: signs checkpoints; without one (a key that could not be opened) entries are chained
            and the next start signs them.
    """

    def __init__(
        self, home: Path, signer: Identity | None, *, limit_bytes: int = DEFAULT_LIMIT_BYTES
    ) -> None:
        self.directory = home / DIRECTORY
        self._signer = signer
        self._limit_bytes = max(MIN_LIMIT_BYTES, limit_bytes)
        self._file_bytes = self._limit_bytes // FILES
        self._path: Path | None = None  # of the last file, as we left it
        self._size = 0
        self._head = START
        self._is_signed = True  # nothing stands behind the last checkpoint

    @property
    def head(self) -> Head:
        """The last entry that this object knows."""
        return self._head

    def append(
        self, notes: Sequence[AuditNote], *, wall_ms: int, monotonic_ms: int
    ) -> Checkpoint | None:
        """Write these, durably, and a checkpoint behind them; return it.

        Raises:
            AuditUnwritable: nothing of it was written.
        """
        try:
            if not self.directory.is_dir():
                make_private_directory(self.directory)
            with self._locked():
                found = self._go_on(wall_ms, monotonic_ms)
                return self._write([*found, *notes], wall_ms, monotonic_ms)
        except AuditUnwritable:
            raise
        except (OSError, KeystoreError) as error:
            raise AuditUnwritable(self.directory, str(error)) from error

    # -- where the files end -------------------------------------------------------------------

    def _go_on(self, wall_ms: int, monotonic_ms: int) -> list[AuditNote]:
        """Find the end of the log, mend it, and return what there is to say about it."""
        numbers = audit_files(self.directory)
        if self._path is not None and numbers:
            last = _path_of(self.directory, numbers[-1])
            if last == self._path and last.stat().st_size == self._size:
                return []
        known = self._head
        said: list[AuditNote] = []

        def say(kind: str, **detail: str | int) -> None:
            said.append(AuditNote(kind, wall_ms, monotonic_ms, detail=detail))

        end = self._read_end(numbers, say)
        if end.sequence < known.sequence:
            # Somebody took the end away while we ran. Numbers do not go back: the gap stays.
            say(BROKEN, why="the end of the log was removed", last=end.sequence)
            end, self._path = known, None
        self._head = end
        if end == START and not said:
            say(BEGUN)
        return said

    def _read_end(self, numbers: Sequence[int], say: Callable[..., None]) -> Head:
        """The head of the last file that has one. Sets `_path` and `_size`; cuts what is torn."""
        self._path, self._size, self._is_signed = None, 0, True
        for number in reversed(numbers):
            path = _path_of(self.directory, number)
            data = read_file(path, _READ_LIMIT_BYTES) or b""
            end = _End(number, data, self._signer.public_key if self._signer is not None else None)
            later = (
                last_signed_after(data, end.size, self._signer.public_key)
                if self._signer is not None and end.size < len(data)
                else None
            )
            if later is not None and later.head.sequence > end.signed:
                say(BROKEN, why="entries before a checkpoint are damaged", file=path.name)
                return max(later.head, end.head)
            if self._signer is not None and not end.signed and self._is_foreign(end, numbers):
                path.rename(path.with_suffix(FOREIGN))
                sync_directory(self.directory)
                say(BROKEN, why="a file that continues nothing was put here", file=path.name)
                continue
            if end.size < len(data) and self._signer is None:
                raise AuditUnwritable(path, "its end is unfinished; the next start mends it")
            if end.size < len(data):
                _cut(path, end.size)
                say(CUT, bytes=len(data) - end.size, file=path.name)
            if end.head.sequence:
                if end.signed < end.head.sequence:
                    first = max(end.signed + 1, number)
                    say(UNSIGNED, first=first, last=end.head.sequence)
                self._path, self._size = path, end.size
                self._is_signed = end.signed == end.head.sequence
                return end.head
            remove_file(path)  # nothing came to stand in it
        return START

    def _is_foreign(self, end: _End, numbers: Sequence[int]) -> bool:
        """Whether a file without any signature of ours does not go on from the one before it."""
        before = max((number for number in numbers if number < end.number), default=None)
        if end.first is None or before is None:
            return False
        assert self._signer is not None
        public_key = self._signer.public_key
        data = read_audit_file(self.directory, before)
        signed = last_signed_after(data, 0, public_key)
        heads = {_End(before, data, public_key).head, signed.head if signed is not None else None}
        return end.first not in heads

    # -- writing -------------------------------------------------------------------------------

    def _write(
        self, notes: Sequence[AuditNote], wall_ms: int, monotonic_ms: int
    ) -> Checkpoint | None:
        checkpoint = self._put(notes, wall_ms)
        while (note := self._too_much(wall_ms, monotonic_ms)) is not None:
            oldest = audit_files(self.directory)[0]
            checkpoint = self._put([note], wall_ms)
            remove_file(_path_of(self.directory, oldest))
        return checkpoint

    def _put(self, notes: Sequence[AuditNote], wall_ms: int) -> Checkpoint | None:
        if not notes and self._is_signed:
            return None
        head, parts = self._head, []
        for note in notes:
            entry = link(head, note)
            parts.append(frame(entry.raw))
            head = entry.head
        checkpoint = sign_head(self._signer, head, wall_ms) if self._signer is not None else None
        is_full = self._size >= self._file_bytes and self._is_signed
        path = self._path
        if path is None or is_full:
            path = _path_of(self.directory, self._head.sequence + 1)
            at = 0
        else:
            at = self._size
        data = [b"".join(parts), frame(checkpoint.raw) if checkpoint is not None else b""]
        if self._signer is None and at > 2 * self._file_bytes:
            raise AuditUnwritable(self.directory, "too much of it waits for the key that signs it")
        _write_at(path, at, data)
        self._path, self._size, self._head = path, at + sum(map(len, data)), head
        self._is_signed = checkpoint is not None
        return checkpoint

    def _too_much(self, wall_ms: int, monotonic_ms: int) -> AuditNote | None:
        """What to say before the oldest file goes; None while all is small enough."""
        numbers = audit_files(self.directory)
        if len(numbers) < 3 or self._signer is None:
            return None
        sizes = [_path_of(self.directory, number).stat().st_size for number in numbers]
        if sum(sizes) <= self._limit_bytes:
            return None
        detail = {"first": numbers[0], THROUGH: numbers[1] - 1, "bytes": sizes[0]}
        return AuditNote(DROPPED, wall_ms, monotonic_ms, detail=detail)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, of all processes; another holds it for milliseconds."""
        until = time.monotonic() + LOCK_WAIT_S
        while True:
            holding = hold_lock(self.directory / "lock", self.directory)
            try:
                holding.__enter__()
                break
            except HomeInUse:
                if time.monotonic() >= until:
                    raise
                time.sleep(0.005)
        try:
            yield
        finally:
            holding.__exit__(None, None, None)


def audit_files(directory: Path) -> list[int]:
    """The numbers that the files of a log are named after, in order."""
    matches = (_NAME.fullmatch(name) for name in names_in(directory))
    return sorted(int(match[1]) for match in matches if match)


def read_audit_file(directory: Path, number: int) -> bytes:
    """One file of a log; empty when it has been dropped meanwhile.

    Raises:
        KeystoreError: it cannot be read.
    """
    return read_file(_path_of(directory, number), _READ_LIMIT_BYTES) or b""


def read_audit(directory: Path, since: int = 1) -> Iterator[AuditEntry | Checkpoint]:
    """What stands in a log from this entry on, as far as it can be read; nothing is verified.

    Raises:
        KeystoreError: a file cannot be read.
    """
    numbers = audit_files(directory)
    for number, following in zip(numbers, [*numbers[1:], None], strict=True):
        if following is not None and following <= since:
            continue
        is_there = number >= since
        for _, raw in frames(read_audit_file(directory, number)):
            if raw is None:
                break
            is_there = is_there or (number_of(raw) or 0) >= since
            if not is_there:
                continue
            try:
                yield decode_checkpoint(raw) if is_checkpoint(raw) else decode_audit_entry(raw)
            except NotCanonical:
                continue


class _End:
    """How far a file is whole: its chain, and the last checkpoint of it."""

    def __init__(self, number: int, data: bytes, public_key: bytes | None) -> None:
        self.number = number
        self.first: Head | None = None  # the one before the first entry
        self.head = Head(0, b"")
        self.signed = 0
        self.size = 0
        self._checkpoints: list[tuple[int, Checkpoint]] = []  # and where each stands
        self._read(number, data)
        for offset, checkpoint in reversed(self._checkpoints):
            if public_key is None or checkpoint.is_signed_by(public_key):
                self.signed = checkpoint.head.sequence
                return
            # A whole chain with a signature that did not all arrive, if it is the end of it.
            if checkpoint.head == self.head:
                self.size = offset

    def _read(self, number: int, data: bytes) -> None:
        expected: Head | None = None
        for offset, raw in frames(data):
            if raw is None:
                return
            try:
                if is_checkpoint(raw):
                    checkpoint = decode_checkpoint(raw)
                    if checkpoint.head != expected:
                        return
                    self._checkpoints.append((offset, checkpoint))
                else:
                    entry = decode_audit_entry(raw)
                    if expected is None and entry.sequence != number:
                        return
                    if expected is not None and (entry.sequence - 1, entry.previous) != expected:
                        return
                    if expected is None:
                        self.first = Head(number - 1, entry.previous)
                    expected = self.head = entry.head
            except NotCanonical:
                return
            self.size = offset + LENGTH_BYTES + len(raw)


def _path_of(directory: Path, number: int) -> Path:
    return directory / f"{number:016d}.audit"


def _cut(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_at(path: Path, at: int, data: Sequence[bytes]) -> None:
    """Write behind what is there, each part durable before the next; a failure leaves no part."""
    is_new = at == 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, PRIVATE_FILE)
    try:
        os.lseek(descriptor, at, os.SEEK_SET)
        try:
            for part in filter(None, data):
                left = memoryview(part)
                while left:
                    left = left[os.write(descriptor, left) :]
                os.fsync(descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, at)
                os.fsync(descriptor)
            raise
    finally:
        os.close(descriptor)
    if is_new:
        sync_directory(path.parent)
