"""Accepting at most once: any order of copies, late and repeated, gets one verdict."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.calling.window import KEEP_MS, MAX_NUMBERS, MAX_SENDERS, Numbers, Verdict, Window


def take(window: Window, number: int, floor: int = 1, *, start: int = 1) -> Verdict:
    """A receiver that accepts what is new."""
    verdict = window.look("ada", start, number, floor, 0)
    if verdict is Verdict.NEW:
        window.judge("ada", number, True)
    window.check_invariants()
    return verdict


def test_a_repeat_gets_the_verdict_of_the_first_copy() -> None:
    window = Window()
    assert take(window, 1) is Verdict.NEW
    assert take(window, 1) is Verdict.ACCEPTED
    assert window.look("ada", 1, 2, 1, 0) is Verdict.NEW
    window.judge("ada", 2, False)
    assert window.look("ada", 1, 2, 1, 0) is Verdict.REFUSED
    assert window.look("ben", 1, 1, 1, 0) is Verdict.NEW


def test_what_the_floor_settles_is_never_accepted_again() -> None:
    window = Window()
    take(window, 1)
    assert take(window, 5, floor=5) is Verdict.NEW
    assert take(window, 1) is Verdict.SETTLED
    assert take(window, 4, floor=4) is Verdict.SETTLED


def test_a_new_start_of_a_sender_has_numbers_of_its_own_and_the_old_one_is_over() -> None:
    window = Window()
    take(window, 1, start=1)
    assert take(window, 1, start=2) is Verdict.NEW
    assert take(window, 2, start=1) is Verdict.SETTLED


def test_it_remembers_so_many_and_accepts_nothing_that_it_could_not_remember() -> None:
    window = Window()
    for number in range(1, MAX_NUMBERS + 1):
        assert take(window, number) is Verdict.NEW
    assert take(window, MAX_NUMBERS + 1) is Verdict.FULL
    assert take(window, MAX_NUMBERS + 1, floor=2) is Verdict.NEW


def test_senders_that_were_silent_for_long_make_room_and_others_do_not() -> None:
    window = Window()
    for n in range(MAX_SENDERS):
        window.look(f"peer {n}", 1, 1, 1, 0)
    assert window.look("one more", 1, 1, 1, KEEP_MS - 1) is Verdict.FULL
    assert window.look("peer 0", 1, 1, 1, KEEP_MS - 1) is Verdict.NEW
    assert window.look("one more", 1, 1, 1, KEEP_MS) is Verdict.NEW
    window.check_invariants()


@given(st.data())
def test_however_copies_travel_each_message_is_accepted_once_at_most(data: st.DataObject) -> None:
    numbers, window = Numbers(), Window()
    waiting: set[int] = set()
    on_the_way: list[tuple[int, int]] = []
    accepted: list[int] = []
    for _ in range(data.draw(st.integers(1, 60), "steps")):
        step = data.draw(st.sampled_from(["begin", "repeat", "settle", "arrive"]))
        if step == "begin":
            waiting.add(number := numbers.begin())
            on_the_way.append((number, numbers.floor))
        elif step == "repeat" and waiting:
            number = data.draw(st.sampled_from(sorted(waiting)))
            on_the_way.append((number, numbers.floor))
        elif step == "settle" and waiting:
            number = data.draw(st.sampled_from(sorted(waiting)))
            waiting.discard(number)
            numbers.settle(number)
        elif step == "arrive" and on_the_way:
            index = data.draw(st.integers(0, len(on_the_way) - 1))
            number, floor = on_the_way[index]
            if data.draw(st.booleans(), "lost"):
                del on_the_way[index]
            if take(window, number, floor) is Verdict.NEW:
                accepted.append(number)
        assert all(number >= numbers.floor for number in waiting)
    assert len(accepted) == len(set(accepted))
