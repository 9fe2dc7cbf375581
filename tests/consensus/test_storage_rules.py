"""What every storage does alike: in SQLite, in SQLite without a disk, and in memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from storage_lab import CLUSTER, batch, body, entries, meta, opened

from consensus import Entry, EntryKind, MemoryStorage, SqliteStorage, Storage
from consensus.errors import SnapshotCorrupted
from consensus.raft import HardState, Recovered, SnapshotMeta, StoreBatch

Restart = Callable[[], Storage]


@pytest.fixture(params=["file", "sqlite in memory", "memory"])
def restart(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Restart]:
    """Gives the storage of one node; each call is another process of it."""
    current: list[Storage] = []

    def again() -> Storage:
        before = current.pop() if current else None
        match request.param:
            case "file":
                if before is not None:
                    before.close()
                found: Storage = opened(tmp_path / "log.db")
            case "memory":
                found = before or MemoryStorage(CLUSTER)
            case _:
                assert before is None or isinstance(before, SqliteStorage)
                new = before.after_crash() if before else SqliteStorage.in_memory(CLUSTER, "a")
                found = new
        current.append(found)
        return found

    yield again
    for storage in current:
        storage.close()


def written(restart: Restart, *groups: StoreBatch) -> Recovered:
    """What is there after these writes, in the same process and in the next one."""
    storage = restart()
    storage.recover()
    for group in groups:
        storage.write([group])
    return restart().recover()


def snapshot(storage: Storage, of: SnapshotMeta) -> SnapshotMeta:
    storage.snapshots.write(of, body(of.index))
    return of


def test_a_new_one_is_empty(restart: Restart) -> None:
    assert restart().recover() == Recovered()


def test_entries_of_every_kind_come_back(restart: Restart) -> None:
    new = tuple(Entry(n + 1, 1, kind, b"\0\xff" * n) for n, kind in enumerate(EntryKind))
    found = written(restart, batch(1, new=new))
    assert found.entries == new
    assert all(type(entry) is Entry and type(entry.kind) is EntryKind for entry in found.entries)


def test_the_commit_index_is_kept_with_term_and_vote(restart: Restart) -> None:
    found = written(
        restart,
        batch(1, hard=HardState(4, "b"), commit=7),
        batch(2, new=entries(1, 3), commit=9),
    )
    assert (found.hard, found.commit) == (HardState(4, "b"), 7)


def test_a_compacted_log_begins_behind_its_base(restart: Restart) -> None:
    storage = restart()
    storage.recover()
    storage.write([batch(1, new=entries(1, 100, 3))])
    of = snapshot(storage, meta(60, 3))
    storage.write([batch(2, compact_to=50)])
    storage.write([batch(3, new=entries(101, 110, 4))])
    found = restart().recover()
    assert (found.base_index, found.base_term, found.snapshot) == (50, 3, of)
    assert found.entries == entries(51, 100, 3) + entries(101, 110, 4)


def test_everything_may_be_compacted_and_the_log_goes_on(restart: Restart) -> None:
    storage = restart()
    storage.recover()
    storage.write([batch(1, new=entries(1, 20, 2))])
    snapshot(storage, meta(20, 2))
    storage.write([batch(2, compact_to=20)])
    assert restart().recover().entries == ()
    storage = restart()
    storage.recover()
    storage.write([batch(3, new=entries(21, 22, 5))])
    found = restart().recover()
    assert (found.base_index, found.base_term) == (20, 2)
    assert found.entries == entries(21, 22, 5)


def test_an_installed_snapshot_replaces_the_log(restart: Restart) -> None:
    storage = restart()
    storage.recover()
    storage.write([batch(1, new=entries(1, 100, 3))])
    of = snapshot(storage, meta(500, 7))
    storage.write([batch(2, hard=HardState(8, None), install=of, commit=500)])
    found = restart().recover()
    assert found == Recovered(HardState(8, None), 500, (), 500, 7, of)
    storage = restart()
    storage.recover()
    storage.write([batch(3, new=entries(501, 510, 8))])
    assert restart().recover().entries == entries(501, 510, 8)


def test_a_snapshot_below_the_end_may_be_installed_too(restart: Restart) -> None:
    storage = restart()
    storage.recover()
    storage.write([batch(1, new=entries(1, 100, 3))])
    of = snapshot(storage, meta(40, 4))
    storage.write([batch(2, install=of, new=entries(41, 45, 4))])
    found = restart().recover()
    assert (found.base_index, found.base_term) == (40, 4)
    assert found.entries == entries(41, 45, 4)


def test_install_cut_append_and_compact_fit_into_one_group(restart: Restart) -> None:
    storage = restart()
    storage.recover()
    of = snapshot(storage, meta(50, 2))
    storage.write(
        [
            batch(1, new=entries(1, 10)),
            batch(2, install=of),
            batch(3, new=entries(51, 70, 2)),
            batch(4, cut=61, new=entries(61, 80, 3), compact_to=55),
            batch(5, new=entries(81, 90, 3), compact_to=85),
            batch(6, cut=88),
        ]
    )
    snapshot(storage, meta(86, 3))
    storage.write([batch(7, new=entries(88, 89, 4))])
    found = restart().recover()
    assert (found.base_index, found.base_term) == (85, 3)
    assert found.entries == entries(86, 87, 3) + entries(88, 89, 4)


def test_a_snapshot_that_was_never_installed_is_given_beside_the_old_log(restart: Restart) -> None:
    storage = restart()
    storage.recover()
    storage.write([batch(1, new=entries(1, 10))])
    of = snapshot(storage, meta(50, 2))
    found = restart().recover()
    assert (found.snapshot, found.base_index, found.entries) == (of, 0, entries(1, 10))


def test_a_log_whose_snapshot_is_gone_is_refused(restart: Restart) -> None:
    storage = restart()
    storage.recover()
    storage.write([batch(1, install=meta(50, 2))])
    with pytest.raises(SnapshotCorrupted, match="50"):
        restart().recover()


@pytest.mark.parametrize(
    "wrong",
    [
        batch(2, new=entries(12, 13)),
        batch(2, new=entries(10, 11)),
        batch(2, compact_to=11),
        batch(2, cut=5, new=entries(7, 8)),
    ],
)
def test_misuse_of_a_database_changes_nothing(tmp_path: Path, wrong: StoreBatch) -> None:
    storage = opened(tmp_path / "log.db")
    storage.recover()
    storage.write([batch(1, new=entries(1, 10))])
    with pytest.raises(AssertionError):
        storage.write([batch(2, hard=HardState(9, None)), wrong])
    storage.write([batch(3, new=entries(11, 12))])
    storage.close()
    storage = opened(tmp_path / "log.db")
    found = storage.recover()
    storage.close()
    assert (found.hard, found.entries) == (HardState(0, None), entries(1, 12))


@pytest.mark.parametrize("seed", range(12))
def test_all_storages_hold_the_same_after_the_same_writes(tmp_path: Path, seed: int) -> None:
    """Random groups with restarts between them; `MemoryStorage` is the model."""
    rng = random.Random(seed)
    model = MemoryStorage(CLUSTER)
    disk: SqliteStorage = opened(tmp_path / "log.db")
    memory = SqliteStorage.in_memory(CLUSTER, "a")
    first, last, number = 0, 0, 0
    for storage in (model, disk, memory):
        storage.recover()
    for _ in range(30):
        group = []
        for _ in range(rng.randrange(1, 4)):
            number += 1
            install = compact = cut = None
            if rng.random() < 0.1:
                first = last = rng.randrange(last + 1, last + 20)
                install = meta(first, number)
                for storage in (model, disk, memory):
                    storage.snapshots.write(install, body(first))
            elif last > first and rng.random() < 0.4:
                cut = rng.randrange(first + 1, last + 1)
                last = cut - 1
            count = rng.choice((0, 1, 3, 9, 70, 600))
            new, last = entries(last + 1, last + count, number), last + count
            if last > first and rng.random() < 0.3:
                first = compact = rng.randrange(first + 1, last + 1)
                for storage in (model, disk, memory):
                    storage.snapshots.write(meta(first, number), body(first))
                    storage.snapshots.forget_older()
            hard = HardState(number, rng.choice((None, "a", "b"))) if rng.random() < 0.3 else None
            group.append(batch(number, hard=hard, cut=cut, new=new, commit=number, install=install))
            if compact is not None:
                number += 1
                group.append(batch(number, compact_to=compact))
        for storage in (model, disk, memory):
            storage.write(group)
        if rng.random() < 0.2:
            disk.checkpoint()
        if rng.random() < 0.3:
            disk.close()
            disk, memory = opened(tmp_path / "log.db"), memory.after_crash()
            assert disk.recover() == memory.recover() == model.recover(), f"seed {seed}"
    disk.close()
    memory.close()
