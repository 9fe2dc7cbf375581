"""One member while a crowd gathers: how long it gathers news, and what it asks, when all are busy
and when they are not."""

from __future__ import annotations

from swim_lab import an_id
from swim_one import OTHER, OWN, PEER, SUSPECT, THIRD, One, alive, sent

from keys import PeerId
from p2p.membership.swim import Message, Met, Proven, Received, Send, SwimEffect, SwimSettings
from p2p.membership.swim.comparing import AT_ONCE, LONG_MS
from p2p.membership.swim.messages import Beat, Compare, Have
from p2p.membership.swim.speaking import CROWD_FLUSHES, SLOW_FLUSHES
from p2p.slowness import LASTS_MS

SETTINGS = SwimSettings()
BUSY_MS = LONG_MS + 1
GREATER = sorted(peer_id for peer_id in map(an_id, range(10, 200)) if peer_id > OWN)


def crowd() -> One:
    """It has heard of three within a moment, which is many to it."""
    one = One(PEER, OTHER, THIRD, crowd=3)
    one.pass_ms(1_000, PEER, OTHER, THIRD)
    return one


def have(one: One, sender: PeerId) -> list[SwimEffect]:
    return one.step(Received(sender, Message(Have((), ()))))


def compared(effects: list[SwimEffect]) -> list[PeerId]:
    return [e.to for e in effects if isinstance(e, Send) and isinstance(e.message.body, Compare)]


def meet(one: One, peer_id: PeerId, answer_ms: int | None) -> None:
    """It compares with this one, who answers after so long, or never."""
    assert compared(one.step(Met(peer_id))) == [peer_id]
    if answer_ms is not None:
        one.pass_ms(answer_ms, PEER, OTHER, THIRD)
        have(one, peer_id)


def gathered_ms(one: One, news: PeerId) -> int:
    """How long this news waits for more."""
    effects: list[SwimEffect] = []
    while not any(isinstance(e, Send) and isinstance(e.message.body, Beat) for e in effects):
        effects = one.pass_ms(1, PEER, OTHER, THIRD)  # a beat takes along what waits
    before_ms = one.now_ms
    one.hear(PEER, alive(news))
    while not any(said.subject == news for said in sent(one.pass_ms(1, PEER, OTHER, THIRD), OTHER)):
        assert one.now_ms < before_ms + 5_000, "it was never told"
    return one.now_ms - before_ms


def test_news_of_a_crowd_waits_longer_where_answers_are_slow_and_no_longer_than_they_are() -> None:
    quick_ms, slow_ms = SETTINGS.flush_ms * CROWD_FLUSHES, SETTINGS.flush_ms * SLOW_FLUSHES
    one = crowd()
    meet(one, GREATER[0], answer_ms=LONG_MS)
    assert gathered_ms(one, GREATER[1]) <= quick_ms
    meet(one, GREATER[2], answer_ms=BUSY_MS)
    assert quick_ms < gathered_ms(one, GREATER[3]) <= slow_ms
    one.pass_ms(LASTS_MS, PEER, OTHER, THIRD)
    assert gathered_ms(one, GREATER[4]) <= quick_ms


def test_who_does_not_answer_a_comparison_holds_what_we_hold_and_is_not_slow() -> None:
    one = crowd()
    meet(one, GREATER[0], answer_ms=None)
    one.pass_ms(3_000, PEER, OTHER, THIRD)
    assert gathered_ms(one, GREATER[1]) <= SETTINGS.flush_ms * CROWD_FLUSHES


def test_an_answer_that_nobody_asked_for_says_nothing_of_how_slow_others_are() -> None:
    one = crowd()
    meet(one, GREATER[0], answer_ms=None)
    one.pass_ms(BUSY_MS, PEER, OTHER, THIRD)
    have(one, OTHER)
    assert gathered_ms(one, GREATER[1]) <= SETTINGS.flush_ms * CROWD_FLUSHES
    have(one, GREATER[0])
    assert gathered_ms(one, GREATER[2]) > SETTINGS.flush_ms * CROWD_FLUSHES


def test_of_many_that_are_met_while_answers_are_slow_few_are_compared_with() -> None:
    one = crowd()
    assert compared([e for each in GREATER[:9] for e in one.step(Met(each))]) == GREATER[:9]
    one.pass_ms(BUSY_MS, PEER, OTHER, THIRD)
    have(one, GREATER[0])
    one.pass_ms(SETTINGS.compare_ms, PEER, OTHER, THIRD)
    assert len(compared([e for each in GREATER[9:18] for e in one.step(Met(each))])) == AT_ONCE


def test_pictures_of_a_crowd_may_differ_twice_as_long_where_answers_are_slow() -> None:
    def compared_after_ms(answer_ms: int) -> int:
        one = crowd()
        meet(one, GREATER[0], answer_ms)
        one.pass_ms(SETTINGS.compare_ms, PEER, OTHER, THIRD)
        before_ms = one.now_ms
        while True:
            one.now_ms += 100
            other = one.step(Received(PEER, Message(Beat(1, one.core.digest ^ 1))))
            if PEER in compared(other + one.pass_ms(0, OTHER, THIRD)):
                return one.now_ms - before_ms
            assert one.now_ms < before_ms + 10_000, "never"

    quick_ms, slow_ms = compared_after_ms(LONG_MS), compared_after_ms(BUSY_MS)
    assert SETTINGS.mismatch_ms <= quick_ms < 2 * SETTINGS.mismatch_ms <= slow_ms


def test_what_several_told_while_its_papers_were_not_here_is_told_to_the_others_alone() -> None:
    one, news = crowd(), alive(GREATER[0])
    effects = one.step(Proven(((PEER, (news,)), (OTHER, (news,)))))
    effects += one.pass_ms(1_000, PEER, OTHER, THIRD)
    assert {peer_id for peer_id in (PEER, OTHER, THIRD) if news in sent(effects, peer_id)} == {
        THIRD
    }


def test_who_told_what_can_be_verified_now_was_there_then_and_perhaps_not_now() -> None:
    def suspected_after_ms(*told: PeerId) -> int:
        one = One(PEER, OTHER)
        one.pass_ms(5_000, PEER, OTHER)
        silent_ms = one.now_ms
        for _ in range(60):
            if one.state(PEER) is SUSPECT:
                return one.now_ms - silent_ms
            one.step(Proven(tuple((teller, (alive(OTHER),)) for teller in told)))
            one.pass_ms(200, OTHER)
        raise AssertionError("it is silent, and never suspected")

    assert suspected_after_ms(PEER) <= suspected_after_ms() + 400
