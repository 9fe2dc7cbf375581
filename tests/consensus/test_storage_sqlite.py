"""The log in SQLite: what comes back, and what is refused."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from storage_lab import batch, body, entries, meta, opened

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
    StorageFull,
    TornTail,
    WrongCluster,
    WrongNode,
)
from consensus.errors import SnapshotCorrupted
from consensus.raft import HardState


def filled(path: Path) -> None:
    storage = SqliteStorage(path, "lab", "a")
    storage.recover()
    storage.write([batch(1, hard=HardState(3, "b"), new=entries(1, 10, 3))])
    storage.close()


def edit(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()


def recovered(path: Path) -> None:
    storage = opened(path)
    try:
        storage.recover()
    finally:
        storage.close()


def test_everything_written_comes_back(tmp_path: Path) -> None:
    filled(tmp_path / "log.db")
    storage = opened(tmp_path / "log.db")
    found = storage.recover()
    storage.close()
    assert found.hard == HardState(3, "b")
    assert found.entries == entries(1, 10, 3)


def test_nobody_else_may_read_the_log(tmp_path: Path) -> None:
    filled(tmp_path / "log.db")
    storage = opened(tmp_path / "log.db")
    storage.recover()
    modes = {p.name: p.stat().st_mode & 0o777 for p in tmp_path.iterdir()}
    storage.close()
    assert set(modes.values()) == {0o600}


def test_a_new_file_is_empty(tmp_path: Path) -> None:
    storage = opened(tmp_path / "deep" / "log.db")
    found = storage.recover()
    storage.close()
    assert found.entries == ()
    assert found.hard == HardState(0, None)


def test_a_cut_and_what_follows_it_are_one_write(tmp_path: Path) -> None:
    filled(tmp_path / "log.db")
    storage = opened(tmp_path / "log.db")
    storage.recover()
    storage.write([batch(1, cut=5, new=entries(5, 7, 4)), batch(2, new=entries(8, 9, 4))])
    storage.close()
    storage = opened(tmp_path / "log.db")
    assert storage.recover().entries == entries(1, 4, 3) + entries(5, 9, 4)
    storage.close()


def test_many_entries_in_one_batch_come_back(tmp_path: Path) -> None:
    storage = opened(tmp_path / "log.db")
    storage.recover()
    storage.write([batch(1, new=entries(1, 2000))])
    storage.close()
    storage = opened(tmp_path / "log.db")
    assert len(storage.recover().entries) == 2000
    storage.close()


def test_a_second_opening_is_refused_while_the_first_lasts(tmp_path: Path) -> None:
    storage = opened(tmp_path / "log.db")
    storage.recover()
    storage.write([batch(1, new=entries(1, 1))])
    with pytest.raises(StorageBroken, match="locked"):
        opened(tmp_path / "log.db")
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
        ("UPDATE hard SET vote = ''", HardStateCorrupted),
        ("DELETE FROM hard", HardStateCorrupted),
        ("UPDATE hard SET commit_hint = 10", HardStateCorrupted),
        ("UPDATE hard SET commit_hint = NULL", HardStateCorrupted),
        ("DELETE FROM log WHERE idx = 1", LogCorrupted),
        ("DELETE FROM log WHERE idx < 10", LogCorrupted),
        ("UPDATE log SET kind = 2 WHERE idx = 4", LogCorrupted),
        ("UPDATE log SET kind = 300 WHERE idx = 4", LogCorrupted),
        ("UPDATE log SET kind = -1 WHERE idx = 4", LogCorrupted),
        ("UPDATE log SET term = -1 WHERE idx = 4", LogCorrupted),
        ("UPDATE log SET data = NULL WHERE idx = 4", LogCorrupted),
        ("UPDATE log SET data = 'text' WHERE idx = 4", LogCorrupted),
        ("UPDATE log SET crc = -5 WHERE idx = 4", LogCorrupted),
        ("UPDATE log SET crc = NULL WHERE idx = 10", TornTail),
        ("UPDATE log SET idx = 20 WHERE idx = 10", LogCorrupted),
        ("UPDATE base SET idx = 3", LogCorrupted),
        ("UPDATE base SET chain = 'x'", LogCorrupted),
        ("DELETE FROM base", LogCorrupted),
        ("DROP TABLE log", LogCorrupted),
        ("CREATE TABLE more (one INTEGER)", LogCorrupted),
        ("DELETE FROM owner", ForeignStorage),
        ("PRAGMA user_version = 0", ForeignStorage),
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
        opened(path)


def test_a_directory_that_cannot_be_made_is_a_broken_storage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageBroken):
        opened(tmp_path / "file" / "log.db")


def test_a_file_of_another_program_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    edit(path, "CREATE TABLE pictures (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(ForeignStorage):
        opened(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("position", [1, 1023, 1024, 1025, 2048, 2500])
def test_damage_is_found_at_every_place_of_a_long_log(tmp_path: Path, position: int) -> None:
    path = tmp_path / "log.db"
    storage = opened(path)
    storage.recover()
    storage.write([batch(1, new=entries(1, 2500))])
    storage.close()
    edit(path, f"UPDATE log SET term = 2 WHERE idx = {position}")
    with pytest.raises(TornTail if position == 2500 else LogCorrupted) as caught:
        recovered(path)
    assert caught.value.index == position


def test_a_last_row_at_the_end_of_a_page_is_a_torn_tail(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    storage = opened(path)
    storage.recover()
    storage.write([batch(1, new=entries(1, 1024))])
    storage.close()
    edit(path, "UPDATE log SET data = x'00' WHERE idx = 1024")
    with pytest.raises(TornTail):
        recovered(path)


# -- older files -----------------------------------------------------------------------------------

OLD_SCHEMA = """
CREATE TABLE owner (one INTEGER PRIMARY KEY CHECK (one = 1), cluster TEXT, node TEXT);
CREATE TABLE hard (one INTEGER PRIMARY KEY CHECK (one = 1), term INTEGER, vote TEXT,
                   crc INTEGER, commit_hint INTEGER);
