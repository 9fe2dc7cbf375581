"""The tables of a log in SQLite, whose they are, and how older files become newer ones.

    owner   cluster and node: a file is never another node's (R23)
    hard    term, vote and commit index, one record with one checksum (R1)
    base    the log begins behind this entry: index, term, the checksum its chain goes on from
    log     one row an entry; rows up to the base are leftovers and mean nothing

Format 1 had no base, no record of term and vote before the first change, and its commit index was
outside the checksum.

What this module does not know: what is written when.
"""

from __future__ import annotations

import sqlite3
import struct
import zlib

from consensus.errors import (
    ForeignStorage,
    HardStateCorrupted,
    LogCorrupted,
    NewerFormat,
    WrongCluster,
    WrongNode,
)
from consensus.raft import HardState
from consensus.storage.base import base_checksum, hard_checksum

APPLICATION_ID = 0x434E4356  # "CNCV", in the file's header
FORMAT = 2
MAX_NUMBER = 2**62
FRESH = HardState(0, None)
# What SQLite raises; the second one where it cannot even say what is wrong with a damaged file.
SQLITE_ERRORS = (sqlite3.Error, UnicodeError)

_BASE = """
CREATE TABLE base (one INTEGER PRIMARY KEY CHECK (one = 1), idx INTEGER, term INTEGER,
                   chain INTEGER, crc INTEGER)
"""
_SCHEMA = (
    "CREATE TABLE owner (one INTEGER PRIMARY KEY CHECK (one = 1), cluster TEXT, node TEXT)",
    """
    CREATE TABLE hard (one INTEGER PRIMARY KEY CHECK (one = 1), term INTEGER, vote TEXT,
                       crc INTEGER, commit_hint INTEGER)
    """,
    """
    CREATE TABLE log (idx INTEGER PRIMARY KEY, term INTEGER, kind INTEGER, data BLOB, crc INTEGER)
    """,
    _BASE,
)


def refuse_foreign(db: sqlite3.Connection, path: str) -> None:
    """For the first look at a file: nothing of another program's is changed.

    Raises:
        ForeignStorage: another program made it.
        LogCorrupted: it has lost its tables, and would be taken for a new one.
        sqlite3.Error: it cannot be read.
    """
    (found_id,) = db.execute("PRAGMA application_id").fetchone()
    has_tables = _has_tables(db)
    if has_tables and found_id != APPLICATION_ID:
        raise ForeignStorage(path, "another program made it")
    if not has_tables and found_id == APPLICATION_ID:
        raise LogCorrupted(path, 0, "its tables are gone")


def prepare(db: sqlite3.Connection, path: str, cluster_id: str, node_id: str) -> None:
    """Make the tables, or see that they are ours and of the present format.

    Raises:
        ForeignStorage, NewerFormat, WrongCluster, WrongNode: the file is not this node's.
        LogCorrupted: its tables are not as they were made.
        HardStateCorrupted: a file of format 1 is damaged.
        sqlite3.Error: it cannot be read.
    """
    if not _has_tables(db):
        _create(db, cluster_id, node_id)
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > FORMAT:
        raise NewerFormat(path, version, FORMAT)
    if version < 1:
        raise ForeignStorage(path, "its format is unknown")
    _check_tables(db, path, version)
    _check_owner(db, path, cluster_id, node_id)
    if version == 1:
        _migrate(db, path)


def check_pages(db: sqlite3.Connection, path: str) -> None:
    """See that no page has lost rows: the checksums of entries do not show a missing end.

    Raises:
        LogCorrupted: some page contradicts itself.
        sqlite3.Error: it cannot be read.
    """
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise LogCorrupted(path, 0, " ".join(str(found).split()))


def read_hard(db: sqlite3.Connection, path: str) -> tuple[HardState, int]:
    """Term and vote, and the commit index beside them.

    Raises:
        HardStateCorrupted: they cannot be trusted.
    """
    row = db.execute("SELECT term, vote, crc, commit_hint FROM hard").fetchone()
    if row is None:
        raise HardStateCorrupted(path, "it is gone")
    term, vote, crc, commit = row
    _check_hard_shape(path, term, vote, commit)
    if hard_checksum(HardState(term, vote), commit) != crc:
        raise HardStateCorrupted(path, "its checksum does not fit")
    return HardState(term, vote), commit


