"""The audit log's files: crashes, full disks, tampering, several writers."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from audit_lab import OTHER, OWN, append, judged, note
from hypothesis import given
from hypothesis import strategies as st
from keys_lab import NOW_MS

import keys.auditing.log
from keys.auditing.entry import AuditEntry, Head, decode_checkpoint, frame, frames, link, sign_head
from keys.auditing.heads import HeadNews, HeadStore, HeldHead
from keys.auditing.log import AuditLog, audit_files, read_audit
from keys.auditing.verdict import Fault
from keys.errors import AuditUnwritable


def kinds(home: Path) -> list[str]:
    return [one.note.kind for one in read_audit(home / "audit") if isinstance(one, AuditEntry)]


def last_file(home: Path) -> Path:
    return sorted((home / "audit").glob("*.audit"))[-1]


def test_what_was_appended_is_there_and_the_chain_goes_on_over_a_restart(tmp_path: Path) -> None:
    first = append(AuditLog(tmp_path, OWN), 3)
    again = append(AuditLog(tmp_path, OWN), 2)
    verdict = judged(tmp_path, first, again)
    assert verdict.problem is None
    assert (verdict.last, verdict.compared) == (6, 2)  # and that it was begun
    assert kinds(tmp_path) == ["log.begun", *["peer.refused"] * 5]
    assert oct(last_file(tmp_path).stat().st_mode & 0o777) == "0o600"
    assert oct((tmp_path / "audit").stat().st_mode & 0o777) == "0o700"


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, OWN)
    append(log, 1)
    size = last_file(tmp_path).stat().st_size
    assert log.append([], wall_ms=NOW_MS, monotonic_ms=0) is None
    assert last_file(tmp_path).stat().st_size == size


def test_two_writers_make_one_chain(tmp_path: Path) -> None:
    one, two = AuditLog(tmp_path, OWN), AuditLog(tmp_path, OWN)
    for _ in range(3):
        append(one, 2)
        append(two, 1)
    verdict = judged(tmp_path)
    assert verdict.problem is None
    assert verdict.last == 10


@given(st.data())
def test_a_crash_at_any_byte_of_the_last_write_is_no_tampering(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        log = AuditLog(home, OWN)
        append(log, 3)
        before = last_file(home).stat().st_size
        append(log, 4)
        size = data.draw(st.integers(before, last_file(home).stat().st_size))
        os.truncate(last_file(home), size)
        if data.draw(st.booleans()):  # what a disk may leave of a write that it did not finish
            with last_file(home).open("ab") as file:
                file.write(bytes(data.draw(st.integers(0, 50))))
        assert judged(home).problem is None
        append(AuditLog(home, OWN), 1)
        verdict = judged(home)
        assert verdict.problem is None
        assert verdict.torn_bytes == 0
        assert verdict.unsigned == 0


def test_a_torn_end_is_cut_with_a_word_about_it(tmp_path: Path) -> None:
    append(AuditLog(tmp_path, OWN), 2)
    with last_file(tmp_path).open("ab") as file:
        file.write(b"\0\0\1")
    append(AuditLog(tmp_path, OWN), 1)
    assert kinds(tmp_path)[-2:] == ["log.cut", "peer.refused"]


def test_damage_before_a_checkpoint_is_left_as_it_is_and_said(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, OWN)
    append(log, 3)
    append(log, 3)
    path = last_file(tmp_path)
    data = bytearray(path.read_bytes())
    second = [frame.offset for frame in frames(bytes(data))][1]
    data[second + 2] ^= 0xFF  # its length: nothing behind it can be told apart any more
    path.write_bytes(data)
    append(AuditLog(tmp_path, OWN), 1)
    assert path.read_bytes() == data
    assert len(audit_files(tmp_path / "audit")) == 2
    assert kinds(tmp_path)[-2:] == ["log.broken", "peer.refused"]
    problem = judged(tmp_path).problem
    assert problem is not None
    assert (problem.fault, problem.sequence) == (Fault.CHANGED, 2)


def test_an_end_that_is_taken_away_under_a_running_node_leaves_a_gap(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, OWN)
    append(log, 3)
    size = last_file(tmp_path).stat().st_size
    append(log, 3)
    os.truncate(last_file(tmp_path), size)
    append(log, 1)
    problem = judged(tmp_path).problem
    assert problem is not None
    assert (problem.fault, problem.sequence) == (Fault.REMOVED, 5)
    assert kinds(tmp_path)[-2:] == ["log.broken", "peer.refused"]


def test_a_directory_that_is_removed_under_a_running_node_leaves_a_gap(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, OWN)
    append(log, 3)
    for path in (tmp_path / "audit").iterdir():
        path.unlink()
    append(log, 1)
    problem = judged(tmp_path).problem
    assert problem is not None
    assert (problem.fault, problem.sequence) == (Fault.REMOVED, 1)


def test_files_rotate_and_the_oldest_goes_with_a_word_about_it(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, OWN, limit_bytes=64 << 10)
    for _ in range(80):
        append(log, 10)
    files = sorted((tmp_path / "audit").glob("*.audit"))
    assert sum(path.stat().st_size for path in files) < 80 << 10
    verdict = judged(tmp_path)
    assert verdict.problem is None
    assert verdict.first > 1
    assert "log.dropped" in kinds(tmp_path)
    files[0].unlink()
    problem = judged(tmp_path).problem
    assert problem is not None
    assert problem.fault is Fault.REMOVED


def test_entries_without_a_key_are_signed_by_the_next_start(tmp_path: Path) -> None:
    append(AuditLog(tmp_path, OWN), 1)
    locked = AuditLog(tmp_path, None)
    assert locked.append([note(0, "unlock.failed")], wall_ms=NOW_MS, monotonic_ms=0) is None
    assert judged(tmp_path).unsigned == 1
    append(AuditLog(tmp_path, OWN), 1)
    assert kinds(tmp_path)[-2:] == ["log.unsigned", "peer.refused"]
    verdict = judged(tmp_path)
    assert (verdict.problem, verdict.unsigned) == (None, 0)


def test_a_file_that_was_put_there_is_set_aside_and_leads_nowhere(tmp_path: Path) -> None:
    append(AuditLog(tmp_path, OWN), 3)
    number = 9_000_000_000_000_000
    forged = link(Head(number - 1, bytes(32)), note(1))
    for signer in (None, OTHER):
        path = tmp_path / "audit" / f"{number}.audit"
        signed = b"" if signer is None else frame(sign_head(signer, forged.head, NOW_MS).raw)
        path.write_bytes(frame(forged.raw) + signed)
        append(AuditLog(tmp_path, OWN), 1)
        assert not path.exists()
        assert path.with_suffix(".foreign").exists()
        assert kinds(tmp_path)[-2:] == ["log.broken", "peer.refused"]
        assert judged(tmp_path).problem is None


class Crash(BaseException):
    """The process is gone."""


def test_a_crash_between_any_two_steps_leaves_a_whole_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while files rotate and the oldest goes."""
    left = 0

    def step(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def acted(*args: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise Crash
            return act(*args)

        return acted

    log = AuditLog(tmp_path, OWN, limit_bytes=64 << 10)
    while audit_files(tmp_path / "audit")[:1] in ([], [1]):
        append(log, 12)
    told = append(log, 1)
    for name in ("write", "fsync", "ftruncate", "open"):
        monkeypatch.setattr(f"keys.auditing.log.os.{name}", step(name, getattr(os, name)))
    for name in ("remove_file", "sync_directory"):
        act = getattr(keys.auditing.log, name)
        monkeypatch.setattr(f"keys.auditing.log.{name}", step(name, act))
    for crash_at in [*range(1, 30)] * 6:
        left = crash_at
        log = AuditLog(tmp_path, OWN, limit_bytes=64 << 10)
        try:
            for _ in range(3):
                told = append(log, 12)
        except Crash:
            pass
        left = -1
        verdict = judged(tmp_path, told)
        assert verdict.problem is None, (crash_at, verdict)
        assert verdict.last >= told.head.sequence
    left = -1
    append(AuditLog(tmp_path, OWN, limit_bytes=64 << 10), 1)
    assert judged(tmp_path).unsigned == 0
    assert "log.dropped" in kinds(tmp_path)


def test_entries_without_a_key_are_bounded(tmp_path: Path) -> None:
    locked = AuditLog(tmp_path, None, limit_bytes=64 << 10)
    with pytest.raises(AuditUnwritable):
        for _ in range(200):
            locked.append([note(0, "unlock.failed")] * 5, wall_ms=NOW_MS, monotonic_ms=0)
    size = sum(path.stat().st_size for path in (tmp_path / "audit").iterdir())
    assert size < 16 << 10
    append(AuditLog(tmp_path, OWN, limit_bytes=64 << 10), 1)
    assert judged(tmp_path).problem is None


def test_a_full_disk_loses_nothing_that_was_written(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, OWN)
    append(log, 3)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        size = last_file(tmp_path).stat().st_size
        for room in (0, 1, 100, 300):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, hard))
            with pytest.raises(AuditUnwritable, match="File too large"):
                append(log, 3)
            assert last_file(tmp_path).stat().st_size == size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    append(log, 2)
    verdict = judged(tmp_path)
    assert (verdict.problem, verdict.last, verdict.unsigned) == (None, 6, 0)


