"""What is counted of a capability, and how quantiles are read off it."""

from __future__ import annotations

import random
import time

import pytest

from agents.hosting.tally import BUCKETS, Tally, quantile_us


def test_every_call_has_one_bucket_however_long_it_took() -> None:
    tally = Tally()
    for took_ns in (0, 999, 1_000, 1_999, 2_000, 10**15):
        tally.ended(took_ns)
    said = tally.figures()
    assert said["calls"] == 6
    assert said["buckets"][:3] == [2, 2, 1]
    assert said["buckets"][BUCKETS - 1] == 1
    assert said["total_us"] == 1 + 1 + 2 + 10**12


def test_quantiles_are_within_a_factor_of_two() -> None:
    seed = time.time_ns()
    print(f"seed {seed}")
    rng = random.Random(seed)
    times_us = sorted(int(rng.lognormvariate(6, 2)) + 1 for _ in range(2_000))
    tally = Tally()
    for took_us in times_us:
        tally.ended(took_us * 1_000)
    for share in (0.01, 0.5, 0.9, 0.99, 1.0):
        exact = times_us[max(0, int(share * len(times_us) + 0.5) - 1)]
        told = quantile_us(tally.buckets, share)
        assert told is not None
        assert exact / 2 <= told <= exact * 2, (share, exact, told)


def test_without_calls_there_is_no_quantile() -> None:
    assert quantile_us(Tally().buckets, 0.5) is None


@pytest.mark.parametrize("number", range(BUCKETS))
def test_a_quantile_lies_within_its_bucket(number: int) -> None:
    buckets = [0] * BUCKETS
    buckets[number] = 7
    for share in (0.0, 0.5, 1.0):
        told = quantile_us(buckets, share)
        assert told is not None
        assert (1 << number) >> 1 <= told <= 1 << number