CREATE TABLE log (idx INTEGER PRIMARY KEY, term INTEGER, kind INTEGER, data BLOB, crc INTEGER);
INSERT INTO owner VALUES (1, 'lab', 'a');
INSERT INTO hard VALUES (1, 3, 'b', 1855473433, 2);
INSERT INTO log VALUES (1, 3, 1, x'31', 589619458);
INSERT INTO log VALUES (2, 3, 1, x'32', 1111442911);
INSERT INTO log VALUES (3, 3, 1, x'33', 2027389447);
PRAGMA application_id = 1129202518;
PRAGMA user_version = 1;
"""


def of_format_1(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.executescript(OLD_SCHEMA)
    db.close()


def test_a_file_of_format_1_is_taken_over_in_place(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    of_format_1(path)
    for _ in range(2):
        storage = opened(path)
        found = storage.recover()
        assert (found.hard, found.commit) == (HardState(3, "b"), 2)
        assert (found.base_index, found.entries) == (0, entries(1, 3, 3))
        storage.close()
    storage = opened(path)
    storage.recover()
    storage.snapshots.write(meta(2, 3), body(2))
    storage.write([batch(1, new=entries(4, 5, 3), compact_to=2)])
    storage.close()
    storage = opened(path)
    assert storage.recover().entries == entries(3, 5, 3)
    storage.close()


def test_a_damaged_file_of_format_1_is_refused_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    of_format_1(path)
    edit(path, "UPDATE hard SET term = 2")
    for _ in range(2):
        with pytest.raises(HardStateCorrupted):
            opened(path)
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    db.close()


# -- compaction, space, and snapshots beside the log -----------------------------------------------


def rows(path: Path) -> int:
    with sqlite3.connect(path) as db:
        (count,) = db.execute("SELECT count(*) FROM log").fetchone()
    db.close()
    return int(count)


def test_rows_before_the_base_go_away_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    storage = opened(path)
    storage.recover()
    storage.write([batch(1, new=entries(1, 10_000))])
    storage.snapshots.write(meta(9_900), body(1))
    storage.write([batch(2, compact_to=9_900)])
    storage.write([batch(3, new=entries(10_001, 10_001))])
    storage.close()
    assert rows(path) == 10_001 - 4096
    storage = opened(path)
    assert len(storage.recover().entries) == 101
    storage.checkpoint()
    storage.close()
    assert rows(path) == 101


def test_the_space_of_compacted_entries_is_used_again(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    storage = opened(path)
    storage.recover()
    sizes = []
    for turn in range(6):
        first = turn * 2000 + 1
        storage.write([batch(turn * 2 + 1, new=entries(first, first + 1999))])
        storage.snapshots.write(meta(first + 1900), [])
        storage.write([batch(turn * 2 + 2, compact_to=first + 1900)])
        storage.checkpoint()
        sizes.append(path.stat().st_size)
    storage.close()
    assert sizes[-1] <= sizes[1] * 1.1


def test_the_write_ahead_log_does_not_grow_without_end(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    storage = opened(path)
    storage.recover()
    storage.checkpoint()
    wal = tmp_path / "log.db-wal"
    length = wal.stat().st_size
    data = bytes(100_000)
    assert length >= 16 * 1024 * 1024
    for index in range(1, 500):
        entry = (Entry(index, 1, EntryKind.COMMAND, data),)
        storage.write([batch(index, new=entry)])
        if storage.checkpoint_due:
            storage.checkpoint()
    assert wal.stat().st_size <= length * 1.2
    storage.close()


def full(tmp_path: Path) -> tuple[SqliteStorage, HardState]:
    storage = opened(tmp_path / "log.db")
    storage.recover()
    storage._db.execute("PRAGMA max_page_count=20")
    storage.write([batch(1, hard=HardState(1, "a"), new=entries(1, 10))])
    with pytest.raises(StorageFull, match=r"log\.db"):
        storage.write([batch(2, hard=HardState(2, None), new=entries(11, 10_000))])
    return storage, HardState(1, "a")


def test_a_full_disk_writes_nothing_and_the_same_call_works_later(tmp_path: Path) -> None:
    storage, _ = full(tmp_path)
    storage._db.execute("PRAGMA max_page_count=1000000")
    storage.write([batch(2, hard=HardState(2, None), new=entries(11, 10_000))])
    storage.close()
    storage = opened(tmp_path / "log.db")
    assert storage.recover().entries == entries(1, 10_000)
    storage.close()


def test_a_full_disk_keeps_what_was_confirmed(tmp_path: Path) -> None:
    storage, hard = full(tmp_path)
    storage.close()
    storage = opened(tmp_path / "log.db")
    found = storage.recover()
    storage.close()
    assert (found.hard, found.entries) == (hard, entries(1, 10))


def test_a_damaged_snapshot_is_replaced_by_the_one_before_if_the_log_reaches_back(
    tmp_path: Path,
) -> None:
    storage = opened(tmp_path / "log.db")
    storage.recover()
    storage.write([batch(1, new=entries(1, 100))])
    for index in (40, 80):
        storage.snapshots.write(meta(index), body(index))
    storage.write([batch(2, compact_to=30)])
    storage.close()
    newest = tmp_path / "snapshot-80-1.snap"
    newest.write_bytes(newest.read_bytes()[:-1])
    storage = opened(tmp_path / "log.db")
    found = storage.recover()
    assert (found.snapshot, found.base_index) == (meta(40), 30)
    storage.write([batch(3, compact_to=60)])
    storage.close()
    storage = opened(tmp_path / "log.db")
    with pytest.raises(SnapshotCorrupted, match=str(newest)):
        storage.recover()
    storage.close()
    assert newest.exists(), "what is damaged is not deleted"


def test_a_folder_that_cannot_be_written_is_a_broken_storage(tmp_path: Path) -> None:
    filled(tmp_path / "log.db")
    tmp_path.chmod(0o500)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(StorageBroken):
            opened(tmp_path / "log.db").recover()
    finally:
        tmp_path.chmod(0o700)
