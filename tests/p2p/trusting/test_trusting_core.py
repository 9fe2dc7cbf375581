"""The core that says who counts: settled peers, unsettled ones, and what is said to them."""

from __future__ import annotations

from random import Random

import pytest

from keys import PeerId
from p2p.trusting.core import (
    COMPANY_MS,
    LAGGING_MS,
    SETTLE_MS,
    SILENCE_MS,
    AskLists,
    SayHead,
    SendAway,
    Settle,
    Spreading,
    SpreadingEffect,
    Unsettle,
)

A, B, C = (PeerId(letter * 52) for letter in "abc")
OLD, NEW = b"o" * 16, b"n" * 16
SAME = b"d" * 16


def core(head: bytes = NEW, known: int = 0) -> Spreading:
    return Spreading(head, SAME, known=known)


def agreed(*peers: PeerId, head: bytes = NEW) -> Spreading:
    made = core(head)
    for peer in peers:
        made.began(peer, 0)
        answered(made, peer, head, 1)
    return made


def answered(made: Spreading, peer: PeerId, head: bytes, now_ms: int) -> list[SpreadingEffect]:
    """The peer answers our latest question."""
    return made.heard(peer, head, SAME, now_ms, answers=10**6)


def asks(effects: list[SpreadingEffect]) -> bool:
    return any(isinstance(each, SayHead) and each.asks > 0 for each in effects)


def kinds(effects: list[SpreadingEffect]) -> list[type]:
    return [type(each) for each in effects]


def test_a_session_begins_unsettled_and_both_say_their_heads() -> None:
    made = core()
    assert made.began(A, 0) == [Unsettle(A), SayHead(A, asks=1)]
    assert not made.is_settled(A)
    assert answered(made, A, NEW, 5) == [Settle(A)]
    assert made.is_settled(A)
    made.check_invariants()


def test_only_an_answer_settles_because_older_words_may_come_late() -> None:
    made = core()
    made.began(A, 0)
    assert made.heard(A, NEW, SAME, 5) == []
    assert made.heard(A, NEW, SAME, 6, answers=1) == [Settle(A)]
    made.away(A)
    assert asks(made.spoke(A, 5_000))  # question 2
    assert made.heard(A, NEW, SAME, 5_001, answers=1) == []
    assert made.heard(A, NEW, SAME, 5_002, answers=2) == [Settle(A)]


def test_a_question_is_answered() -> None:
    made = core()
    made.began(A, 0)
    assert SayHead(A, answers=77) in made.heard(A, NEW, SAME, 5, asks=77)


def test_one_at_another_head_is_asked_and_counts_once_it_says_ours() -> None:
    made = core()
    made.began(A, 0)
    assert answered(made, A, OLD, 5) == [AskLists(A)]
    assert not made.is_settled(A)
    assert answered(made, A, NEW, 9) == [Settle(A)]


def test_we_count_it_once_we_have_come_to_its_head() -> None:
    made = core(OLD)
    made.began(A, 0)
    answered(made, A, NEW, 5)
    assert made.changed(NEW, SAME, 9) == [SayHead(A), Settle(A)]


def test_one_that_goes_on_saying_another_head_is_sent_away_after_three_seconds() -> None:
    made = core()
    made.began(A, 0)
    for now_ms in range(0, SETTLE_MS, 400):
        assert SendAway(A) not in answered(made, A, OLD, now_ms)
        assert SendAway(A) not in made.tick(now_ms)
    assert made.tick(SETTLE_MS) == [SendAway(A)]
    assert A not in made.others()


def test_one_that_is_silent_is_not_sent_away_and_is_asked_when_it_speaks_again() -> None:
    made = core()
    made.began(A, 0)
    for now_ms in range(0, 10_000, 100):
        assert SendAway(A) not in made.tick(now_ms)
    assert made.deadline_ms is None
    assert asks(made.spoke(A, 20_000))
    assert answered(made, A, NEW, 20_010) == [Settle(A)]


