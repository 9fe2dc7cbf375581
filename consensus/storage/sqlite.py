"""The log in one SQLite file: write-ahead log mode, `synchronous=FULL`, one transaction a group.

FULL and not NORMAL: with NORMAL a power cut loses commits that were acknowledged. One transaction
takes all batches that piled up while the last one ran, so the price of an fsync is shared.

Three things are left for idle time, and `checkpoint` does them: moving what was written from
SQLite's own write-ahead log into the file, deleting rows that lie before the base, and, once,
making that write-ahead log long in advance. The base moves in one transaction with everything else,
so rows before it mean nothing, however many are left.

What this module does not know: who waits for the write.
"""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from consensus.errors import ForeignStorage, SnapshotCorrupted, StorageBroken, StorageFull
from consensus.raft import Entry, Recovered, SnapshotMeta, StoreBatch
from consensus.storage.base import SnapshotStore
from consensus.storage.files import typed_errors
from consensus.storage.memory import MemorySnapshots
from consensus.storage.snapshots import FileSnapshots
from consensus.storage.sqlite_rows import Chain, Tail, insert, is_one_statement, read_entries
from consensus.storage.sqlite_schema import (
    SQLITE_ERRORS,
    check_pages,
    prepare,
    read_base,
    read_hard,
    refuse_foreign,
    write_base,
    write_hard,
)
from consensus.storage.sqlite_wal import PREALLOCATED_BYTES, preallocate, refuse_damage

CHECKPOINT_BYTES = PREALLOCATED_BYTES  # from here on a checkpoint is due
MAX_WAITING_BYTES = 4 * CHECKPOINT_BYTES  # and here a write does not wait for idle time any more
DELETED_AT_ONCE = 4096  # rows before the base
PAGE_BYTES = 4096
_ROW_OVERHEAD_BYTES = 32
_NOTHING = (None, None, None, None)
_IN_MEMORY = Path(":memory:")


