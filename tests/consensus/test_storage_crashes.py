"""Processes that are killed, power cuts, and bits that change: what the next start finds.

Every group of batches is there as a whole or not at all, nothing that was confirmed is missing
after a kill, and damage is refused by name or has no effect.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from storage_lab import batch, body, entries, meta, opened

from consensus import LogCorrupted, StorageError, StorageFull
from consensus.raft import HardState, Recovered, StoreBatch
from consensus.storage import SqliteStorage

GROUPS = 12
PER_GROUP = 40
FRAME_BYTES = 24 + 4096

# Writes groups for ever and says after each one that it is durable.
WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from storage_lab import batch, body, entries, meta, opened
from consensus.raft import HardState
storage = opened(Path(sys.argv[1]) / "log.db")
found = storage.recover()
last, group = found.base_index + len(found.entries), 0
while True:
    group += 1
    new = entries(last + 1, last + 200, 1)
    compact = None
    if group % 5 == 0:
        storage.snapshots.write(meta(last, 1), body(last, 20))
        storage.snapshots.forget_older()
        compact = last - 50
    storage.write([
        batch(1, new=new[:150], hard=HardState(last + 200, None), commit=last),
        batch(2, new=new[150:], compact_to=compact),
    ])
    last += 200
    print(last, flush=True)
    if group % 7 == 0:
        storage.checkpoint()
"""


@pytest.mark.e2e
def test_a_process_that_is_killed_while_it_writes_loses_nothing_that_it_confirmed(
    tmp_path: Path,
) -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    confirmed = 0
    for _ in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        for _ in range(rng.randrange(1, 25)):
            confirmed = int(child.stdout.readline())
        if rng.random() < 0.7:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(rng.random() * 0.003)
        child.send_signal(signal.SIGKILL)
        confirmed = max([confirmed, *(int(line) for line in child.stdout if line.endswith("\n"))])
        child.stdout.close()
        child.wait()
        storage = opened(tmp_path / "log.db")
        found = storage.recover()
        storage.close()
        last = found.base_index + len(found.entries)
        assert last >= confirmed, f"seed {seed}"
        assert last % 200 == 0, f"seed {seed}: half a group"
        assert found.hard.term == last, f"seed {seed}: term and entries are of one group"
        assert found.entries == entries(found.base_index + 1, last)


# -- the power goes: SQLite's own log is cut anywhere, or a bit of it changes ----------------------


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """A folder as a process leaves it that wrote some groups and died before any checkpoint."""
    storage = opened(tmp_path / "node" / "log.db")
    storage.recover()
    for group in range(GROUPS):
        first = group * PER_GROUP + 1
        new = entries(first, first + PER_GROUP - 1)
        storage.write([batch(group + 1, hard=HardState(group + 1, None), new=new)])
    shutil.copytree(tmp_path / "node", tmp_path / "crashed")
    storage.close()
    return tmp_path / "crashed"


