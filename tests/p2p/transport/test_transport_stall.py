"""How long a subscriber has had no room: time in which we stood still ourselves counts little."""

from __future__ import annotations

import pytest

from p2p.transport.stall import LOOK_S, Stall


def test_of_a_stall_all_is_counted_that_was_looked_at() -> None:
    stall = Stall()
    assert stall.look(5.0) == 0.0
    assert stall.look(5.0 + LOOK_S / 2) == pytest.approx(LOOK_S / 2)
    assert stall.look(5.0 + LOOK_S) == pytest.approx(LOOK_S)
    stall.end()
    assert stall.look(9.0) == 0.0


def test_of_a_time_without_a_look_no_more_counts_than_there_is_between_two() -> None:
    stall = Stall()
    stall.look(0.0)
    assert stall.look(30.0) == pytest.approx(LOOK_S)
    for at in range(31, 60):
        stall.look(float(at))
    assert stall.look(60.0) == pytest.approx(31 * LOOK_S)


def test_what_came_before_somebody_went_on_reading_is_forgiven_and_still_counted() -> None:
    stall = Stall()
    for at in range(10):
        stall.look(float(at))
    stall.forgive()
    assert stall.look(30.0) == pytest.approx(9 * LOOK_S)
    assert stall.unforgiven_s == 0.0, "this is the first look at it"
    assert stall.look(60.0) == pytest.approx(10 * LOOK_S)
    assert stall.unforgiven_s == pytest.approx(LOOK_S)
    stall.end()
    stall.look(61.0)
    assert stall.look(62.0) == stall.unforgiven_s == pytest.approx(LOOK_S)
