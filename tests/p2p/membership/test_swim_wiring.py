"""What the core offers to a whole peer: starts, papers that are missing, liars, who is cut off."""

from __future__ import annotations

from swim_lab import an_id
from swim_one import (
    ALIVE,
    DEAD,
    OTHER,
    OWN,
    PEER,
    SUSPECT,
    THIRD,
    One,
    accused,
    alive,
    changes,
    say,
)
from swim_one import sent as words_to

from keys import PeerId
from p2p.membership.swim import (
    START_NUMBERS,
    Conflict,
    Drop,
    DropReason,
    Expelled,
    Ignored,
    LinkLost,
    Message,
    Met,
    Neighbours,
    Numbered,
    Received,
    Renewed,
    Say,
    Send,
    Statement,
    SwimEffect,
    SwimSettings,
    Unknown,
    Why,
    start_of,
)
from p2p.membership.swim.messages import Beat, News, Ping
from p2p.membership.swim.statements import number_after

FIRST, SECOND = START_NUMBERS, 2 * START_NUMBERS
MOST = SwimSettings().liar_accusations


def test_a_refutation_is_no_restart_and_a_restart_is_no_refutation() -> None:
    one = One()
    one.hear(PEER, alive(PEER, FIRST))
    one.hear(PEER, accused(PEER, OTHER, FIRST))
    refuted = changes(one.hear(PEER, alive(PEER, FIRST + 1)))
    assert [(each.after, each.why) for each in refuted] == [(ALIVE, Why.REFUTED)]
    restarted = changes(one.hear(PEER, alive(PEER, SECOND)))
    assert [(e.after, e.why, start_of(e.incarnation)) for e in restarted] == [
        (DEAD, Why.RESTARTED, FIRST),
        (ALIVE, Why.RETURNED, SECOND),
    ]


def test_a_start_that_was_dead_already_does_not_die_again() -> None:
    one = One()
    one.hear(PEER, alive(PEER, FIRST))
    one.hear(PEER, accused(PEER, OTHER, FIRST))
    one.pass_ms(20_000)
    assert one.state() is DEAD
    assert [each.after for each in changes(one.hear(OTHER, alive(PEER, SECOND)))] == [ALIVE]


def test_our_own_later_start_is_outbid_with_a_start_of_its_own() -> None:
    """Else others would take this process for that one."""
    one = One(PEER, incarnation=FIRST)
    effects = one.hear(PEER, say(Say.ALIVE, OWN, 5 * FIRST + 7, OWN, b"old"))
    assert Numbered(6 * FIRST) in effects
    assert number_after(FIRST, FIRST + 3) == FIRST + 4


def test_a_new_record_is_a_new_number_with_its_mark() -> None:
    one = One(PEER)
    effects = one.step(Renewed(b"elsewhere"))
    assert Numbered(2) in effects
    assert one.core.word().mark == b"elsewhere"
    assert one.core.word() in words_to(one.pass_ms(100), PEER)


def test_who_is_expelled_is_gone_until_it_is_told_of_again() -> None:
    one = One(PEER, OTHER)
    effects = one.step(Expelled(PEER))
    assert [(each.after, each.why) for each in changes(effects)] == [(DEAD, Why.EXPELLED)]
    assert Neighbours((OTHER,)) in effects
    assert one.state() is None
    assert [each.after for each in changes(one.hear(OTHER, alive(PEER)))] == [ALIVE]
    assert not changes(one.step(Expelled(THIRD)))


def test_a_statement_without_papers_asks_for_them_and_counts_when_it_comes_again() -> None:
    one = One(PEER)
    known = {PEER}
    believes = one.core._verify
    one.core._verify = lambda signer, *rest: believes(signer, *rest) if signer in known else None
    effects = one.hear(PEER, alive(OTHER))
    assert Unknown(PEER, alive(OTHER)) in effects
    assert Drop(PEER, DropReason.UNKNOWN) in effects
    assert one.state(OTHER) is None
    known.add(OTHER)
    one.hear(PEER, alive(OTHER))
    assert one.state(OTHER) is ALIVE


