"""How many introductions are under way at once: fewer when they are slow, and in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from p2p.turns import (
    FIRST,
    LEAST,
    LONG_MS,
    MOST,
    QUICK_MS,
    SLOW_MS,
    Outcome,
    Turns,
)


def run(scenario: Callable[[Turns], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        turns = Turns()
        await scenario(turns)
        turns.check_invariants()

    asyncio.run(main())


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def begin(turns: Turns, count: int, *, can_wait: bool = True) -> list[asyncio.Task[None]]:
    return [asyncio.ensure_future(turns.begin(can_wait=can_wait)) for _ in range(count)]


def test_some_are_under_way_and_the_others_wait_in_the_order_of_coming() -> None:
    async def scenario(turns: Turns) -> None:
        tasks = begin(turns, 10)
        await settle()
        assert [task.done() for task in tasks] == [True] * (FIRST - 1) + [False] * (11 - FIRST)
        turns.end(Outcome.NOTHING, 0, 1)
        await settle()
        assert [task.done() for task in tasks] == [True] * FIRST + [False] * (10 - FIRST)
        for task in tasks:
            task.cancel()

    run(scenario)


def test_what_is_asked_for_has_a_place_that_those_that_can_wait_never_take() -> None:
    async def scenario(turns: Turns) -> None:
        waiting = begin(turns, 50)
        await settle()
        await asyncio.wait_for(turns.begin(can_wait=False), 1)
        urgent = begin(turns, 1, can_wait=False)
        await settle()
        assert not urgent[0].done()
        turns.end(Outcome.NOTHING, 0, 1)
        await settle()
        assert urgent[0].done(), "before those that came first and can wait"
        for task in waiting:
            task.cancel()

    run(scenario)


def test_quick_ones_make_more_of_them_and_a_late_one_makes_half() -> None:
    async def scenario(turns: Turns) -> None:
        for at_ms in range(2_000):
            await turns.begin(can_wait=False)
            turns.end(Outcome.DONE, at_ms, at_ms + QUICK_MS)
        assert turns.limit == MOST
        await turns.begin(can_wait=False)
        turns.end(Outcome.LATE, 10_000, 13_000)
        assert turns.limit == MOST / 2

    run(scenario)


def test_those_that_were_begun_before_a_cut_cut_nothing_more() -> None:
    async def scenario(turns: Turns) -> None:
        for _ in range(FIRST):
            await turns.begin(can_wait=False)
        for _ in range(FIRST):
            turns.end(Outcome.LATE, 1_000, 4_000)
        assert turns.limit == FIRST / 2
        await turns.begin(can_wait=False)
        turns.end(Outcome.DONE, 5_000, 5_000 + SLOW_MS + 1)
        assert turns.limit == max(LEAST, FIRST / 4), "slow is nearly late"

    run(scenario)


def test_who_is_not_there_says_nothing_of_how_busy_anybody_is() -> None:
    async def scenario(turns: Turns) -> None:
        for at_ms in range(0, 90_000, 3_000):
            await turns.begin(can_wait=True)
            turns.end(Outcome.NOTHING, at_ms, at_ms + 3_000)
        assert turns.limit == FIRST

    run(scenario)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60)), max_size=80))
def test_no_place_is_lost_whatever_is_begun_ended_and_cancelled(
    acts: list[tuple[int, int]],
) -> None:
    async def scenario(turns: Turns) -> None:
        tasks: list[asyncio.Task[None]] = []
        held = 0
        for act, number in acts:
            if act <= 1:
                tasks += begin(turns, 1, can_wait=bool(act))
            elif act == 2 and tasks:
                tasks[number % len(tasks)].cancel()
            elif act >= 3 and any(task.done() and not task.cancelled() for task in tasks):
                task = next(task for task in tasks if task.done() and not task.cancelled())
                tasks.remove(task)
                outcome = (Outcome.DONE, Outcome.LATE, Outcome.NOTHING)[number % 3]
                turns.end(outcome, number * 100, number * 100 + 700 * (number % 4))
            if number % 2:
                await settle()
        await settle()
        turns.check_invariants()
        held = sum(task.done() and not task.cancelled() for task in tasks)
        assert turns.running == held
        for task in tasks:
            task.cancel()
        for _ in range(held):
            turns.end(Outcome.NOTHING, 0, 0)
        await settle()
        assert turns.waiting == 0
        assert turns.running == sum(t.done() and not t.cancelled() for t in tasks) - held

    run(scenario)


def test_only_an_introduction_that_was_made_or_kept_waiting_says_how_slow_they_are() -> None:
    turns = Turns()

    def end(outcome: Outcome, began_ms: int, now_ms: int) -> bool:
        turns.running += 1
        turns.end(outcome, began_ms, now_ms)
        return turns.slowness.is_slow(now_ms)

    assert not end(Outcome.DONE, 0, LONG_MS)
    assert not end(Outcome.NOTHING, 0, 4_000), "nobody is there"
    assert end(Outcome.DONE, 4_000, 4_001 + LONG_MS)
    assert end(Outcome.LATE, 20_000, 24_000)
