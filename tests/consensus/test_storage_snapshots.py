"""Snapshots as files: whole, verified, two in a row, or refused by name."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from storage_lab import (
    CLUSTER,
    IO_ERROR,
    MEMBERS,
    NO_ROOM,
    body,
    copies_before_each_step,
    fails_at,
    meta,
    sent,
)

from consensus import NewerFormat, StorageBroken, StorageFull, WrongCluster
from consensus.errors import MessageFault, MessageRefused, SnapshotCorrupted
from consensus.raft import SnapshotMeta
from consensus.storage.memory import MemorySnapshots
from consensus.storage.snapshot_format import PIECE_BYTES
from consensus.storage.snapshots import FileSnapshots


def store(folder: Path) -> FileSnapshots:
    return FileSnapshots(folder, CLUSTER)


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob("*.tmp"))


def held(snapshots: FileSnapshots, of: SnapshotMeta) -> bytes:
    return b"".join(snapshots.open(of).chunks())


def test_a_folder_without_snapshots_has_none(tmp_path: Path) -> None:
    assert store(tmp_path / "deep").latest() is None


def test_a_snapshot_comes_back_after_a_restart(tmp_path: Path) -> None:
    written = store(tmp_path).write(meta(7, 2), body(7))
    again = store(tmp_path)
    assert again.latest() == meta(7, 2)
    assert held(again, meta(7, 2)) == b"".join(body(7))
    reader = again.open(meta(7, 2))
    assert (reader.size, reader.digest) == (written.size, written.digest)
    assert [path.name for path in tmp_path.iterdir()] == ["snapshot-7-2.snap"]
    assert (tmp_path / "snapshot-7-2.snap").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("sizes", [(), (0,), (PIECE_BYTES,), (PIECE_BYTES * 2 + 3, 1, 5)])
def test_bodies_of_any_size_come_back(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    chunks = [random.Random(size).randbytes(size) for size in sizes]
    store(tmp_path).write(meta(7), chunks)
    assert held(store(tmp_path), meta(7)) == b"".join(chunks)


def test_a_snapshot_is_written_as_it_is_made(tmp_path: Path) -> None:
    made = 0

    def chunks() -> Iterator[bytes]:
        nonlocal made
        for _ in range(5):
            made += 1
            yield bytes(PIECE_BYTES)
            written = sum(path.stat().st_size for path in tmp_path.iterdir())
            assert written >= PIECE_BYTES * made, "it is held in memory"

    store(tmp_path).write(meta(7), chunks())
    assert made == 5


def test_two_in_a_row_and_the_newest_is_the_latest(tmp_path: Path) -> None:
    snapshots = store(tmp_path)
    for index in (9, 10, 100):
        snapshots.write(meta(index), body(index))
    assert snapshots.latest() == store(tmp_path).latest() == meta(100)
    snapshots.forget_older()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "snapshot-10-1.snap",
        "snapshot-100-1.snap",
    ]
    assert held(snapshots, meta(10)) == b"".join(body(10))
    with pytest.raises(StorageBroken, match=r"snapshot-9-1\.snap"):
        snapshots.open(meta(9))


def test_the_same_snapshot_may_be_made_again(tmp_path: Path) -> None:
    snapshots = store(tmp_path)
    for _ in range(2):
        snapshots.write(meta(9), body(9))
    assert held(store(tmp_path), meta(9)) == b"".join(body(9))


def test_an_open_one_stays_readable_when_it_is_forgotten(tmp_path: Path) -> None:
    snapshots = store(tmp_path)
    snapshots.write(meta(1), body(1))
    reader = snapshots.open(meta(1))
    for index in (2, 3):
        snapshots.write(meta(index), body(index))
    snapshots.forget_older()
    assert b"".join(reader.chunks()) == b"".join(body(1))
    reader.close()


# -- crashes and faults ----------------------------------------------------------------------------


def test_a_process_that_dies_at_any_step_leaves_the_old_or_the_new_one(tmp_path: Path) -> None:
    folder, copies = tmp_path / "node", tmp_path / "copies"
    store(folder).write(meta(5), body(5))
    files = copies_before_each_step(folder, copies)
    FileSnapshots(folder, CLUSTER, files).write(meta(9), body(9))
    assert files.steps == ["create", "write", "sync", "rename", "sync_folder"]
    for copy in sorted(copies.iterdir()):
        found = store(copy)
        expected = 9 if "sync_folder" in copy.name else 5
        assert found.latest() == meta(expected), copy.name
        assert held(found, meta(expected)) == b"".join(body(expected))
        assert not leftovers(copy)


def test_a_receiver_that_dies_at_any_step_leaves_the_old_or_the_new_one(tmp_path: Path) -> None:
    store(tmp_path / "leader").write(meta(9), body(9))
    data = sent(store(tmp_path / "leader"), meta(9))
    folder, copies = tmp_path / "node", tmp_path / "copies"
    store(folder).write(meta(5), body(5))
    files = copies_before_each_step(folder, copies)
    writer = FileSnapshots(folder, CLUSTER, files).receive(meta(9), len(data))
    for at in range(0, len(data), 5000):
        writer.append(at, data[at : at + 5000])
    writer.commit()
    assert len(files.steps) > 6
    for copy in sorted(copies.iterdir()):
        found = store(copy)
        expected = 9 if "sync_folder" in copy.name else 5
        assert found.latest() == meta(expected), copy.name
        assert held(found, meta(expected)) == b"".join(body(expected))


@pytest.mark.parametrize("step", ["create", "write", "sync", "rename", "sync_folder"])
@pytest.mark.parametrize(("code", "error"), [(NO_ROOM, StorageFull), (IO_ERROR, StorageBroken)])
def test_a_failing_disk_is_named_and_leaves_nothing_behind(
    tmp_path: Path, step: str, code: int, error: type[Exception]
) -> None:
    store(tmp_path).write(meta(5), body(5))
    snapshots = FileSnapshots(tmp_path, CLUSTER, fails_at(step, code))
    with pytest.raises(error, match=str(tmp_path)):
        snapshots.write(meta(9), body(9))
    assert not leftovers(tmp_path)
    assert snapshots.latest() == meta(5)


def test_a_machine_that_raises_leaves_nothing_behind(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield bytes(PIECE_BYTES)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store(tmp_path).write(meta(9), chunks())
    assert list(tmp_path.iterdir()) == []


def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path: Path) -> None:
    program = f"""
