"""The whole decision: breakers, outliers, those already tried, and the budget for repeats."""

from __future__ import annotations

import random

from choosing_lab import chooser_of, finish
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agents.choosing import (
    BALANCERS,
    BreakerSettings,
    Chooser,
    Destination,
    Outcome,
    OutlierSettings,
    RetryBudget,
    State,
    backoff_ms,
)

LEAST = BreakerSettings().least
INTERVAL_MS = OutlierSettings().interval_ms


def open_breaker(chooser: Chooser, destination: Destination, outcome: Outcome) -> None:
    for _ in range(LEAST):
        finish(chooser, destination, outcome, 0)
    assert destination.breaker.state is State.OPEN


def test_who_was_tried_is_not_asked_again_and_in_the_end_nobody_is_left() -> None:
    chooser = chooser_of(3)
    tried: list[Destination] = []
    while (one := chooser.choose("", None, 0, tried)) is not None:
        tried.append(one)
    assert sorted(d.peer for d in tried) == ["p00", "p01", "p02"]


def test_an_open_breaker_leaves_its_provider_out_until_it_may_be_probed() -> None:
    chooser = chooser_of(2)
    bad, good = chooser.providers
    open_breaker(chooser, bad, Outcome.FAILED)
    assert all(chooser.choose("", None, 1) is good for _ in range(20))
    later = BreakerSettings().open_ms
    assert chooser.choose("", None, later, [good]) is bad
    is_probe = chooser.begin(bad, later)
    assert is_probe
    assert chooser.choose("", None, later, [good]) is None
    chooser.end(bad, is_probe, Outcome.ANSWERED, 10, later)
    assert {chooser.choose("", None, later) for _ in range(30)} == {bad, good}


def test_when_all_are_open_nobody_is_asked() -> None:
    chooser = chooser_of(2)
    for destination in chooser.providers:
        open_breaker(chooser, destination, Outcome.FAILED)
    assert chooser.choose("", None, 1) is None


def tally(chooser: Chooser, destination: Destination, outcome: Outcome, us: int = 1_000) -> None:
    for _ in range(OutlierSettings().least):
        finish(chooser, destination, outcome, 0, us)


def test_a_provider_whose_handlers_raise_far_more_often_is_left_out_for_a_while() -> None:
    chooser = chooser_of(3)
    bad, *rest = chooser.providers
    tally(chooser, bad, Outcome.RAISED)
    for one in rest:
        tally(chooser, one, Outcome.ANSWERED)
    finish(chooser, rest[0], Outcome.ANSWERED, INTERVAL_MS)
    assert chooser.ejected == 1
    assert bad not in {chooser.choose("", None, INTERVAL_MS) for _ in range(50)}
    assert chooser.choose("", None, INTERVAL_MS, rest) is bad
    back_ms = INTERVAL_MS + OutlierSettings().out_ms
    assert bad in {chooser.choose("", None, back_ms) for _ in range(50)}


def test_a_provider_that_is_far_slower_is_left_out_and_a_little_slower_is_not() -> None:
    for slow_us, expected in ((400_000, 1), (4_000, 0), (60_000, 1), (51_000, 0)):
        chooser = chooser_of(3)
        slow, *rest = chooser.providers
        tally(chooser, slow, Outcome.ANSWERED, slow_us)
        for one in rest:
            tally(chooser, one, Outcome.ANSWERED, 2_000)
        finish(chooser, rest[0], Outcome.ANSWERED, INTERVAL_MS, 2_000)
        assert chooser.ejected == expected, slow_us


def test_what_all_suffer_singles_out_nobody() -> None:
    chooser = chooser_of(4)
    for one in chooser.providers:
        tally(chooser, one, Outcome.RAISED, 500_000)
    finish(chooser, chooser.providers[0], Outcome.RAISED, INTERVAL_MS)
    assert chooser.ejected == 0


def test_never_more_than_half_are_out() -> None:
    chooser = chooser_of(5)
    for n, one in enumerate(chooser.providers):
        tally(
            chooser, one, Outcome.ANSWERED if n > 1 else Outcome.RAISED, 1_000 if n != 2 else 10**6
        )
    finish(chooser, chooser.providers[4], Outcome.ANSWERED, INTERVAL_MS)
    assert chooser.ejected == 2


def test_a_provider_that_went_and_came_back_begins_with_a_clean_history() -> None:
    chooser = chooser_of(2)
    bad, good = chooser.providers
    open_breaker(chooser, bad, Outcome.FAILED)
    chooser.set_providers({good.peer: 1}, "")
    assert chooser.providers == (good,)
    chooser.set_providers({good.peer: 1, bad.peer: 1}, "")
    back = chooser.of(bad.peer)
    assert back is not None
    assert back.breaker.state is State.CLOSED


def test_retries_are_a_tenth_of_the_calls_plus_a_floor() -> None:
    budget = RetryBudget(0)
    assert sum(budget.take(0) for _ in range(100)) == 10
    assert not budget.take(0)
    assert budget.refused == 91
    for _ in range(200):
        budget.deposit()
    assert sum(budget.take(0) for _ in range(100)) == 20
    assert sum(budget.take(10_000) for _ in range(100)) == 10


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5_000)), max_size=300))
def test_the_budget_never_grants_more_than_it_promises(steps: list[tuple[bool, int]]) -> None:
    budget, now_ms, calls, granted = RetryBudget(0), 0, 0, 0
    for is_call, wait_ms in steps:
        now_ms += wait_ms
        if is_call:
            budget.deposit()
            calls += 1
        else:
            granted += budget.take(now_ms)
        budget.check_invariants()
    assert granted <= calls / 10 + 10 + now_ms / 1000


def test_waits_before_repeats_grow_are_spread_and_bounded() -> None:
    rng = random.Random(3)
    for attempt, most_ms in ((1, 50), (2, 100), (4, 400), (20, 2_000)):
        drawn = [backoff_ms(attempt, rng) for _ in range(400)]
        assert 0 <= min(drawn) < most_ms / 10
        assert most_ms * 0.9 < max(drawn) <= most_ms


class Story(RuleBasedStateMachine):
    """Attempts, outcomes and providers in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.chooser = chooser_of(4, seed=9)
        self.now_ms = 0
        self.under_way: list[tuple[Destination, bool]] = []

    @rule(wait_ms=st.integers(0, 20_000))
    def wait(self, wait_ms: int) -> None:
        self.now_ms += wait_ms

    @rule(balance=st.sampled_from(["", *BALANCERS]))
    def begin(self, balance: str) -> None:
        one = self.chooser.choose(balance, "k", self.now_ms)
        if one is not None:
            self.under_way.append((one, self.chooser.begin(one, self.now_ms)))

    @rule(outcome=st.sampled_from(Outcome), us=st.integers(0, 10**7), index=st.integers(0, 9))
    def end(self, outcome: Outcome, us: int, index: int) -> None:
        if self.under_way:
            one, is_probe = self.under_way.pop(index % len(self.under_way))
            self.chooser.end(one, is_probe, outcome, us, self.now_ms)

    @rule(peers=st.sets(st.integers(0, 5), max_size=6))
    def providers(self, peers: set[int]) -> None:
        self.chooser.set_providers({f"p{n:02}": n + 1 for n in peers}, "weighted")

    @invariant()
    def holds(self) -> None:
        self.chooser.check_invariants()
        for one in self.chooser.providers:
            assert one.outstanding == sum(d is one for d, _ in self.under_way)


TestStory = Story.TestCase
