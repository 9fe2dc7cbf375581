"""The log in SQLite: what comes back, and what is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from consensus import (
    Entry,
    EntryKind,
    ForeignStorage,
    HardStateCorrupted,
    LogCorrupted,
    NewerFormat,
    SqliteStorage,
    StorageBroken,
    StorageError,
    TornTail,
    WrongCluster,
    WrongNode,
)
from consensus.raft import HardState, StoreBatch


def entries(first: int, last: int, term: int = 1) -> tuple[Entry, ...]:
    return tuple(Entry(n, term, EntryKind.COMMAND, b"%d" % n) for n in range(first, last + 1))


def batch(
    number: int,
    *,
    hard: HardState | None = None,
    cut: int | None = None,
    new: tuple[Entry, ...] = (),
) -> StoreBatch:
    return StoreBatch(number, hard, cut, new, 0)


def filled(path: Path) -> None:
    storage = SqliteStorage(path, "lab", "a")
    storage.recover()
    storage.write([batch(1, hard=HardState(3, "b"), new=entries(1, 10, 3))])
    storage.close()


def edit(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()


def reopened(path: Path) -> SqliteStorage:
    return SqliteStorage(path, "lab", "a")


def recovered(path: Path) -> None:
    storage = reopened(path)
    try:
        storage.recover()
    finally:
        storage.close()


def test_everything_written_comes_back(tmp_path: Path) -> None:
    filled(tmp_path / "log.db")
    storage = reopened(tmp_path / "log.db")
    found = storage.recover()
    storage.close()
    assert found.hard == HardState(3, "b")
    assert found.entries == entries(1, 10, 3)


def test_nobody_else_may_read_the_log(tmp_path: Path) -> None:
    filled(tmp_path / "log.db")
    storage = reopened(tmp_path / "log.db")
    storage.recover()
    modes = {p.name: p.stat().st_mode & 0o777 for p in tmp_path.iterdir()}
    storage.close()
    assert set(modes.values()) == {0o600}


def test_a_new_file_is_empty(tmp_path: Path) -> None:
    storage = reopened(tmp_path / "deep" / "log.db")
    found = storage.recover()
    storage.close()
    assert found.entries == ()
    assert found.hard == HardState(0, None)


def test_a_cut_and_what_follows_it_are_one_write(tmp_path: Path) -> None:
    filled(tmp_path / "log.db")
    storage = reopened(tmp_path / "log.db")
    storage.recover()
    storage.write([batch(1, cut=5, new=entries(5, 7, 4)), batch(2, new=entries(8, 9, 4))])
    storage.close()
    storage = reopened(tmp_path / "log.db")
    assert storage.recover().entries == entries(1, 4, 3) + entries(5, 9, 4)
    storage.close()


def test_many_entries_in_one_batch_come_back(tmp_path: Path) -> None:
    storage = reopened(tmp_path / "log.db")
    storage.recover()
    storage.write([batch(1, new=entries(1, 2000))])
    storage.close()
    storage = reopened(tmp_path / "log.db")
    assert len(storage.recover().entries) == 2000
    storage.close()


def test_a_second_opening_is_refused_while_the_first_lasts(tmp_path: Path) -> None:
    storage = reopened(tmp_path / "log.db")
    storage.recover()
    storage.write([batch(1, new=entries(1, 1))])
    with pytest.raises(StorageBroken, match="locked"):
        reopened(tmp_path / "log.db")
    storage.close()


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        ("UPDATE log SET data = x'00' WHERE idx = 4", LogCorrupted),
        ("UPDATE log SET term = 9 WHERE idx = 4", LogCorrupted),
        ("DELETE FROM log WHERE idx = 4", LogCorrupted),
        ("UPDATE log SET data = x'00' WHERE idx = 10", TornTail),
        ("UPDATE hard SET term = 1", HardStateCorrupted),
        ("UPDATE hard SET vote = 'c'", HardStateCorrupted),
        ("PRAGMA user_version = 99", NewerFormat),
        ("PRAGMA application_id = 1", ForeignStorage),
        ("UPDATE owner SET cluster = 'other'", WrongCluster),
        ("UPDATE owner SET node = 'b'", WrongNode),
    ],
)
def test_damage_is_found_and_named(tmp_path: Path, damage: str, error: type[StorageError]) -> None:
    path = tmp_path / "log.db"
    filled(path)
    edit(path, damage)
    with pytest.raises(error, match=str(path)):
        recovered(path)


def test_a_file_that_is_no_database_is_foreign(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.write_bytes(b"these are my holiday pictures" * 100)
    with pytest.raises(ForeignStorage):
        reopened(path)


def test_a_directory_that_cannot_be_made_is_a_broken_storage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageBroken):
        reopened(tmp_path / "file" / "log.db")
