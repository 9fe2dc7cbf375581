"""What the runner needs of a disk, and the checksums that every storage shares.

Each entry carries a CRC-32 chained to the one before, so that a changed, missing or swapped record
shows. What this module does not know: files.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from consensus.raft import Entry, HardState, Recovered, SnapshotMeta, StoreBatch

_ENTRY = struct.Struct(">IQQB")
_HARD = struct.Struct(">QQ?")
_BASE = struct.Struct(">QQI")


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """A snapshot that is durable: how long its file is, and the digest at its end."""

    meta: SnapshotMeta
    size: int
    digest: bytes


class SnapshotReader(Protocol):
    """One whole snapshot. It stays readable when a newer one replaces it."""

    @property
    def size(self) -> int:
        """Bytes of the file, which is what travels: header, body and digest."""

    @property
    def digest(self) -> bytes: ...

    def read(self, offset: int, size: int) -> bytes:
        """That many bytes of the file, fewer at its end.

        Raises:
            StorageBroken: the disk does not give them.
        """

    def chunks(self) -> Iterator[bytes]:
        """The body, cut anywhere; it is complete and genuine when the last one has come.

        Raises:
            SnapshotCorrupted: after the last chunk, when the digest does not fit.
            StorageBroken: the disk does not give them.
        """

    def close(self) -> None: ...


class SnapshotWriter(Protocol):
    """A snapshot that comes from another node, part by part."""

    def append(self, offset: int, data: bytes) -> None:
        """Take the bytes that follow; `offset` is how many were taken before.

        Raises:
            StorageFull, StorageBroken: as `Storage.write`; the writer is done with.
        """

    def commit(self) -> SnapshotFile:
        """Verify the whole, then make it durable under its name.

        Raises:
            MessageRefused: it is incomplete, damaged, of another cluster, or another snapshot.
            StorageFull, StorageBroken: as `Storage.write`.
        """

    def abort(self) -> None:
        """Forget what has come. Harmless when the writer is done with."""


class SnapshotStore(Protocol):
    """Snapshots of the state machine: whole, verified, or not there at all (R20).

    Calls block. `latest` is cheap once `Storage.recover` has returned.
    """

    def latest(self) -> SnapshotMeta | None:
        """The newest valid one."""

    def write(self, meta: SnapshotMeta, chunks: Iterable[bytes]) -> SnapshotFile:
        """Make the state in these chunks durable. What the iterable raises comes through.

        Raises:
            StorageFull: nothing is left behind; it may be tried again.
            StorageBroken: the node must stop.
        """

    def open(self, meta: SnapshotMeta) -> SnapshotReader:
        """
        Raises:
            StorageBroken: it is not there any more, or cannot be read.
        """

    def receive(self, meta: SnapshotMeta, size: int) -> SnapshotWriter:
        """Begin to take a snapshot of `size` bytes from another node.

        Raises:
            StorageFull, StorageBroken: as `write`.
        """

    def forget_older(self, keep: int = 2) -> None:
        """Delete all but the newest ones."""


class Storage(Protocol):
    """A log on something durable. Calls block; `write` runs off the loop, one at a time."""

    @property
    def snapshots(self) -> SnapshotStore: ...

    def recover(self) -> Recovered:
        """Read everything back, at start.

        A snapshot may lie beyond the end of the log, or not fit it: the power went between its
        rename and the batch with `install`. Both are given as they lie; the core drops the log.

        Raises:
            StorageError: what lies there cannot be trusted.
        """

    def write(self, batches: Sequence[StoreBatch]) -> None:
        """Make these batches durable, in order and as one.

        Raises:
            StorageFull: nothing was written; the same call may be tried again.
            StorageBroken: the node must stop.
        """

    @property
    def checkpoint_due(self) -> bool:
        """Whether enough was written that `checkpoint` should not wait for idle time."""

    def checkpoint(self) -> None:
        """Tidy up what `write` left for later. For idle time; nothing depends on it but speed.

        Raises:
            StorageFull, StorageBroken: as `write`.
        """

    def close(self) -> None: ...


pack_entry = _ENTRY.pack  # checksum of the entry before, index, term, kind


def chained(before: int, entry: Entry) -> int:
    """The checksum of an entry, given that of the one before."""
    index, term, kind, data = entry
    return zlib.crc32(data, zlib.crc32(_ENTRY.pack(before, index, term, kind)))


def hard_checksum(hard: HardState, commit: int) -> int:
    """The checksum of the one record of term and vote (R1), and of the commit index beside it.

    That index is a hint only as far as it may lag: a larger one would have entries applied that
    nobody decided.
    """
    head = _HARD.pack(hard.term, commit, hard.vote is not None)
    return zlib.crc32((hard.vote or "").encode(), zlib.crc32(head))


def base_checksum(index: int, term: int, chain: int) -> int:
    """The checksum of the record of where the log begins."""
    return zlib.crc32(_BASE.pack(index, term, chain))


def chain_start(index: int, term: int) -> int:
    """What the first entry behind a snapshot is chained to; 0 where a log has its beginning."""
    return zlib.crc32(_BASE.pack(index, term, 0)) if index else 0
