"""What follows when a node ends."""

from __future__ import annotations

import random

import pytest

from agents.supervising import REVOKED_STATUS, Again, End, Restarts, status_of


@pytest.mark.parametrize("status", [0])
def test_what_ended_well_is_not_begun_again(status: int) -> None:
    assert Restarts(5).ended(status, 0, 0.5, was_up=True) == End()


@pytest.mark.parametrize(("status", "why"), [(1, ""), (2, ""), (-9, "killed before it was up")])
def test_what_never_was_up_has_to_be_mended_first(status: int, why: str) -> None:
    said = Restarts(5).ended(status, 0, 0.5, was_up=False)
    assert isinstance(said, End)
    assert why in said.why


def test_what_was_revoked_is_not_begun_again() -> None:
    said = Restarts(5).ended(REVOKED_STATUS, 0, 0.5, was_up=True)
    assert isinstance(said, End)
    assert "revoked" in said.why


def test_what_was_up_once_is_begun_again_even_if_a_start_fails() -> None:
    restarts = Restarts(5)
    assert restarts.ended(-9, 0, 1.0, was_up=True) == Again(1000, 1)
    assert restarts.ended(1, 1500, 1.0, was_up=False) == Again(2000, 2)
    assert restarts.ended(1, 4000, 0.0, was_up=False) == Again(2000, 3)


def test_it_is_given_up_after_so_many_within_the_window() -> None:
    restarts = Restarts(2)
    assert [type(restarts.ended(1, n, 0.5, was_up=True)) for n in (0, 1, 2)] == [Again, Again, End]
    said = restarts.ended(1, 599_999, 0.5, was_up=True)
    assert isinstance(said, End)
    assert "begun anew 2 times within 10 minutes" in said.why
    assert restarts.ended(1, 600_000, 1.0, was_up=True) == Again(2000, 2)


def test_no_restart_at_all_may_be_wanted() -> None:
    assert isinstance(Restarts(0).ended(1, 0, 0.5, was_up=True), End)


def test_never_more_than_so_many_in_any_window() -> None:
    for seed in range(20):
        rng, restarts, now_ms, begun = random.Random(seed), Restarts(3), 0, list[int]()
        for _ in range(200):
            now_ms += rng.randrange(200_000)
            said = restarts.ended(rng.choice([1, -9, 3]), now_ms, rng.random(), was_up=True)
            if isinstance(said, Again):
                assert 500 <= said.after_ms <= 60_000
                begun.append(now_ms)
            window = [t for t in begun if now_ms - t < 600_000]
            assert len(window) <= 3, seed
            assert isinstance(said, Again) or len(window) == 3, seed


def test_a_signal_is_shown_as_shells_do() -> None:
    assert [status_of(s) for s in (0, 1, -9, -15)] == [0, 1, 137, 143]