def test_a_question_is_repeated_until_it_is_answered() -> None:
    made = core()
    made.began(A, 0)
    said = sum(asks(made.tick(now_ms)) for now_ms in range(0, 2_001, 100))
    assert said == 4


def test_a_settled_peer_stays_settled_while_news_spreads_and_is_asked_when_it_lags() -> None:
    made = agreed(A)
    assert made.changed(b"x" * 16, SAME, 100) == [SayHead(A)]
    assert made.is_settled(A)
    assert AskLists(A) in answered(made, A, NEW, 600)
    made.check_invariants()
    assert kinds(made.tick(100 + LAGGING_MS)) == [Unsettle, SayHead]
    made.check_invariants()


def test_one_that_was_dead_has_to_settle_again() -> None:
    made = agreed(A)
    assert made.away(A) == [Unsettle(A)]
    assert made.away(A) == []
    assert asks(made.spoke(A, 500))
    assert answered(made, A, NEW, 505) == [Settle(A)]


def test_the_same_head_of_different_lists_is_asked_about_and_cuts_nobody() -> None:
    made = core()
    made.began(A, 0)
    assert made.heard(A, NEW, b"e" * 16, 5, answers=1) == [AskLists(A), Settle(A)]
    assert made.heard(A, NEW, b"e" * 16, 500) == []  # not again and again
    made.check_invariants()


def test_whoever_knew_several_waits_for_two_voices() -> None:
    made = core(OLD, known=5)
    made.began(A, 0)
    assert answered(made, A, OLD, 5) == []  # perhaps it was revoked, and says what we expect
    made.began(B, 10)
    assert answered(made, B, NEW, 15) == [AskLists(B)]
    assert Settle(B) not in made.changed(NEW, SAME, 20)  # one voice for the new one, as yet
    assert answered(made, A, NEW, 25) == [Settle(A), Settle(B)]


def test_the_wait_for_company_is_short() -> None:
    made = core(OLD, known=5)
    made.began(A, 0)
    answered(made, A, OLD, 5)
    assert Settle(A) not in made.tick(COMPANY_MS - 1)
    assert Settle(A) in made.tick(COMPANY_MS)


@pytest.mark.parametrize("known", [0, 1])
def test_who_knew_nobody_or_one_waits_for_no_other(known: int) -> None:
    made = core(known=known)
    made.began(A, 0)
    assert answered(made, A, NEW, 5) == [Settle(A)]


def test_after_a_long_silence_it_was_us_who_were_away() -> None:
    made = agreed(A, B, C)
    effects = answered(made, A, NEW, 1 + SILENCE_MS)
    assert {each.peer_id for each in effects if isinstance(each, Unsettle)} == {A, B, C}
    assert Settle(A) not in effects
    assert set(answered(made, B, NEW, 5 + SILENCE_MS)) == {Settle(A), Settle(B)}


def test_who_has_no_session_says_nothing() -> None:
    made = core()
    assert answered(made, A, OLD, 5) == []
    assert made.spoke(A, 5) == []
    assert made.away(A) == []
    made.ended(A)


@pytest.mark.parametrize("seed", range(40))
def test_invariants_hold_whatever_happens(seed: int) -> None:
    print(f"seed {seed}")
    rng = Random(seed)
    made = core(rng.choice([OLD, NEW]), known=rng.randrange(3))
    now_ms = 0
    for _ in range(400):
        now_ms += rng.choice([0, 1, 50, 600, 2_000, 20_000])
        peer, head = rng.choice([A, B, C]), rng.choice([OLD, NEW])
        match rng.randrange(7):
            case 0:
                made.began(peer, now_ms)
            case 1:
                made.ended(peer)
            case 2:
                made.away(peer)
            case 3:
                made.spoke(peer, now_ms)
            case 4:
                made.changed(head, SAME, now_ms)
            case 5:
                made.tick(now_ms)
            case _:
                made.heard(
                    peer, head, SAME, now_ms, asks=rng.randrange(2), answers=rng.randrange(9)
                )
        made.check_invariants()
