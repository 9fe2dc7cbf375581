"""A log and its snapshots in memory that outlive their runner: for simulated nodes.

What a power cut leaves is everything that `write` returned for, and nothing else. A snapshot is the
same bytes that a file would hold, and is verified in the same way.

What this module does not know: faults of real disks; the simulator has those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from consensus.errors import SnapshotCorrupted, StorageBroken
from consensus.raft import Entry, HardState, Recovered, SnapshotMeta, StoreBatch
from consensus.storage.base import SnapshotFile
from consensus.storage.snapshot_format import (
    DIGEST_BYTES,
    PIECE_BYTES,
    Checker,
    Damaged,
    file_pieces,
)
from consensus.storage.snapshots import verify

_WHERE = "memory"


class MemorySnapshots:
    """The snapshots of one node. See `SnapshotStore`."""

    def __init__(self, cluster_id: str) -> None:
        self._cluster_id = cluster_id
        self._files: dict[tuple[int, int], tuple[SnapshotMeta, bytes]] = {}

    def latest(self) -> SnapshotMeta | None:
        return self._files[max(self._files)][0] if self._files else None

    def write(self, meta: SnapshotMeta, chunks: Iterable[bytes]) -> SnapshotFile:
        return self.take_in(meta, b"".join(file_pieces(self._cluster_id, meta, chunks)))

    def open(self, meta: SnapshotMeta) -> MemoryReader:
        found = self._files.get((meta.index, meta.term))
        if found is None:
            raise StorageBroken(_WHERE, f"there is no snapshot of entry {meta.index}")
        return MemoryReader(found[1])

    def receive(self, meta: SnapshotMeta, size: int) -> MemoryWriter:
        return MemoryWriter(self, self._cluster_id, meta, size)

    def forget_older(self, keep: int = 2) -> None:
        assert keep >= 1, "the log depends on the latest"
        for at in sorted(self._files, reverse=True)[keep:]:
            del self._files[at]

    def take_in(self, meta: SnapshotMeta, data: bytes) -> SnapshotFile:
        """A whole file is there from now on."""
        self._files[(meta.index, meta.term)] = (meta, data)
        return SnapshotFile(meta, len(data), data[-DIGEST_BYTES:])


class MemoryWriter:
    """See `SnapshotWriter`."""

    def __init__(
        self, store: MemorySnapshots, cluster_id: str, meta: SnapshotMeta, size: int
    ) -> None:
        self._store = store
        self._cluster_id = cluster_id
        self._meta = meta
        self._size = size
        self._data = bytearray()
        self._checker = Checker()

    def append(self, offset: int, data: bytes) -> None:
        assert offset == len(self._data), "a part out of order"
        self._data += data
        self._checker.feed(data)

    def commit(self) -> SnapshotFile:
        verify(self._checker, self._cluster_id, self._meta, len(self._data) == self._size)
        return self._store.take_in(self._meta, bytes(self._data))

    def abort(self) -> None:
        self._data.clear()


class MemoryReader:
    """See `SnapshotReader`."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        return len(self._data)

    @property
    def digest(self) -> bytes:
        return self._data[-DIGEST_BYTES:]

    def read(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]

    def chunks(self) -> Iterator[bytes]:
        checker = Checker()
        for at in range(0, len(self._data), PIECE_BYTES):
            if body := checker.feed(self._data[at : at + PIECE_BYTES]):
                yield body
        try:
            checker.finish()
        except Damaged as error:
            raise SnapshotCorrupted(_WHERE, str(error)) from error

    def close(self) -> None:
        return None


class MemoryStorage:
    """One node's log, kept by the test between two starts of the same node."""

    def __init__(self, cluster_id: str = "memory") -> None:
        self.snapshots = MemorySnapshots(cluster_id)
        self._hard = HardState(0, None)
        self._commit_hint = 0
        self._base_index = self._base_term = 0
        self._entries: list[Entry] = []
        self.writes = 0

    @property
    def _last_index(self) -> int:
        return self._base_index + len(self._entries)

    def recover(self) -> Recovered:
        """See `Storage.recover`."""
        snapshot = self.snapshots.latest()
        if self._base_index > (snapshot.index if snapshot is not None else 0):
            raise SnapshotCorrupted(_WHERE, f"no snapshot reaches entry {self._base_index}")
        return Recovered(
            self._hard,
            self._commit_hint,
            tuple(self._entries),
            self._base_index,
            self._base_term,
            snapshot,
        )

    def write(self, batches: Sequence[StoreBatch]) -> None:
        """See `Storage.write`."""
        self.writes += 1
        for batch in batches:
            self._write_one(batch)

    def _write_one(self, batch: StoreBatch) -> None:
        if batch.install is not None:
            self._entries.clear()
            self._base_index, self._base_term = batch.install.index, batch.install.term
        if batch.truncate_from is not None:
            assert batch.truncate_from > self._base_index, "cutting what was compacted"
            del self._entries[batch.truncate_from - self._base_index - 1 :]
        assert not batch.entries or batch.entries[0].index == self._last_index + 1, "a gap"
        self._entries.extend(batch.entries)
        if batch.hard is not None:
            self._hard, self._commit_hint = batch.hard, batch.commit
        if batch.compact_to is not None:
            dropped = batch.compact_to - self._base_index
            assert 0 < dropped <= len(self._entries), "compacting what is not there"
            self._base_index, self._base_term = (
                batch.compact_to,
                self._entries[dropped - 1].term,
            )
            del self._entries[:dropped]

    @property
    def checkpoint_due(self) -> bool:
        return False

    def checkpoint(self) -> None:
        return None

    def close(self) -> None:
        return None
