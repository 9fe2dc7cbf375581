"""What an answer that took long says, and for how long."""

from __future__ import annotations

from p2p.slowness import LASTS_MS, Slowness


def test_one_answer_that_took_long_counts_for_a_while_whatever_came_since() -> None:
    slowness = Slowness(long_ms=500)
    assert not slowness.is_slow(0), "nothing was asked"
    slowness.took(500, 1_000)
    assert not slowness.is_slow(1_000)
    slowness.took(501, 2_000)
    slowness.took(1, 2_500)
    assert slowness.is_slow(2_500)
    assert slowness.is_slow(2_000 + LASTS_MS - 1)
    assert not slowness.is_slow(2_000 + LASTS_MS)
