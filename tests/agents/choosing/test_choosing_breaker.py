"""The breaker: its table is complete, and it opens, waits and probes as it says."""

from __future__ import annotations

import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agents.choosing import TABLE, Action, Breaker, BreakerSettings, Event, Outcome, State

SETTINGS = BreakerSettings()
NOT_COUNTED = (Outcome.ANSWERED, Outcome.RAISED, Outcome.OVERLOADED)


def breaker(seed: int = 1) -> Breaker:
    return Breaker(SETTINGS, random.Random(seed))


def opened(now_ms: int = 0, outcome: Outcome = Outcome.FAILED) -> Breaker:
    one = breaker()
    for _ in range(SETTINGS.least):
        one.end(outcome, one.begin(now_ms), now_ms)
    assert one.state is State.OPEN
    return one


def test_the_table_holds_every_pair_and_moves_only_along_known_edges() -> None:
    assert set(TABLE) == set(product(State, Event))
    moves = {(before, after) for (before, _), (after, _) in TABLE.items() if before is not after}
    assert moves == {
        (State.CLOSED, State.OPEN),
        (State.OPEN, State.HALF_OPEN),
        (State.HALF_OPEN, State.OPEN),
        (State.HALF_OPEN, State.CLOSED),
    }
    stay = [a for (s, e), (t, a) in TABLE.items() if s is t and e is not Event.PROBE_ABANDONED]
    assert set(stay) == {Action.NOTHING}


def test_it_opens_at_the_least_number_of_failures() -> None:
    one = breaker()
    for n in range(SETTINGS.least):
        assert one.may_pass(n)
        one.end(Outcome.FAILED, one.begin(n), n)
    assert not one.may_pass(SETTINGS.least)


@pytest.mark.parametrize("outcome", NOT_COUNTED)
def test_answers_refusals_and_handlers_that_raise_never_open_it(outcome: Outcome) -> None:
    one = breaker()
    for n in range(100):
        one.end(outcome, one.begin(n), n)
    assert one.state is State.CLOSED


def test_failures_below_the_rate_and_old_ones_do_not_open_it() -> None:
    one = breaker()
    for n in range(200):
        one.end(Outcome.FAILED if n % 3 == 0 else Outcome.ANSWERED, False, n)
    assert one.state is State.CLOSED
    one = breaker()
    for n in range(20):
        one.end(Outcome.FAILED, False, n * (SETTINGS.forget_ms + 1))
    assert one.state is State.CLOSED


def test_one_probe_at_a_time_and_its_answer_closes_it() -> None:
    one = opened()
    assert not one.may_pass(one.left_ms(0) - 1)
    later = SETTINGS.open_ms
    assert one.begin(later)
    assert not one.may_pass(later)
    one.end(Outcome.FAILED, False, later)
    assert one.state is State.HALF_OPEN
    one.end(Outcome.ANSWERED, True, later)
    assert one.state is State.CLOSED
    assert one.may_pass(later)


def test_an_abandoned_probe_gives_its_place_to_the_next() -> None:
    one = opened()
    assert one.begin(SETTINGS.open_ms)
    one.end(Outcome.ABANDONED, True, SETTINGS.open_ms)
    assert one.state is State.HALF_OPEN
    assert one.begin(SETTINGS.open_ms)


def test_the_open_time_doubles_with_jitter_up_to_the_limit_and_begins_anew() -> None:
    one = opened()
    now_ms, times = 0, []
    for _ in range(8):
        times.append(one.left_ms(now_ms))
        now_ms += one.left_ms(now_ms)
        one.end(Outcome.FAILED, one.begin(now_ms), now_ms)
    for n, open_ms in enumerate(times):
        full_ms = min(SETTINGS.open_ms << n, SETTINGS.open_most_ms)
        assert full_ms * 3 // 4 <= open_ms <= full_ms
    now_ms += one.left_ms(now_ms)
    one.end(Outcome.ANSWERED, one.begin(now_ms), now_ms)
    for _ in range(SETTINGS.least):
        one.end(Outcome.FAILED, one.begin(now_ms), now_ms)
    assert one.left_ms(now_ms) <= SETTINGS.open_ms


@given(st.integers(0, 2**32))
def test_two_breakers_seldom_probe_at_the_same_time(seed: int) -> None:
    times = set()
    for n in range(20):
        one = breaker(seed + n)
        for _ in range(SETTINGS.least):
            one.end(Outcome.FAILED, one.begin(0), 0)
        times.add(one.left_ms(0))
    assert len(times) > 10


class Story(RuleBasedStateMachine):
    """Attempts begin and end in any order; the invariants hold and a probe is always possible."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(SETTINGS, random.Random(7))
        self.now_ms = 0
        self.under_way: list[bool] = []

    @rule(wait_ms=st.integers(0, 40_000))
    def wait(self, wait_ms: int) -> None:
        self.now_ms += wait_ms

    @rule()
    def begin(self) -> None:
        if self.breaker.may_pass(self.now_ms):
            self.under_way.append(self.breaker.begin(self.now_ms))

    @rule(outcome=st.sampled_from(Outcome), index=st.integers(0, 9))
    def end(self, outcome: Outcome, index: int) -> None:
        if self.under_way:
            is_probe = self.under_way.pop(index % len(self.under_way))
            self.breaker.end(outcome, is_probe, self.now_ms)

    @invariant()
    def holds(self) -> None:
        self.breaker.check_invariants()
        assert sum(self.under_way) <= 1
        if not any(self.under_way):
            assert self.breaker.may_pass(self.now_ms + self.breaker.left_ms(self.now_ms))


TestStory = Story.TestCase