def after(crashed: Path, wal: bytes, work: Path) -> Recovered:
    """What a start finds with these bytes as SQLite's own log."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(crashed, work)
    (work / "log.db-wal").write_bytes(wal)
    storage = opened(work / "log.db")
    try:
        return storage.recover()
    finally:
        storage.close()


def groups_in(found: Recovered) -> int:
    """How many groups are there; each as a whole."""
    groups, rest = divmod(len(found.entries), PER_GROUP)
    assert rest == 0, "half a group"
    assert found.hard.term == groups
    assert found.entries == entries(1, groups * PER_GROUP)
    return groups


def wal_of(crashed: Path) -> bytes:
    return (crashed / "log.db-wal").read_bytes()


def commit_frames(wal: bytes) -> list[int]:
    frames = range((len(wal) - 32) // FRAME_BYTES)
    return [n for n in frames if struct.unpack_from(">I", wal, 32 + n * FRAME_BYTES + 4)[0]]


def test_a_dead_process_leaves_all_that_it_wrote(crashed: Path, tmp_path: Path) -> None:
    assert groups_in(after(crashed, wal_of(crashed), tmp_path / "work")) == GROUPS


def test_a_cut_anywhere_leaves_whole_groups(crashed: Path, tmp_path: Path) -> None:
    wal = wal_of(crashed)
    commits = commit_frames(wal)
    rng = random.Random(1)
    ends = {32 + n * FRAME_BYTES for n in range(len(wal) // FRAME_BYTES)}
    for length in sorted({*rng.sample(range(len(wal)), 40), *rng.sample(sorted(ends), 20)}):
        if length < 32 + (commits[0] + 1) * FRAME_BYTES:
            continue  # not even the tables are there: another file
        found = groups_in(after(crashed, wal[:length], tmp_path / "work"))
        whole = sum(32 + (n + 1) * FRAME_BYTES <= length for n in commits)
        assert found == max(0, whole - (len(commits) - GROUPS))


def test_a_torn_last_transaction_is_cut(crashed: Path, tmp_path: Path) -> None:
    wal = wal_of(crashed)
    commits = commit_frames(wal)
    for frame in range(commits[-2] + 1, commits[-1] + 1):
        torn = bytearray(wal)
        torn[32 + frame * FRAME_BYTES + 500] ^= 1
        assert groups_in(after(crashed, bytes(torn), tmp_path / "work")) == GROUPS - 1


def test_damage_to_a_confirmed_transaction_is_refused_and_stays_refused(
    crashed: Path, tmp_path: Path
) -> None:
    wal = wal_of(crashed)
    commits = commit_frames(wal)
    rng = random.Random(2)
    sure = 32 + (commits[-2] + 1) * FRAME_BYTES
    every_header_bit = range(32 * 8)
    refusals: list[str] = []
    for bit in [*every_header_bit, *rng.sample(range(32 * 8, sure * 8), 150)]:
        damaged = bytearray(wal)
        damaged[bit // 8] ^= 1 << bit % 8
        for _ in range(2):
            try:
                found = after(crashed, bytes(damaged), tmp_path / "work")
            except LogCorrupted as error:
                refusals.append(str(error))
            else:
                assert groups_in(found) == GROUPS, f"bit {bit}"
    assert len(refusals) > 300
    assert all("log.db-wal" in refusal for refusal in refusals)


def test_rolled_back_pages_and_a_second_life_are_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "node" / "log.db"
    storage = opened(path)
    storage.recover()
    storage.checkpoint()
    storage.write([batch(1, new=entries(1, 100))])
    storage._db.execute("PRAGMA cache_size=5")
    storage._db.execute("PRAGMA max_page_count=200")
    with pytest.raises(StorageFull):
        storage.write([batch(2, new=entries(101, 100_000))])
    storage.write([batch(2, new=entries(101, 120))])
    storage.write([batch(3, new=entries(121, 130))])
    for life in range(3):
        shutil.copytree(path.parent, tmp_path / f"life {life}")
        storage.close()
        path = tmp_path / f"life {life}" / "log.db"
        storage = opened(path)
        last = 130 + life * 10
        assert storage.recover().entries == entries(1, last)
        storage.write([batch(4, new=entries(last + 1, last + 10))])
    storage.close()


# -- bits of the file itself -----------------------------------------------------------------------


def outcome(path: Path) -> Recovered | None:
    """What is found; None: it is refused, and the file is named."""
    try:
        storage = opened(path)
    except StorageError as error:
        return named(path, error)
    try:
        return storage.recover()
    except StorageError as error:
        return named(path, error)
    finally:
        storage.close()


def named(path: Path, error: StorageError) -> None:
    assert str(path) in str(error)


@pytest.mark.parametrize("seed", range(4))
def test_a_changed_bit_of_the_file_is_refused_or_has_no_effect(tmp_path: Path, seed: int) -> None:
    path, work = tmp_path / "log.db", tmp_path / "work.db"
    storage = opened(path)
    storage.recover()
    storage.write([batch(1, hard=HardState(3, "b"), new=entries(1, 300, 3), commit=250)])
    storage.snapshots.write(meta(200, 3), body(200))
    storage.write([batch(2, compact_to=100)])
    storage.checkpoint()
    storage.close()
    expected = outcome(path)
    whole = path.read_bytes()
    schema = range(seed * 240, (seed + 1) * 240)  # the header and what is behind it, bit by bit
    refused = 0
    for bit in [*schema, *random.Random(seed).sample(range(len(whole) * 8), 150)]:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        for suffix in ("", "-wal", "-shm"):
            Path(f"{work}{suffix}").unlink(missing_ok=True)
        work.write_bytes(damaged)
        found = outcome(work)
        assert found in (None, expected), f"bit {bit}"
        refused += found is None
    assert refused > 20


# -- a disk that is really full --------------------------------------------------------------------


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root mounts file systems")
    options = ["-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if subprocess.run([mount, *options], capture_output=True, timeout=10).returncode:
        pytest.skip("mounting is not possible here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True, timeout=10)


def test_a_really_full_disk_refuses_and_recovers(tiny_disk: Path) -> None:
    storage = opened(tiny_disk / "log.db")
    storage.recover()
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(2 * 1024 * 1024))
    last, refused = _filled_up(storage)
    with pytest.raises(StorageFull):
        storage.snapshots.write(meta(last), [bytes(4 * 1024 * 1024)])
    ballast.unlink()
    storage.write([refused])
    storage.close()
    storage = opened(tiny_disk / "log.db")
    assert storage.recover().entries == entries(1, last + 500)
    storage.close()
    assert not list(tiny_disk.glob("*.tmp"))


def _filled_up(storage: SqliteStorage) -> tuple[int, StoreBatch]:
    """The last index that was written, and the batch that found no room."""
    last = 0
    while True:
        more = batch(1, new=entries(last + 1, last + 500))
        try:
            storage.write([more])
        except StorageFull:
            return last, more
        last += 500
