"""Rates and shares at the door, in virtual time."""

from __future__ import annotations

import random
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from p2p.admission.limits import RateLimit, Shares, source_of


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    limit = RateLimit(rate_per_s=2, burst=3)
    assert [limit.take("a", 0) for _ in range(5)] == [True, True, True, False, False]
    assert limit.take("a", 500)
    assert not limit.take("a", 500)
    assert limit.take("b", 500), "another source is another bucket"


def test_a_clock_that_stands_or_goes_back_gives_nothing() -> None:
    limit = RateLimit(rate_per_s=1, burst=1)
    assert limit.take("a", 10_000)
    assert not limit.take("a", 0)


def test_a_source_that_could_be_forgotten_is() -> None:
    limit = RateLimit(rate_per_s=2, burst=3)
    assert limit.take("a", 0)
    assert limit.take("b", 0, 3)
    limit.rest(499)
    assert len(limit) == 2
    limit.rest(500)
    assert len(limit) == 1
    limit.take("c", 1_500)
    assert len(limit) == 1, "b is full again"
    limit.forget("c")
    assert len(limit) == 0


class Bucket:
    """What a `RateLimit` means for one source, in tokens."""

    def __init__(self, rate_per_s: int, burst: int) -> None:
        self.rate, self.burst, self.tokens, self.at_ms = rate_per_s, burst, Fraction(burst), 0

    def take(self, now_ms: int, tokens: int) -> bool:
        grown = Fraction((now_ms - self.at_ms) * self.rate, 1000)
        self.tokens, self.at_ms = min(Fraction(self.burst), self.tokens + grown), now_ms
        allowed = self.tokens >= tokens
        self.tokens -= tokens if allowed else 0
        return allowed


@given(
    st.integers(1, 50),
    st.integers(1, 20),
    st.integers(0, 2**41),
    st.lists(st.tuples(st.integers(0, 3_000), st.sampled_from("ab"), st.integers(1, 4))),
)
def test_a_source_gets_what_its_bucket_holds(
    rate: int, burst: int, begin_ms: int, takes: list[tuple[int, str, int]]
) -> None:
    limit, buckets = RateLimit(rate, burst), {each: Bucket(rate, burst) for each in "ab"}
    now_ms = begin_ms
    for bucket in buckets.values():
        bucket.at_ms = begin_ms
    for later_ms, source, tokens in takes:
        now_ms += later_ms
        assert limit.take(source, now_ms, tokens) == buckets[source].take(now_ms, tokens)


def test_the_number_of_sources_kept_is_bounded() -> None:
    limit = RateLimit(rate_per_s=1, burst=1, max_sources=10)
    for source in range(1000):
        limit.take(str(source), 0)
    assert len(limit) == 10


def test_a_source_is_a_machine_and_not_an_address() -> None:
    assert source_of("2001:db8::1") == source_of("2001:db8::ffff:1")
    assert source_of("2001:db8::1") != source_of("2001:db8:0:1::1")
    assert source_of("::ffff:192.0.2.1") == source_of("192.0.2.1")
    assert source_of("fe80::1%eth0") == source_of("fe80::2%eth0")
    assert source_of("not an address") == "not an address"


def test_the_greediest_source_makes_room_with_its_oldest() -> None:
    shares = Shares(4)
    first = shares.take("greedy")
    for _ in range(3):
        shares.take("greedy")
    assert shares.is_full
    assert shares.to_evict("modest") == first


def test_nobody_makes_room_for_one_who_has_as_much() -> None:
    shares = Shares(4)
    for source in ("a", "a", "b", "b"):
        shares.take(source)
    assert shares.to_evict("a") is None
    assert shares.to_evict("c") is not None
    single = Shares(1)
    single.take("a")
    assert single.to_evict("b") is None, "its turn comes"


def test_shares_add_up_under_any_order() -> None:
    for seed in range(50):
        print(f"seed {seed}")
        rng, shares, held = random.Random(seed), Shares(8), set[int]()
        for _ in range(200):
            source = rng.choice("abc")
            if held and rng.random() < 0.4:
                place = rng.choice(sorted(held))
                held.discard(place)
                shares.give_up(place)
            elif not shares.is_full:
                held.add(shares.take(source))
            elif (oldest := shares.to_evict(source)) is not None:
                held.discard(oldest)
                shares.give_up(oldest)
                held.add(shares.take(source))
            shares.check_invariants()
            assert len(shares) == len(held)