def test_who_was_refuted_too_often_is_not_believed_for_a_while() -> None:
    one = One(PEER, OTHER)
    ignored = 0
    for number in range(1, MOST + 2):
        one.hear(PEER, accused(OTHER, PEER, number))
        ignored += Ignored(PEER) in one.hear(PEER, alive(OTHER, number + 1))
    assert ignored == 1
    said = accused(OTHER, PEER, MOST + 2)
    assert Drop(PEER, DropReason.LIAR) in one.hear(PEER, said)
    assert one.state(OTHER) is ALIVE
    one.hear(THIRD, alive(THIRD), accused(OTHER, THIRD, MOST + 2))
    assert one.state(OTHER) is not ALIVE, "others are believed"
    one.hear(PEER, alive(OTHER, MOST + 3))
    one.now_ms += SwimSettings().liar_ms
    one.hear(PEER, accused(OTHER, PEER, MOST + 3))
    assert one.state(OTHER) is not ALIVE, "and so is it, a while later"


def test_an_accusation_that_was_right_makes_no_liar() -> None:
    one = One()
    start = FIRST
    one.hear(PEER, alive(PEER))
    for _ in range(MOST + 2):
        one.hear(PEER, alive(OTHER, start), accused(OTHER, PEER, start))
        start += START_NUMBERS
    effects = one.hear(PEER, alive(OTHER, start), accused(OTHER, PEER, start))
    assert not [each for each in effects if isinstance(each, Drop | Ignored)]


def _numbers_used(one: One, origin: PeerId, times: int) -> int:
    before = one.core.incarnation
    for _ in range(times):
        one.hear(origin, accused(OWN, PEER, one.core.incarnation))
    return one.core.incarnation - before


def test_a_liar_gets_few_answers_by_itself_and_all_of_them_through_those_who_believe_it() -> None:
    one = One(PEER, OTHER)
    assert _numbers_used(one, PEER, 1_000) == MOST + 1
    assert _numbers_used(one, OTHER, 10) == 10


def test_beats_go_to_the_audience_too_but_not_to_the_gone() -> None:
    one = One(PEER)
    one.core.audience = (PEER, OTHER)
    beats = [e.to for e in one.pass_ms(700, PEER) if isinstance(e, Send) and _is_beat(e.message)]
    assert sorted(set(beats)) == sorted({PEER, OTHER})
    assert beats.count(PEER) == beats.count(OTHER)


def test_a_large_audience_is_sent_beats_in_turns_and_neighbours_all_of_them() -> None:
    one = One(PEER)
    audience = [an_id(number) for number in range(10, 50)]
    one.core.audience = tuple(audience)
    every_ms = SwimSettings().beat_ms
    sent = [e for e in one.pass_ms(8 * every_ms, PEER) if isinstance(e, Send)]
    beats = [e.to for e in sent if _is_beat(e.message)]
    assert beats.count(PEER) >= 8
    assert {beats.count(peer_id) for peer_id in audience} <= {1, 2}


def test_while_nothing_is_new_a_large_audience_costs_no_more_than_one_beat_of_ours() -> None:
    one = One(PEER)
    audience = [an_id(number) for number in range(10, 310)]
    one.core.audience, one.core.says = tuple(audience), "one"
    every_ms = SwimSettings().beat_ms
    one.pass_ms(30 * every_ms, PEER)
    quiet = [e.to for e in one.pass_ms(100 * every_ms, PEER) if _is_beat_to(e, audience)]
    assert 100 <= len(quiet) == len(set(quiet)) <= 112
    one.core.says = "another"
    told = [e.to for e in one.pass_ms(8 * every_ms, PEER) if _is_beat_to(e, audience)]
    assert set(told) == set(audience), "what is new is told to all"


def test_a_status_is_in_some_beats_when_it_is_new_and_then_in_one_of_six() -> None:
    one = One(PEER)
    one.core.status = b"status"
    every_ms = SwimSettings().beat_ms

    def with_status(beats: int) -> int:
        sent = one.pass_ms(beats * every_ms, PEER)
        found = [e.message.body for e in sent if isinstance(e, Send) and e.to == PEER]
        return sum(isinstance(body, Beat) and body.status == b"status" for body in found)

    one.core.says = "one"
    assert with_status(4) >= 4
    assert 6 <= with_status(40) <= 9
    one.core.says = "another"
    assert with_status(4) >= 4
    with_status(8)
    one.hear(PEER, alive(OTHER, 1))
    assert with_status(4) >= 4, "who is new has not heard it"


