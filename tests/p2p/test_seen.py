"""Which beat was the last of a peer, and how far its clock is ahead."""

from __future__ import annotations

from statistics import median_high

from hypothesis import given
from hypothesis import strategies as st

from p2p.membership import Heartbeat
from p2p.seen import Seen


def test_only_a_later_beat_of_a_start_counts() -> None:
    seen = Seen(0, 0)
    assert seen.take(Heartbeat(7, 5, wall_ms=3), 0)
    assert not seen.take(Heartbeat(7, 5, wall_ms=9), 0)
    assert not seen.take(Heartbeat(7, 4, wall_ms=9), 0)
    assert seen.offset_ms() == 3
    assert seen.take(Heartbeat(8, 1, wall_ms=50), 0), "another start counts from one"
    assert seen.offset_ms() == 50


def test_who_was_gone_begins_anew() -> None:
    seen = Seen(0, 0)
    assert seen.take(Heartbeat(7, 5, wall_ms=900), 0)
    seen.forget_beat()
    assert seen.take(Heartbeat(7, 2, wall_ms=100), 0)
    assert seen.offset_ms() == 100


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=30), st.integers(0, 2**62))
def test_the_offset_is_in_the_middle_of_the_last_nine(walls_ms: list[int], ours_ms: int) -> None:
    seen = Seen(0, 0)
    assert seen.offset_ms() is None
    for sequence, wall_ms in enumerate(walls_ms, start=1):
        assert seen.take(Heartbeat(1, sequence, wall_ms=wall_ms), ours_ms)
    assert seen.offset_ms() == median_high(wall_ms - ours_ms for wall_ms in walls_ms[-9:])
