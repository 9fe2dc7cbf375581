"""The timing wheel: nothing is due early, nothing is forgotten, nothing stays behind."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from p2p.rpc.wheel import SLOT_MS, Wheel


class Story(RuleBasedStateMachine):
    """Any order of entries, removals and time, beside a plain dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.wheel: Wheel[int] = Wheel()
        self.entered: dict[int, int] = {}
        self.now_ms = 1_000_000
        self.last = 0

    @rule(ahead_ms=st.integers(0, 100_000), count=st.integers(1, 5))
    def add(self, ahead_ms: int, count: int) -> None:
        for _ in range(count):
            self.last += 1
            self.entered[self.last] = self.now_ms + ahead_ms
            self.wheel.add(self.now_ms + ahead_ms, self.last)

    @rule(number=st.integers(1, 60))
    def discard(self, number: int) -> None:
        if number in self.entered:
            self.wheel.discard(self.entered.pop(number), number)

    @rule(ms=st.integers(0, 20_000))
    def pass_time(self, ms: int) -> None:
        self.now_ms += ms
        for item in self.wheel.take_due(self.now_ms):
            assert self.entered.pop(item) <= self.now_ms
        assert all(deadline > self.now_ms - SLOT_MS for deadline in self.entered.values())

    @invariant()
    def agrees(self) -> None:
        self.wheel.check_invariants()
        assert len(self.wheel) == len(self.entered)
        if self.entered:
            due_ms = self.wheel.due_ms
            assert due_ms is not None
            assert due_ms <= min(self.entered.values()) + SLOT_MS


TestStory = Story.TestCase


def test_many_deadlines_that_never_pass_leave_nothing_behind() -> None:
    wheel: Wheel[int] = Wheel()
    for n in range(20_000):
        wheel.add(n * 1000, n)
        wheel.discard(n * 1000, n)
    assert len(wheel) == 0
    assert len(wheel._order) < 1000