def _is_beat_to(effect: SwimEffect, peers: list[PeerId]) -> bool:
    return isinstance(effect, Send) and effect.to in peers and _is_beat(effect.message)


def _is_beat(message: Message) -> bool:
    return isinstance(message.body, Beat)


def test_two_processes_with_one_number_are_still_told() -> None:
    one = One(PEER, incarnation=FIRST)
    other: Statement = say(Say.ALIVE, OWN, FIRST, OWN, b"other")
    assert Conflict(OWN) in one.step(Received(PEER, Message(News(), (other,))))


def test_who_is_cut_off_does_not_wait_for_accusers_that_it_cannot_hear() -> None:
    """What needs a majority should know soon that there is none."""
    others = tuple(an_id(number) for number in range(1, 6))
    one = One(*others)
    one.pass_ms(2_000, *others)
    one.pass_ms(4_400)
    assert [one.state(other) for other in others] == [DEAD] * 5


def test_one_accuser_among_many_waits_for_others() -> None:
    others = tuple(an_id(number) for number in range(1, 6))
    one = One(*others)
    one.pass_ms(2_000, *others)
    one.pass_ms(4_400, *others[1:])
    assert one.state(others[0]) is SUSPECT


def test_a_neighbour_that_was_never_met_is_given_the_time_of_an_introduction() -> None:
    one = One(PEER, OTHER, THIRD, unmet=[OTHER])
    settings = SwimSettings()
    done = one.pass_ms(settings.meeting_ms - 500, PEER, THIRD)
    assert not _probed(done)
    assert _probed(one.pass_ms(1_000, PEER, THIRD)) == {OTHER}, "it is not waited for for ever"


def test_one_that_was_met_has_no_such_time_and_counts_as_heard_when_it_is_met() -> None:
    one = One(PEER, OTHER, THIRD, unmet=[OTHER])
    one.pass_ms(2_000, PEER, THIRD)
    one.unmet.clear()
    one.step(Met(OTHER))
    silence_ms = SwimSettings().silence_ms
    assert not _probed(one.pass_ms(silence_ms - 100, PEER, THIRD))
    assert _probed(one.pass_ms(200, PEER, THIRD)) == {OTHER}


def test_one_that_was_never_met_and_whose_door_does_not_answer_is_probed_at_once() -> None:
    one = One(PEER, OTHER, unmet=[OTHER])
    assert _probed(one.step(LinkLost(OTHER))) == {OTHER}


def test_while_a_crowd_gathers_nobody_is_in_a_hurry_and_afterwards_it_is_as_before() -> None:
    others = [an_id(number) for number in range(1, 6)]
    silence_ms, crowd_ms = SwimSettings().silence_ms, SwimSettings().crowd_ms
    few, many = One(*others, crowd=6), One(*others, crowd=5)
    assert _probed(few.pass_ms(silence_ms + 100))
    assert not _probed(many.pass_ms(2 * silence_ms))
    many.pass_ms(crowd_ms, *others)
    assert _probed(many.pass_ms(silence_ms + 100)) == set(others)


def test_a_crowd_beats_more_slowly_and_no_silence_of_it_is_one_for_those_who_see_no_crowd() -> None:
    others = [an_id(number) for number in range(1, 6)]
    settings = SwimSettings()
    few, many = One(*others, crowd=6), One(*others, crowd=5)
    often, seldom = (_beats(one.pass_ms(9_000, *others), others[0]) for one in (few, many))
    assert often >= 9_000 // settings.beat_ms
    assert seldom <= often * 3 // 4
    assert seldom > 9_000 // settings.silence_ms
    many.pass_ms(settings.crowd_ms, *others)
    assert _beats(many.pass_ms(9_000, *others), others[0]) >= 9_000 // settings.beat_ms


def _beats(effects: list[SwimEffect], to: PeerId) -> int:
    return sum(
        isinstance(e, Send) and e.to == to and isinstance(e.message.body, Beat) for e in effects
    )


def _probed(effects: list[SwimEffect]) -> set[PeerId]:
    return {e.to for e in effects if isinstance(e, Send) and isinstance(e.message.body, Ping)}