def write_hard(db: sqlite3.Connection, hard: HardState, commit: int) -> None:
    """Replace the one record."""
    db.execute(
        "INSERT OR REPLACE INTO hard VALUES (1, ?, ?, ?, ?)",
        (hard.term, hard.vote, hard_checksum(hard, commit), commit),
    )


def read_base(db: sqlite3.Connection, path: str) -> tuple[int, int, int]:
    """Index and term that the log begins behind, and the checksum that its chain goes on from.

    Raises:
        LogCorrupted: they cannot be trusted.
    """
    row = db.execute("SELECT idx, term, chain, crc FROM base").fetchone()
    if row is None:
        raise LogCorrupted(path, 0, "it does not say where it begins")
    *numbers, crc = row
    if not all(type(n) is int and 0 <= n <= MAX_NUMBER for n in numbers) or numbers[2] >= 2**32:
        raise LogCorrupted(path, 0, "where it begins has no such shape")
    index, term, chain = numbers
    if base_checksum(index, term, chain) != crc:
        raise LogCorrupted(path, index, "the checksum of where it begins does not fit")
    return index, term, chain


def write_base(db: sqlite3.Connection, index: int, term: int, chain: int) -> None:
    """Let the log begin behind this entry."""
    db.execute(
        "INSERT OR REPLACE INTO base VALUES (1, ?, ?, ?, ?)",
        (index, term, chain, base_checksum(index, term, chain)),
    )


def _has_tables(db: sqlite3.Connection) -> bool:
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(tables)


def _create(db: sqlite3.Connection, cluster_id: str, node_id: str) -> None:
    db.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        db.execute(statement)
    db.execute("INSERT INTO owner VALUES (1, ?, ?)", (cluster_id, node_id))
    write_base(db, 0, 0, 0)
    write_hard(db, FRESH, 0)
    db.execute(f"PRAGMA application_id={APPLICATION_ID}")
    db.execute(f"PRAGMA user_version={FORMAT}")
    db.execute("COMMIT")


def _check_tables(db: sqlite3.Connection, path: str, version: int) -> None:
    """One letter of a table's definition decides what SQLite finds in it."""
    made = _SCHEMA if version == FORMAT else _SCHEMA[:-1]
    found = db.execute("SELECT sql FROM sqlite_master").fetchall()
    if sorted(_words(sql) for (sql,) in found) != sorted(map(_words, made)):
        raise LogCorrupted(path, 0, "its tables are not as they were made")


def _words(sql: object) -> str:
    return " ".join(str(sql).split())


def _check_owner(db: sqlite3.Connection, path: str, cluster_id: str, node_id: str) -> None:
    row = db.execute("SELECT cluster, node FROM owner").fetchone()
    if row is None:
        raise ForeignStorage(path, "it names no owner")
    if row[0] != cluster_id:
        raise WrongCluster(path, str(row[0]), cluster_id)
    if row[1] != node_id:
        raise WrongNode(path, str(row[1]), node_id)


def _check_hard_shape(path: str, term: object, vote: object, commit: object) -> None:
    is_shaped = type(term) is int and type(commit) is int and (vote is None or type(vote) is str)
    if not is_shaped or not all(0 <= n <= MAX_NUMBER for n in (term, commit)):  # type: ignore[operator]
        raise HardStateCorrupted(path, "it has no such shape")


def _migrate(db: sqlite3.Connection, path: str) -> None:
    """Format 1 to 2, in one transaction. What is damaged is refused, not sealed anew."""
    db.execute("BEGIN IMMEDIATE")
    db.execute(_BASE)
    write_base(db, 0, 0, 0)
    row = db.execute("SELECT term, vote, crc, commit_hint FROM hard").fetchone()
    if row is None:
        write_hard(db, FRESH, 0)
    else:
        term, vote, crc, commit = row
        _check_hard_shape(path, term, vote, commit)
        if zlib.crc32((vote or "").encode(), zlib.crc32(struct.pack(">Q", term))) != crc:
            raise HardStateCorrupted(path, "its checksum does not fit")
        write_hard(db, HardState(term, vote), commit)
    db.execute(f"PRAGMA user_version={FORMAT}")
    db.execute("COMMIT")
