"""Scores: bounded, monotonous in every fact; delays: none for the best, never above the limit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.scoring import (
    MAX_PRIORITY_DELAY_MS,
    MAX_SCORE,
    PeerFacts,
    priority_delay_ms,
    ranks_of,
    score_of,
)
from keys import PeerId

NUMBERS = st.integers(-5, 10**12)
FACTS = st.builds(PeerFacts, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
BETTER = ("uptime_ms", "tasks_completed", "free_memory_permille", "bandwidth_kbit_s")
WORSE = ("flaps_last_hour", "tasks_failed", "cpu_load_permille")


@given(FACTS)
def test_a_score_is_an_integer_within_its_bounds(facts: PeerFacts) -> None:
    assert type(score_of(facts)) is int
    assert 0 <= score_of(facts) <= MAX_SCORE


@pytest.mark.parametrize("name", BETTER + WORSE)
@given(facts=FACTS, more=st.integers(1, 10**9))
def test_every_fact_pulls_one_way_only(name: str, facts: PeerFacts, more: int) -> None:
    changed = replace(facts, **{name: getattr(facts, name) + more})
    better, worse = (changed, facts) if name in BETTER else (facts, changed)
    assert score_of(better) >= score_of(worse)


@pytest.mark.parametrize("name", BETTER + WORSE)
def test_every_fact_counts(name: str) -> None:
    base = PeerFacts(3_600_000, 1, 100, 10, 500, 500, 10_000)
    changed = replace(base, **{name: getattr(base, name) * 2})
    assert (score_of(changed) > score_of(base)) == (name in BETTER)
    assert score_of(changed) != score_of(base)


def test_a_perfect_peer_comes_near_the_top_and_a_hopeless_one_near_nothing() -> None:
    assert score_of(PeerFacts(10**12, 0, 10**9, 0, 0, 1000, 10**9)) >= 990
    assert score_of(PeerFacts(0, 10**6, 0, 10**9, 1000, 0, 0)) == 0


def test_a_newcomer_stands_between_a_veteran_and_one_that_flaps() -> None:
    veteran = PeerFacts(86_400_000, 0, 500, 5, 300, 600, 100_000)
    newcomer = PeerFacts(60_000, 0, 0, 0, 300, 600, 100_000)
    flapping = PeerFacts(60_000, 9, 0, 3, 300, 600, 100_000)
    assert score_of(veteran) > score_of(newcomer) > score_of(flapping)


def test_ranks_begin_with_the_best_and_ties_go_by_name() -> None:
    scores = {PeerId("c"): 500, PeerId("a"): 500, PeerId("b"): 900}
    assert ranks_of(scores) == {PeerId("b"): 0, PeerId("a"): 1, PeerId("c"): 2}


@given(st.integers(-10, 2000), st.integers(0, 64), st.integers(0, 64))
def test_delays_grow_with_the_rank_and_stay_within_the_limit(score: int, a: int, b: int) -> None:
    low, high = sorted((a, b))
    assert priority_delay_ms(score, 0) == 0
    assert 0 <= priority_delay_ms(score, low) <= priority_delay_ms(score, high)
    assert priority_delay_ms(score, high) <= MAX_PRIORITY_DELAY_MS
    assert priority_delay_ms(score, high) <= priority_delay_ms(score - 100, high)


def test_seven_voters_have_seven_different_delays() -> None:
    assert [priority_delay_ms(1000, rank) for rank in range(7)] == [0, 35, 70, 105, 140, 175, 210]
    assert priority_delay_ms(0, 6) == 300
