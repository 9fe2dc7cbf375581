"""What the tests of storages share: batches, metas, and a file system that stops or fails."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from consensus import Entry, EntryKind, SqliteStorage
from consensus.raft import HardState, Membership, SnapshotMeta, StoreBatch
from consensus.storage.files import Files
from consensus.storage.snapshots import FileSnapshots

MEMBERS = Membership(("a", "b", "c"))
CLUSTER = "lab"


def entries(first: int, last: int, term: int = 1) -> tuple[Entry, ...]:
    return tuple(Entry(n, term, EntryKind.COMMAND, b"%d" % n) for n in range(first, last + 1))


def batch(
    number: int,
    *,
    hard: HardState | None = None,
    cut: int | None = None,
    new: tuple[Entry, ...] = (),
    commit: int = 0,
    install: SnapshotMeta | None = None,
    compact_to: int | None = None,
) -> StoreBatch:
    return StoreBatch(number, hard, cut, new, commit, install, compact_to)


def meta(index: int, term: int = 1) -> SnapshotMeta:
    return SnapshotMeta(index, term, MEMBERS, min(2, index))


def body(index: int, pieces: int = 3) -> list[bytes]:
    return [b"state %d part %d;" % (index, n) * 500 for n in range(pieces)]


def opened(path: Path) -> SqliteStorage:
    return SqliteStorage(path, CLUSTER, "a")


def sent(source: FileSnapshots, of: SnapshotMeta) -> bytes:
    """The whole file, as it travels."""
    reader = source.open(of)
    data = reader.read(0, reader.size)
    reader.close()
    assert len(data) == reader.size
    return data


class Step(Exception):
    """The process ends here."""


class FaultyFiles(Files):
    """Calls `before` with the number and the name of each step; what it raises happens instead."""

    def __init__(self, before: Callable[[int, str], None]) -> None:
        self._before = before
        self.steps: list[str] = []

    def _step(self, name: str) -> None:
        self.steps.append(name)
        self._before(len(self.steps), name)

    def create(self, path: Path) -> int:
        self._step("create")
        return super().create(path)

    def write(self, fd: int, data: bytes) -> None:
        half = len(data) // 2
        super().write(fd, data[:half])
        self._step("write")
        super().write(fd, data[half:])

    def sync(self, fd: int) -> None:
        self._step("sync")
        super().sync(fd)

    def rename(self, source: Path, target: Path) -> None:
        self._step("rename")
        super().rename(source, target)

    def sync_folder(self, path: Path) -> None:
        self._step("sync_folder")
        super().sync_folder(path)


def copies_before_each_step(folder: Path, copies: Path) -> FaultyFiles:
    """Keep the folder as it is before each step: what a process that dies there leaves."""

    def copy(number: int, name: str) -> None:
        shutil.copytree(folder, copies / f"{number}-{name}")

    return FaultyFiles(copy)


def fails_at(name: str, code: int) -> FaultyFiles:
    def fail(number: int, step: str) -> None:
        if step == name:
            raise OSError(code, os.strerror(code))

    return FaultyFiles(fail)


NO_ROOM = errno.ENOSPC
IO_ERROR = errno.EIO
