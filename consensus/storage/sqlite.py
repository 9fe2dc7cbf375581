"""The log in one SQLite file: write-ahead log mode, `synchronous=FULL`, one transaction a group.

FULL and not NORMAL: with NORMAL a power cut loses commits that were acknowledged. One transaction
takes all batches that piled up while the last one ran, so the price of an fsync is shared.

What this module does not know: who waits for the write.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Sequence
from pathlib import Path

from consensus.errors import (
    ForeignStorage,
    HardStateCorrupted,
    LogCorrupted,
    NewerFormat,
    StorageBroken,
    StorageFull,
    TornTail,
    WrongCluster,
    WrongNode,
)
from consensus.raft import Entry, EntryKind, HardState, Recovered, StoreBatch
from consensus.storage.base import chained, hard_checksum

APPLICATION_ID = 0x434E4356  # "CNCV", in the file's header
FORMAT = 1
ROWS_PER_STATEMENT = 512

_SCHEMA = """
CREATE TABLE owner (one INTEGER PRIMARY KEY CHECK (one = 1), cluster TEXT, node TEXT);
CREATE TABLE hard (one INTEGER PRIMARY KEY CHECK (one = 1), term INTEGER, vote TEXT,
                   crc INTEGER, commit_hint INTEGER);
CREATE TABLE log (idx INTEGER PRIMARY KEY, term INTEGER, kind INTEGER, data BLOB, crc INTEGER);
"""


class SqliteStorage:
    """One voter's log. Opening it takes an exclusive lock: no second process gets in.

    Raises:
        ForeignStorage, NewerFormat, WrongCluster, WrongNode: the file is not this node's.
        StorageBroken: it cannot be opened.
    """

    def __init__(self, path: Path, cluster_id: str, node_id: str) -> None:
        self._path = str(path)
        self._cluster_id = cluster_id
        self._node_id = node_id
        self._checksums = array("L")
        self._commit_hint = 0
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)  # SQLite's own files beside it take over the mode
            self._db = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=2.0
            )
        except (OSError, sqlite3.Error) as error:
            raise StorageBroken(self._path, str(error)) from error
        try:
            self._open()
        except sqlite3.Error as error:
            self._db.close()
            raise self._not_ours(error) from error
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        db = self._db
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        (found_id,) = db.execute("PRAGMA application_id").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and found_id != APPLICATION_ID:
            raise ForeignStorage(self._path, "another program made it")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA fullfsync=1")  # macOS: fsync alone does not reach the platter
        if not tables:
            db.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.strip().split(";\n"):
                db.execute(statement)
            db.execute("INSERT INTO owner VALUES (1, ?, ?)", (self._cluster_id, self._node_id))
            db.execute(f"PRAGMA application_id={APPLICATION_ID}")
            db.execute(f"PRAGMA user_version={FORMAT}")
            db.execute("COMMIT")
        self._check_owner()

    def _check_owner(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > FORMAT:
            raise NewerFormat(self._path, version, FORMAT)
        row = self._db.execute("SELECT cluster, node FROM owner").fetchone()
        if row is None:
            raise ForeignStorage(self._path, "it names no owner")
        if row[0] != self._cluster_id:
            raise WrongCluster(self._path, str(row[0]), self._cluster_id)
        if row[1] != self._node_id:
            raise WrongNode(self._path, str(row[1]), self._node_id)

    def _not_ours(self, error: sqlite3.Error) -> ForeignStorage | StorageBroken:
        if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
            return ForeignStorage(self._path, "it is no SQLite file")
        return StorageBroken(self._path, str(error))

    def recover(self) -> Recovered:
        """See `Storage.recover`.

        Raises:
            HardStateCorrupted, LogCorrupted, TornTail: the file was damaged.
            StorageBroken: it cannot be read.
        """
        try:
            hard, self._commit_hint = self._read_hard()
            rows = self._db.execute("SELECT idx, term, kind, data, crc FROM log ORDER BY idx")
            entries = self._checked(rows.fetchall())
        except sqlite3.Error as error:
            raise StorageBroken(self._path, str(error)) from error
        return Recovered(hard, self._commit_hint, tuple(entries))

    def _read_hard(self) -> tuple[HardState, int]:
        row = self._db.execute("SELECT term, vote, crc, commit_hint FROM hard").fetchone()
        if row is None:
            return HardState(0, None), 0
        term, vote, crc, commit_hint = row
        shaped = type(term) is int and term >= 0 and (vote is None or type(vote) is str)
        if not shaped or hard_checksum(HardState(term, vote)) != crc:
            raise HardStateCorrupted(self._path, "its checksum does not fit")
        return HardState(term, vote), commit_hint if type(commit_hint) is int else 0

    def _checked(self, rows: list[tuple[int, int, int, bytes, int]]) -> list[Entry]:
        entries: list[Entry] = []
        self._checksums = array("L")
        before = 0
        for position, (index, term, kind, data, crc) in enumerate(rows, start=1):
            problem = None
            if index != position:
                problem = f"entry {position} is missing"
            elif not (type(term) is int and type(data) is bytes and kind in tuple(EntryKind)):
                problem = "it has no such shape"
            else:
                entry = Entry(index, term, EntryKind(kind), data)
                before = chained(before, entry)
                if before != crc:
                    problem = "its checksum does not fit"
            if problem is not None:
                if position == len(rows):
                    raise TornTail(self._path, position, problem)
                raise LogCorrupted(self._path, position, problem)
            entries.append(entry)
            self._checksums.append(before)
        return entries

    def write(self, batches: Sequence[StoreBatch]) -> None:
        """See `Storage.write`."""
        tail = _Tail(self._checksums)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for batch in batches:
                self._write_one(batch, tail)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            code = getattr(error, "sqlite_errorcode", None)
            if code is not None and code & 0xFF == sqlite3.SQLITE_FULL:
                raise StorageFull(self._path) from error
            raise StorageBroken(self._path, str(error)) from error
        tail.keep()

    def _write_one(self, batch: StoreBatch, tail: _Tail) -> None:
        if batch.truncate_from is not None:
            self._db.execute("DELETE FROM log WHERE idx >= ?", (batch.truncate_from,))
            tail.cut(batch.truncate_from - 1)
        rows = []
        before = tail.last
        for entry in batch.entries:
            assert entry.index == len(tail) + 1, "a gap in the log"
            before = chained(before, entry)
            tail.append(before)
            rows.append((entry.index, entry.term, int(entry.kind), entry.data, before))
        # One statement for many rows: each one gives up the interpreter's lock, and with a busy
        # loop in the other thread it would wait for that lock row by row.
        for first in range(0, len(rows), ROWS_PER_STATEMENT):
            some = rows[first : first + ROWS_PER_STATEMENT]
            marks = ", ".join(["(?, ?, ?, ?, ?)"] * len(some))
            values = [value for row in some for value in row]
            self._db.execute(f"INSERT INTO log VALUES {marks}", values)
        if batch.hard is not None:
            term, vote = batch.hard
            self._db.execute(
                "INSERT OR REPLACE INTO hard VALUES (1, ?, ?, ?, ?)",
                (term, vote, hard_checksum(batch.hard), batch.commit),
            )

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            return  # the transaction is lost either way; the caller raises the first error

    def close(self) -> None:
        """Let the file go."""
        self._db.close()


class _Tail:
    """The checksums of the log as a transaction will leave them, if it is committed.

    Only what changes is held here: a write must not cost more because the log is long.
    """

    def __init__(self, kept: array[int]) -> None:
        self._kept = kept
        self._kept_length = len(kept)
        self._new = array("L")

    def __len__(self) -> int:
        return self._kept_length + len(self._new)

    @property
    def last(self) -> int:
        if self._new:
            return self._new[-1]
        return self._kept[self._kept_length - 1] if self._kept_length else 0

    def cut(self, length: int) -> None:
        """Forget everything behind the first `length` entries."""
        del self._new[max(0, length - self._kept_length) :]
        self._kept_length = min(self._kept_length, length)

    def append(self, checksum: int) -> None:
        self._new.append(checksum)

    def keep(self) -> None:
        """The transaction is committed."""
        del self._kept[self._kept_length :]
        self._kept.extend(self._new)
