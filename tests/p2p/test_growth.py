"""Whether a crowd gathers, from how many are known and when."""

from __future__ import annotations

from p2p.members.growth import MANY_NEW, Growth

CALM_MS = 1_000


def is_crowd(growth: Growth, size: int, now_ms: int) -> bool:
    growth.look(size, now_ms, CALM_MS)
    return growth.is_crowd


def test_several_that_come_together_are_a_crowd_until_nobody_comes() -> None:
    growth = Growth(0)
    assert is_crowd(growth, MANY_NEW, 100)
    assert is_crowd(growth, MANY_NEW + 1, 900)
    assert is_crowd(growth, MANY_NEW + 1, 1_899)
    assert not is_crowd(growth, MANY_NEW + 1, 1_900)
    assert not is_crowd(growth, MANY_NEW + 2, 2_000), "one more is none"


def test_those_who_come_one_by_one_and_seldom_are_none() -> None:
    growth = Growth(0)
    assert not any(is_crowd(growth, size, size * CALM_MS) for size in range(100))


def test_who_go_and_come_back_are_no_more_than_before() -> None:
    growth = Growth(0)
    assert is_crowd(growth, 50, 10)
    assert not is_crowd(growth, 50, 5_000)
    assert not is_crowd(growth, 49, 5_100)
    assert not is_crowd(growth, 50, 5_200)
    assert is_crowd(growth, 49 + MANY_NEW, 5_300)


def test_whether_somebody_came_lately() -> None:
    growth = Growth(0)
    growth.look(0, 400, CALM_MS)
    assert growth.has_grown_within(401), "before the first look it may have been now"
    growth.look(1, 1_000, CALM_MS)
    growth.look(1, 1_400, CALM_MS)
    assert growth.has_grown_within(401)
    assert not growth.has_grown_within(400)
