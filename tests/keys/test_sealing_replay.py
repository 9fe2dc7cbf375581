"""What is fresh: windows, floors, restarts, clocks."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keys_lab import DAY_MS, NOW_MS, key

from keys import HomeDamaged, HomeUnreadable
from keys.canonical import NotCanonical
from keys.sealing import (
    ReplayGuard,
    SealedInFuture,
    SealedRefused,
    SealedReplayed,
    SealedTooOld,
    SeenMessages,
    Stamp,
    replay,
)
from keys.sealing import seen as seen_module

ADA, BOB = key(11).peer_id, key(12).peer_id
ONE, TWO = b"epoch-01", b"epoch-02"


def test_a_message_is_taken_once_and_in_any_order_within_the_window() -> None:
    guard = ReplayGuard()
    for sequence in (5, 3, 4, 1000, 999, 6):
        guard.take(ADA, Stamp(ONE, sequence, NOW_MS), NOW_MS)
        with pytest.raises(SealedReplayed, match="it came before"):
            guard.take(ADA, Stamp(ONE, sequence, NOW_MS), NOW_MS)
    guard.take(ADA, Stamp(ONE, 3000, NOW_MS), NOW_MS)
    with pytest.raises(SealedReplayed, match="2000 messages behind"):
        guard.take(ADA, Stamp(ONE, 1000, NOW_MS), NOW_MS)
    guard.take(BOB, Stamp(ONE, 3000, NOW_MS), NOW_MS)  # another sender's numbers are its own
    guard.check_invariants()


def test_first_contact_is_within_two_minutes_and_later_ones_within_seven_days() -> None:
    guard = ReplayGuard()
    with pytest.raises(SealedTooOld, match="121 s ago, and here it may be 120"):
        guard.take(ADA, Stamp(ONE, 1, NOW_MS - 121_000), NOW_MS)
    with pytest.raises(SealedInFuture, match="121 s in the future"):
        guard.take(ADA, Stamp(ONE, 1, NOW_MS + 121_000), NOW_MS)
    guard.take(ADA, Stamp(ONE, 2, NOW_MS - 119_000), NOW_MS)
    guard.take(ADA, Stamp(ONE, 1, NOW_MS - 6 * DAY_MS), NOW_MS)
    with pytest.raises(SealedTooOld):
        guard.take(ADA, Stamp(ONE, 3, NOW_MS - 8 * DAY_MS), NOW_MS)
    with pytest.raises(SealedInFuture):
        guard.take(ADA, Stamp(ONE, 4, NOW_MS + 121_000), NOW_MS)


def test_a_restart_that_has_forgotten_everything_refuses_what_was_taken() -> None:
    guard = ReplayGuard()
    assert guard.take(ADA, Stamp(ONE, 7, NOW_MS), NOW_MS)
    after = ReplayGuard.decode(guard.encode())
    with pytest.raises(SealedReplayed, match="older than what this node remembers"):
        after.take(ADA, Stamp(ONE, 7, NOW_MS), NOW_MS)
    after.take(BOB, Stamp(ONE, 7, NOW_MS), NOW_MS)  # others are not made to wait
    after.take(ADA, Stamp(ONE, 8, NOW_MS + replay.SLACK_MS + 1), NOW_MS + 3000)


def test_a_window_that_began_after_a_restart_does_not_open_the_past() -> None:
    guard = ReplayGuard()
    guard.take(ADA, Stamp(ONE, 2, NOW_MS), NOW_MS)
    after = ReplayGuard.decode(guard.encode(is_last=True))
    after.take(ADA, Stamp(ONE, 3, NOW_MS + 1), NOW_MS + 1)
    with pytest.raises(SealedReplayed):
        after.take(ADA, Stamp(ONE, 2, NOW_MS), NOW_MS + 1)


def test_a_clean_end_leaves_no_gap() -> None:
    guard = ReplayGuard()
    guard.take(ADA, Stamp(ONE, 7, NOW_MS), NOW_MS)
    after = ReplayGuard.decode(guard.encode(is_last=True))
    with pytest.raises(SealedReplayed):
        after.take(ADA, Stamp(ONE, 7, NOW_MS), NOW_MS)
    after.take(ADA, Stamp(ONE, 8, NOW_MS + 1), NOW_MS)


def test_a_forgotten_start_of_a_sender_cannot_be_replayed() -> None:
    guard = ReplayGuard()
    for number in range(6):
        guard.take(ADA, Stamp(bytes([number] * 8), 1, NOW_MS + number), NOW_MS)
    for number in range(6):
        with pytest.raises(SealedReplayed):
            guard.take(ADA, Stamp(bytes([number] * 8), 1, NOW_MS + number), NOW_MS)
    guard.check_invariants()


def test_a_forgotten_sender_cannot_be_replayed() -> None:
    guard = ReplayGuard()
    crowd = [key(seed).peer_id for seed in range(replay.MAX_SENDERS + 20)]
    times = range(NOW_MS, NOW_MS + 300 * len(crowd), 300)
    for peer_id, now_ms in zip(crowd, times, strict=True):
        guard.take(peer_id, Stamp(ONE, 1, now_ms), now_ms)
    for peer_id, then_ms in zip(crowd, times, strict=True):
        with pytest.raises(SealedReplayed):
            guard.take(peer_id, Stamp(ONE, 1, then_ms), NOW_MS)
    assert len(guard.encode()) < replay.MAX_BYTES
    guard.check_invariants()


def test_one_with_a_clock_ahead_does_not_shut_others_out() -> None:
    guard = ReplayGuard()
    guard.take(ADA, Stamp(ONE, 1, NOW_MS + 119_000), NOW_MS)
    after = ReplayGuard.decode(guard.encode())
    after.take(BOB, Stamp(ONE, 1, NOW_MS - 60_000), NOW_MS)


Step = st.tuples(
    st.sampled_from([ADA, BOB]),
    st.sampled_from([ONE, TWO, b"epoch-03", b"epoch-04", b"epoch-05", b"epoch-06"]),
    st.integers(1, 2100),
    st.integers(-130_000, 130_000),
    st.sampled_from(["take", "take", "take", "crash", "stop"]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(Step, max_size=60))
def test_nothing_is_taken_twice_whatever_happens_between(steps: list) -> None:  # type: ignore[type-arg]
    guard, disk, taken = ReplayGuard(), ReplayGuard().encode(), set()
    for sender, epoch, sequence, offset_ms, what in steps:
        if what == "crash":
            guard = ReplayGuard.decode(disk)
        elif what == "stop":
            disk = guard.encode(is_last=True)
            guard = ReplayGuard.decode(disk)
        stamp = Stamp(epoch, sequence, NOW_MS + offset_ms)
        # One stamp has one time: a sender that gives out two is not the guard's to find out.
        if (sender, epoch, sequence) in {t[:3] for t in taken}:
            stamp = next(Stamp(*t[1:]) for t in taken if t[:3] == (sender, epoch, sequence))
        try:
            if guard.take(sender, stamp, NOW_MS):
                disk = guard.encode()
        except SealedRefused:
            continue
        assert (sender, *stamp) not in taken
        taken.add((sender, *stamp))
        guard.check_invariants()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_no_guard(data: bytes) -> None:
    with pytest.raises(NotCanonical):
        ReplayGuard.decode(data)


# -- on disk -----------------------------------------------------------------------------------


def test_it_is_on_disk_before_it_is_handed_out(tmp_path: Path) -> None:
    seen = SeenMessages.open(tmp_path, NOW_MS, is_new=True)
    seen.take_once(ADA, Stamp(ONE, 1, NOW_MS), NOW_MS)
    again = SeenMessages.open(tmp_path, NOW_MS, is_new=False)  # after kill -9
    with pytest.raises(SealedReplayed):
        again.take_once(ADA, Stamp(ONE, 1, NOW_MS), NOW_MS)
    assert (tmp_path / "sealing.seen").stat().st_mode & 0o777 == 0o600


def test_a_disk_that_cannot_be_written_to_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = SeenMessages.open(tmp_path, NOW_MS, is_new=True)
    working = seen_module.write_atomic

    def full(path: Path, data: bytes) -> None:
        raise HomeUnreadable(path, "write", "no space left on device")

    monkeypatch.setattr(seen_module, "write_atomic", full)
    for sequence in (1, 2):  # the second lies below the ceiling that was never written
        with pytest.raises(HomeUnreadable):
            seen.take_once(ADA, Stamp(ONE, sequence, NOW_MS), NOW_MS)
    monkeypatch.setattr(seen_module, "write_atomic", working)
    seen.take_once(ADA, Stamp(ONE, 3, NOW_MS), NOW_MS)
    again = SeenMessages.open(tmp_path, NOW_MS, is_new=False)
    with pytest.raises(SealedReplayed):
        again.take_once(ADA, Stamp(ONE, 3, NOW_MS), NOW_MS)


def test_a_file_that_was_lost_makes_the_start_the_floor(tmp_path: Path) -> None:
    seen = SeenMessages.open(tmp_path, NOW_MS, is_new=True)
    seen.take_once(ADA, Stamp(ONE, 1, NOW_MS - 5), NOW_MS)
    (tmp_path / "sealing.seen").unlink()
    again = SeenMessages.open(tmp_path, NOW_MS, is_new=False)
    with pytest.raises(SealedReplayed):
        again.take_once(ADA, Stamp(ONE, 1, NOW_MS - 5), NOW_MS)
    again.take_once(ADA, Stamp(ONE, 2, NOW_MS + 1), NOW_MS)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    SeenMessages.open(tmp_path, NOW_MS, is_new=True)
    (tmp_path / "sealing.seen").write_bytes(b"\x00")
    with pytest.raises(HomeDamaged, match=r"sealing\.seen"):
        SeenMessages.open(tmp_path, NOW_MS, is_new=False)
