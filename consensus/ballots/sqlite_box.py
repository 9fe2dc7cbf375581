"""A ballot box in one SQLite file: write-ahead log mode, `synchronous=FULL`, one commit a ballot.

Each commit is moved into the file at once, so that between two ballots the write-ahead log is
empty: a box that was closed by a power cut holds every ballot that was confirmed. Ballots are rare,
so two more fsyncs do not matter. All are read and decoded when the box opens: a box that cannot say
what it holds does not open.

    owner    cluster, the voter's key, and the floor: the lowest epoch whose ballots are all here
    ballot   one row for one (proposal id, round), never changed
    gone     where a ballot was that was let go, since format 2: nothing is stored there again

Each row has a checksum of its own: SQLite's pages have none, and a bit that turned must not look
like another vote, or like another floor.

The file is mode 0600 and this user's, and it is locked while it is open. A copy of it on another
machine is two voters with one key; no file can prevent that.

What this module does not know: signatures, who is sent a ballot.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from consensus.ballots.ballot import Ballot
from consensus.ballots.box import place, refuse_contradiction, refuse_foreign
from consensus.ballots.errors import BoxDamaged, BoxExposed, Malformed
from consensus.errors import (
    ForeignStorage,
    LogCorrupted,
    NewerFormat,
    StorageBroken,
    StorageFull,
    WrongCluster,
    WrongNode,
)
from consensus.storage.sqlite_wal import refuse_damage

APPLICATION_ID: Final = 0x434E4258  # "CNBX", in the file's header
FORMAT: Final = 2
_ERRORS: Final = (sqlite3.Error, UnicodeError)  # the second where a damaged file defies its error

_SCHEMA: Final = (
    "CREATE TABLE owner (one INTEGER PRIMARY KEY CHECK (one = 1), cluster TEXT NOT NULL,"
    " voter BLOB NOT NULL, floor INTEGER NOT NULL, sum BLOB NOT NULL)",
    "CREATE TABLE ballot (proposal TEXT NOT NULL, round INTEGER NOT NULL, epoch INTEGER NOT NULL,"
    " raw BLOB NOT NULL, sum BLOB NOT NULL, PRIMARY KEY (proposal, round)) WITHOUT ROWID",
)


_GONE: Final = (
    "CREATE TABLE gone (proposal TEXT NOT NULL, round INTEGER NOT NULL, sum BLOB NOT NULL,"
    " PRIMARY KEY (proposal, round)) WITHOUT ROWID"
)


class SqliteBox:
    """One voter's box. Opening it takes an exclusive lock: no second process gets in.

    Raises:
        ForeignStorage, NewerFormat, WrongCluster, WrongNode: the file is not this voter's.
        BoxExposed: others may change it.
        BoxDamaged: it cannot say what this voter has signed.
        StorageBroken, StorageFull: it cannot be opened.
    """

    def __init__(self, path: Path, cluster_id: str, voter: bytes) -> None:
        self._path = path
        self._cluster_id = cluster_id
        self._voter = voter
        self._held: dict[tuple[str, int], Ballot] = {}
        self._gone: set[tuple[str, int]] = set()
        self._floor = 0
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)  # SQLite's own files beside it take over the mode
            _refuse_exposed(path)
            refuse_damage(path)
            self._db = sqlite3.connect(
                str(path), isolation_level=None, check_same_thread=False, timeout=2.0
            )
        except LogCorrupted as error:
            raise BoxDamaged(str(path), str(error)) from error
        except (OSError, *_ERRORS) as error:
            raise StorageBroken(str(path), str(error)) from error
        try:
            with self._typed_errors():
                self._open()
        except BaseException:
            self._db.close()
            raise

    def store(self, ballot: Ballot) -> None:
        refuse_foreign(ballot, str(self._path), self._cluster_id, self._voter)
        held = self._held.get(place(ballot))
        refuse_contradiction(ballot, held, self._floor, self._gone)
        if held is not None:
            return
        with self._transaction():
            self._db.execute(
                "INSERT INTO ballot VALUES (?, ?, ?, ?, ?)",
                (ballot.proposal_id, ballot.round, ballot.epoch, ballot.raw, _sum(ballot.raw)),
            )
        self._held[place(ballot)] = ballot

    def find(self, proposal_id: str, round_number: int) -> Ballot | None:
        return self._held.get((proposal_id, round_number))

    def ballots(self) -> tuple[bytes, ...]:
        return tuple(ballot.raw for _, ballot in sorted(self._held.items(), key=lambda i: i[0]))

    def floor(self) -> int:
        return self._floor

    def forget_below(self, epoch: int) -> None:
        if epoch <= self._floor:
            return
        with self._transaction():
            self._db.execute("UPDATE owner SET floor = ?, sum = ?", (epoch, self._owner_sum(epoch)))
            self._db.execute("DELETE FROM ballot WHERE epoch < ?", (epoch,))
        self._floor = epoch
        self._held = {p: each for p, each in self._held.items() if each.epoch >= epoch}

    def forget(self, places: Iterable[tuple[str, int]]) -> None:
        known = [each for each in places if each in self._held]
        if not known:
            return
        with self._transaction():  # both or neither: a place without a row could be voted on anew
            for each in known:
                self._db.execute("INSERT INTO gone VALUES (?, ?, ?)", (*each, _place_sum(each)))
                self._db.execute("DELETE FROM ballot WHERE proposal = ? AND round = ?", each)
        for each in known:
            del self._held[each]
        self._gone.update(known)

    def forgotten(self) -> frozenset[tuple[str, int]]:
        return frozenset(self._gone)

    def close(self) -> None:
        self._db.close()

    # -- opening -------------------------------------------------------------------------------

    def _open(self) -> None:
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        application = self._pragma("application_id")
        tables = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if application != APPLICATION_ID and (application or tables):
            raise ForeignStorage(str(self._path), "another program made it")
        if application == APPLICATION_ID and not tables:
            raise BoxDamaged(str(self._path), "its tables are gone")
        version = self._pragma("user_version")
        if version > FORMAT:
            raise NewerFormat(str(self._path), version, FORMAT)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA fullfsync=1")  # macOS: fsync alone does not reach the platter
        if not tables:
            self._create()
        elif version < FORMAT:
            self._upgrade()
        self._check_owner()
        self._read()

    def _create(self) -> None:
        with self._transaction():
            for statement in (*_SCHEMA, _GONE):
                self._db.execute(statement)
            self._db.execute(
                "INSERT INTO owner VALUES (1, ?, ?, 0, ?)",
                (self._cluster_id, self._voter, self._owner_sum(0)),
            )
            self._db.execute(f"PRAGMA application_id={APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version={FORMAT}")
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)  # the file's name is as durable as what is in it
        finally:
            os.close(directory)

    def _upgrade(self) -> None:
        """Format 1 forgot whole epochs only."""
        with self._transaction():
            self._db.execute(_GONE)
            self._db.execute(f"PRAGMA user_version={FORMAT}")

    def _check_owner(self) -> None:
        row = self._db.execute("SELECT cluster, voter, floor, sum FROM owner").fetchone()
        if row is None or [type(each) for each in row[:3]] != [str, bytes, int]:
            raise BoxDamaged(str(self._path), "it does not say whose it is")
        cluster, voter, self._floor, found = row
        if cluster != self._cluster_id:
            raise WrongCluster(str(self._path), cluster, self._cluster_id)
        if voter != self._voter:
            raise WrongNode(str(self._path), voter.hex(), self._voter.hex())
        if found != self._owner_sum(self._floor):
            raise BoxDamaged(str(self._path), "the row of its owner fails its checksum")

    def _owner_sum(self, floor: int) -> bytes:
        return _sum(repr((self._cluster_id, self._voter, floor)).encode())

    def _read(self) -> None:
        problem = self._db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if problem != "ok":
            raise BoxDamaged(str(self._path), str(problem)[:200])
        for row in self._db.execute("SELECT proposal, round, epoch, raw, sum FROM ballot"):
            raw = row[3] if type(row[3]) is bytes else b""
            if _sum(raw) != row[4]:
                raise BoxDamaged(str(self._path), "a ballot fails its checksum")
            try:
                ballot = Ballot.decode(raw)
            except Malformed as error:
                raise BoxDamaged(str(self._path), str(error)) from error
            if (ballot.proposal_id, ballot.round, ballot.epoch) != row[:3]:
                raise BoxDamaged(str(self._path), "a ballot lies in another one's place")
            refuse_foreign(ballot, str(self._path), self._cluster_id, self._voter)
            self._held[place(ballot)] = ballot

        for row in self._db.execute("SELECT proposal, round, sum FROM gone"):
            if [type(each) for each in row[:2]] != [str, int] or _place_sum(row[:2]) != row[2]:
                raise BoxDamaged(str(self._path), "a forgotten ballot fails its checksum")
            self._gone.add(row[:2])
        if self._gone & self._held.keys():
            raise BoxDamaged(str(self._path), "a ballot is there and forgotten")

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    # -- writing -------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Durable when it ends, and in the file itself."""
        with self._typed_errors():
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        try:
            yield
        except _ERRORS as error:
            self._roll_back()
            raise self._ours(error) from error
        except BaseException:
            self._roll_back()
            raise

    def _ours(self, error: Exception) -> Exception:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return StorageFull(str(self._path))
        if code == sqlite3.SQLITE_NOTADB:
            return ForeignStorage(str(self._path), "it is no SQLite file")
        if code == sqlite3.SQLITE_CORRUPT or isinstance(error, UnicodeError):
            return BoxDamaged(str(self._path), str(error))
        return StorageBroken(str(self._path), str(error))

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except _ERRORS:
            return  # the transaction is lost either way; the caller raises the first error


def _sum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _place_sum(where: tuple[str, int]) -> bytes:
    return _sum(repr(("gone", *where)).encode())


def _refuse_exposed(path: Path) -> None:
    if os.name != "posix":
        return  # mode bits say nothing there
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise BoxExposed(str(path), "is not a plain file")
    if found.st_uid != os.geteuid():
        raise BoxExposed(str(path), f"belongs to user {found.st_uid}, not to this node's")
    if found.st_mode & 0o077:
        raise BoxExposed(str(path), f"has mode {stat.S_IMODE(found.st_mode):04o}")