WRITER = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from audit_lab import OWN, append
from keys.auditing import AuditLog
log = AuditLog(Path({home!r}), OWN, limit_bytes=64 << 10)
print("up", flush=True)
while True:
    print(append(log, 7).raw.hex(), flush=True)
"""


def test_a_writer_that_is_killed_again_and_again_leaves_a_whole_log(tmp_path: Path) -> None:
    for round_ in range(12):
        code = WRITER.format(path=sys.path, home=str(tmp_path))
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            told = process.stdout.readline()
            time.sleep(0.013 * (round_ % 5))
            process.kill()
            whole = [told, *process.stdout.read().splitlines(keepends=True)]
        told = next(line for line in reversed(whole) if line.endswith(b"\n"))
        held = decode_checkpoint(bytes.fromhex(told.decode()))
        verdict = judged(tmp_path, held)
        assert verdict.problem is None, verdict
        assert verdict.last >= held.head.sequence, "what was told was durable before"
        assert verdict.unsigned <= 8
    assert verdict.last >= 12 * 7, "each was told of once"


# -- heads of others ---------------------------------------------------------------------------


def test_a_head_that_goes_back_or_forks_is_told_from_one_that_comes_late(tmp_path: Path) -> None:
    log, other = AuditLog(tmp_path / "a", OWN), AuditLog(tmp_path / "b", OWN)
    told = [append(log, 2) for _ in range(3)]
    forked = [append(other, 2, "peer.admitted") for _ in range(3)]
    held = HeldHead()
    assert [held.take(one) for one in told] == [HeadNews.NEWER] * 3
    assert held.take(told[1]) is HeadNews.KNOWN
    assert held.take(forked[1]) is HeadNews.BACK
    assert held.take(forked[2]) is HeadNews.FORKED
    restarted = HeldHead(told[2])
    assert restarted.take(told[0]) is HeadNews.BACK
    assert restarted.newest == told[2]


def test_heads_survive_on_disk_and_damaged_ones_are_left_out(tmp_path: Path) -> None:
    one = append(AuditLog(tmp_path / "a", OWN), 1)
    two = append(AuditLog(tmp_path / "b", OTHER), 1)
    store = HeadStore(tmp_path)
    store.save(one)
    store.save(two)
    store.save_fork(one)
    (tmp_path / "audit" / "heads" / f"{OTHER.peer_id}.head").write_bytes(b"nonsense")
    (tmp_path / "audit" / "heads" / "notes.txt").write_bytes(b"nonsense")
    assert store.load() == ({OWN.peer_id: one}, {OWN.peer_id: one})