class SqliteStorage:
    """One node's log. Opening it takes an exclusive lock: no second process gets in.

    Raises:
        ForeignStorage, NewerFormat, WrongCluster, WrongNode: the file is not this node's.
        HardStateCorrupted: a file of an older format is damaged.
        LogCorrupted: SQLite would drop transactions that were confirmed.
        StorageBroken: it cannot be opened.
    """

    def __init__(self, path: Path, cluster_id: str, node_id: str) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)  # SQLite's own files beside it take over the mode
            refuse_damage(path)
            db = _connected(str(path))
        except (OSError, *SQLITE_ERRORS) as error:
            raise StorageBroken(str(path), str(error)) from error
        self._begin(db, path, cluster_id, node_id, FileSnapshots(path.parent, cluster_id))

    @classmethod
    def in_memory(cls, cluster_id: str, node_id: str) -> SqliteStorage:
        """A log that no disk holds, for simulated nodes; `after_crash` is their restart."""
        storage = cls.__new__(cls)
        db = _connected(str(_IN_MEMORY))
        storage._begin(db, _IN_MEMORY, cluster_id, node_id, MemorySnapshots(cluster_id))
        return storage

    def after_crash(self) -> SqliteStorage:
        """What the next process finds, if this one is dead: for storages in memory only."""
        assert self._path == _IN_MEMORY, "what a disk holds is found by opening it"
        self._roll_back()
        storage = type(self).__new__(type(self))
        storage._begin(self._db, self._path, self._cluster_id, self._node_id, self.snapshots)
        return storage

    def _begin(
        self,
        db: sqlite3.Connection,
        path: Path,
        cluster_id: str,
        node_id: str,
        snapshots: SnapshotStore,
    ) -> None:
        self._db = db
        self._path = path
        self._cluster_id = cluster_id
        self._node_id = node_id
        self.snapshots = snapshots
        self._chain = Chain()
        self._waiting_bytes = 0  # written and not yet moved into the file, about
        self._leftovers = False  # there are rows before the base
        self._is_preallocated = path == _IN_MEMORY
        try:
            db.execute("PRAGMA locking_mode=EXCLUSIVE")
            refuse_foreign(db, str(path))
            _set_up(db)
            # What a process that died has left is moved into the file now, so that the next write
            # begins a new round of frames and never mixes with the rest of a torn one.
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            prepare(db, str(path), cluster_id, node_id)
        except SQLITE_ERRORS as error:
            db.close()
            raise self._not_ours(error) from error
        except BaseException:
            db.close()
            raise

    def _not_ours(self, error: Exception) -> ForeignStorage | StorageBroken:
        if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
            return ForeignStorage(str(self._path), "it is no SQLite file")
        return StorageBroken(str(self._path), str(error))

    # -- reading back --------------------------------------------------------------------------

    def recover(self) -> Recovered:
        """See `Storage.recover`.

        Raises:
            HardStateCorrupted, LogCorrupted, TornTail, SnapshotCorrupted: something was damaged.
            WrongCluster, NewerFormat: a snapshot is not this node's.
            StorageBroken: something cannot be read.
        """
        path = str(self._path)
        try:
            hard, commit = read_hard(self._db, path)
            base_index, base_term, chain = read_base(self._db, path)
            self._chain = Chain(base_index, chain)
            entries = self._read_log()
            check_pages(self._db, path)
            self._leftovers = self._oldest_row() <= base_index
        except SQLITE_ERRORS as error:
            raise StorageBroken(path, str(error)) from error
        snapshot = self._reaching_snapshot(base_index)
        return Recovered(hard, commit, tuple(entries), base_index, base_term, snapshot)

    def _read_log(self) -> list[Entry]:
        rows = self._db.execute(
            "SELECT idx, term, kind, data, crc FROM log WHERE idx > ? ORDER BY idx",
            (self._chain.base_index,),
        )
        with _no_collection():
            return read_entries(rows, str(self._path), self._chain)

    def _oldest_row(self) -> int:
        (oldest,) = self._db.execute("SELECT min(idx) FROM log").fetchone()
        return self._chain.base_index + 1 if oldest is None else int(oldest)

    def _reaching_snapshot(self, base_index: int) -> SnapshotMeta | None:
        """The latest one, if the log goes on where it ends or before."""
        snapshot = self.snapshots.latest()
        if base_index <= (snapshot.index if snapshot is not None else 0):
            return snapshot
        if isinstance(self.snapshots, FileSnapshots) and self.snapshots.damaged:
            damaged, why = self.snapshots.damaged[-1]
            raise SnapshotCorrupted(str(damaged), why)
        raise SnapshotCorrupted(
            str(self._path.parent), f"the log begins behind entry {base_index}, no snapshot does"
        )

    # -- writing -------------------------------------------------------------------------------

    def write(self, batches: Sequence[StoreBatch]) -> None:
        """See `Storage.write`."""
        tail = Tail(self._chain)
        written = PAGE_BYTES
        alone = None if self._leftovers else _entries_alone(batches)
        with self._typed_errors():
            if alone is not None and is_one_statement(len(alone)):
                # A statement is a transaction of its own, and three are two more to wait for.
                written += insert(self._db, alone, tail) + len(alone) * _ROW_OVERHEAD_BYTES
            else:
                self._db.execute("BEGIN IMMEDIATE")
                for batch in batches:
                    written += self._write_one(batch, tail)
                if self._leftovers:
                    self._delete_leftovers()
                self._db.execute("COMMIT")
        self._leftovers = self._leftovers or tail.base_index > self._chain.base_index
        tail.keep()
        self._waiting_bytes += written
        if self._waiting_bytes >= MAX_WAITING_BYTES:
            with suppress(StorageFull):  # the batches are durable: they must not be tried again
                self.checkpoint()

    def _write_one(self, batch: StoreBatch, tail: Tail) -> int:
        if batch.install is not None:
            index, term = batch.install.index, batch.install.term
            self._db.execute("DELETE FROM log")
            tail.reset(index, term)
            write_base(self._db, index, term, tail.at(index))
        if batch.truncate_from is not None:
            self._db.execute("DELETE FROM log WHERE idx >= ?", (batch.truncate_from,))
            tail.cut(batch.truncate_from - 1)
        size = insert(self._db, batch.entries, tail) if batch.entries else 0
        if batch.hard is not None:
            write_hard(self._db, batch.hard, batch.commit)
        if batch.compact_to is not None:
            self._compact(batch.compact_to, tail)
        return size + len(batch.entries) * _ROW_OVERHEAD_BYTES

    def _compact(self, index: int, tail: Tail) -> None:
        assert tail.base_index < index <= tail.last_index, "compacting what is not there"
        (term,) = self._db.execute("SELECT term FROM log WHERE idx = ?", (index,)).fetchone()
        write_base(self._db, index, term, tail.compact(index))

    def _delete_leftovers(self) -> None:
        """Some of the rows before the base, which mean nothing."""
        oldest = self._oldest_row()
        end = min(oldest + DELETED_AT_ONCE, self._chain.base_index + 1)
        self._db.execute("DELETE FROM log WHERE idx < ?", (end,))
        self._leftovers = end <= self._chain.base_index

    # -- idle time -----------------------------------------------------------------------------

    @property
    def checkpoint_due(self) -> bool:
        """See `Storage.checkpoint_due`."""
        return self._waiting_bytes >= CHECKPOINT_BYTES

    def checkpoint(self) -> None:
        """See `Storage.checkpoint`."""
        with self._typed_errors():
            while self._leftovers:
                self._db.execute("BEGIN IMMEDIATE")
                self._delete_leftovers()
                self._db.execute("COMMIT")
            if self._waiting_bytes:
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self._waiting_bytes = 0
        if not self._is_preallocated:
            self._is_preallocated = True
            with typed_errors(self._path):
                preallocate(self._path)

    # -- the end -------------------------------------------------------------------------------

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        """Whatever goes wrong, the transaction is void and the error is ours."""
        leftovers = self._leftovers
        try:
            yield
        except SQLITE_ERRORS as error:
            self._roll_back()
            self._leftovers = leftovers
            code = getattr(error, "sqlite_errorcode", None)
            if code is not None and code & 0xFF == sqlite3.SQLITE_FULL:
                raise StorageFull(str(self._path)) from error
            raise StorageBroken(str(self._path), str(error)) from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except SQLITE_ERRORS:
            return  # the transaction is lost either way; the caller raises the first error

    def close(self) -> None:
        """Let the file go."""
        self._db.close()


def _entries_alone(batches: Sequence[StoreBatch]) -> Sequence[Entry] | None:
    """All their entries, if they have nothing else."""
    for batch in batches:
        if (batch.hard, batch.truncate_from, batch.install, batch.compact_to) != _NOTHING:
            return None
    return [entry for batch in batches for entry in batch.entries]


def _connected(path: str) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=2.0)


def _set_up(db: sqlite3.Connection) -> None:
    db.execute(f"PRAGMA page_size={PAGE_BYTES}")  # of a file that is made now
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA fullfsync=1")  # macOS: fsync alone does not reach the platter
    db.execute("PRAGMA wal_autocheckpoint=0")  # `checkpoint` does it
    db.execute("PRAGMA cache_size=-8000")  # KiB


@contextmanager
def _no_collection() -> Iterator[None]:
    """A million new objects, all of them kept: looking for garbage meanwhile doubles the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