import resource
from pathlib import Path
from consensus import StorageFull
from consensus.raft import Membership, SnapshotMeta
from consensus.storage.snapshots import FileSnapshots
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
snapshots = FileSnapshots(Path({str(tmp_path)!r}), "lab")
try:
    snapshots.write(SnapshotMeta(9, 1, Membership(("a",)), 0), [bytes(50_000)] * 40)
except StorageFull:
    print("full")
"""
    pytest.importorskip("resource", reason="no limits on the size of files here")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip() == "full"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_a_broken_storage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageBroken, match="file"):
        store(tmp_path / "file" / "node").latest()


def test_a_snapshot_that_cannot_be_read_is_a_broken_storage(tmp_path: Path) -> None:
    (tmp_path / "snapshot-3-1.snap").mkdir()
    with pytest.raises(StorageBroken, match=str(tmp_path)):
        store(tmp_path).latest()


# -- damage ----------------------------------------------------------------------------------------


def test_every_truncation_and_many_flipped_bits_are_noticed(tmp_path: Path) -> None:
    store(tmp_path).write(meta(5), [b"old"])
    store(tmp_path).write(meta(9), [b"new state"])
    path = tmp_path / "snapshot-9-1.snap"
    whole = path.read_bytes()
    flipped = (
        whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :] for at in range(len(whole))
    )
    shortened = (whole[:length] for length in range(len(whole)))
    for damaged in (*flipped, *shortened, whole + b"\0"):
        path.write_bytes(damaged)
        found = store(tmp_path)
        assert found.latest() == meta(5)
        ((named, _why),) = found.damaged
        assert named == path


def test_a_renamed_snapshot_does_not_count(tmp_path: Path) -> None:
    store(tmp_path).write(meta(5), [b"old"])
    (tmp_path / "snapshot-5-1.snap").rename(tmp_path / "snapshot-9-1.snap")
    found = store(tmp_path)
    assert found.latest() is None
    assert found.damaged[0][1] == "its name is that of another one"


def test_a_snapshot_that_rots_while_it_is_held_is_noticed_at_its_end(tmp_path: Path) -> None:
    snapshots = store(tmp_path)
    snapshots.write(meta(5), body(5))
    path = tmp_path / "snapshot-5-1.snap"
    whole = bytearray(path.read_bytes())
    whole[200] ^= 1
    path.write_bytes(whole)
    with pytest.raises(SnapshotCorrupted, match=str(path)):
        held(snapshots, meta(5))


def test_a_snapshot_of_another_cluster_stops_the_start(tmp_path: Path) -> None:
    FileSnapshots(tmp_path, "other").write(meta(5), body(5))
    with pytest.raises(WrongCluster, match=r"snapshot-5-1\.snap.*other"):
        store(tmp_path).latest()


def test_a_snapshot_of_a_newer_format_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("consensus.storage.snapshot_format.FORMAT", 9)
        store(tmp_path).write(meta(5), body(5))
    with pytest.raises(NewerFormat, match="format 9"):
        store(tmp_path).latest()


# -- from node to node -----------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    store(tmp_path / "leader").write(meta(9), body(9))
    return sent(store(tmp_path / "leader"), meta(9))


@pytest.mark.parametrize("part_bytes", [1, 100, 10**6])
def test_what_was_received_is_what_was_sent(tmp_path: Path, data: bytes, part_bytes: int) -> None:
    for snapshots in (store(tmp_path / "node"), MemorySnapshots(CLUSTER)):
        writer = snapshots.receive(meta(9), len(data))
        for at in range(0, len(data), part_bytes):
            writer.append(at, data[at : at + part_bytes])
        file = writer.commit()
        assert (file.meta, file.size, file.digest) == (meta(9), len(data), data[-32:])
        assert snapshots.latest() == meta(9)
        assert b"".join(snapshots.open(meta(9)).chunks()) == b"".join(body(9))
    assert held(store(tmp_path / "node"), meta(9)) == b"".join(body(9))


def refused(
    snapshots: FileSnapshots | MemorySnapshots, of: SnapshotMeta, data: bytes, size: int
) -> MessageFault:
    writer = snapshots.receive(of, size)
    writer.append(0, data)
    with pytest.raises(MessageRefused) as caught:
        writer.commit()
    assert snapshots.latest() is None
    return caught.value.fault


def test_what_was_damaged_on_the_way_is_refused(tmp_path: Path, data: bytes) -> None:
    for snapshots in (store(tmp_path / "node"), MemorySnapshots(CLUSTER)):
        size = len(data)
        changed = data[:300] + b"?" + data[301:]
        assert refused(snapshots, meta(9), changed, size) is MessageFault.CHECKSUM
        assert refused(snapshots, meta(9), data[:-1], size) is MessageFault.TRUNCATED
        assert refused(snapshots, meta(9), data[:-1], size - 1) is MessageFault.CHECKSUM
        assert refused(snapshots, meta(9), b"", 0) is MessageFault.CHECKSUM
        other = SnapshotMeta(9, 1, MEMBERS, 1)
        assert refused(snapshots, other, data, size) is MessageFault.KIND
    assert not leftovers(tmp_path / "node")


def test_a_snapshot_of_another_cluster_is_not_received(tmp_path: Path, data: bytes) -> None:
    for snapshots in (FileSnapshots(tmp_path / "x", "other"), MemorySnapshots("other")):
        assert refused(snapshots, meta(9), data, len(data)) is MessageFault.CLUSTER


def test_an_aborted_transfer_leaves_nothing(tmp_path: Path, data: bytes) -> None:
    snapshots = store(tmp_path / "node")
    writer = snapshots.receive(meta(9), len(data))
    writer.append(0, data[:100])
    assert leftovers(tmp_path / "node")
    writer.abort()
    writer.abort()
    assert list((tmp_path / "node").iterdir()) == []


def test_a_full_disk_ends_a_transfer_and_its_space_is_free_again(
    tmp_path: Path, data: bytes
) -> None:
    snapshots = FileSnapshots(tmp_path / "node", CLUSTER, fails_at("write", NO_ROOM))
    writer = snapshots.receive(meta(9), len(data))
    with pytest.raises(StorageFull):
        writer.append(0, data)
    assert list((tmp_path / "node").iterdir()) == []
