"""One member, rule by rule: S1 and S3 to S7."""

from __future__ import annotations

import ast
import random
from pathlib import Path
from typing import get_args

import pytest
from swim_lab import an_id, sign_as
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
    sent,
)

import p2p.membership.swim as swim
from keys import Identity, PeerId, verify_signature
from p2p.membership.swim import (
    Conflict,
    Drop,
    DropReason,
    Message,
    Numbered,
    Received,
    Say,
    Send,
    Statement,
    Swim,
    SwimEffect,
    SwimSettings,
    Tick,
    Why,
    decode_message,
    encode_message,
)
from p2p.membership.swim.messages import Ack, News, Ping
from p2p.membership.swim.statements import signed

# -- S1: only the subject raises its number ------------------------------------------------------


def test_s1_an_accusation_is_answered_with_the_next_number() -> None:
    one = One(PEER)
    effects = one.hear(PEER, accused(OWN, PEER))
    assert Numbered(2) in effects
    assert one.core.word() == say(Say.ALIVE, OWN, 2, OWN)
    assert one.core.word() in sent(one.pass_ms(100), PEER)


def test_s1_an_accusation_of_a_number_never_used_moves_nobody() -> None:
    """Else one liar could push its victim to the last number there is."""
    one = One(PEER)
    for number in (2, 2**63 - 1):
        effects = one.hear(PEER, accused(OWN, PEER, number))
        assert Drop(PEER, DropReason.UNPROVEN) in effects
    assert one.core.incarnation == 1


@pytest.mark.parametrize("obituary", [Say.ALIVE, Say.LEFT])
def test_s1_who_lost_its_number_outbids_what_it_said_in_an_earlier_life(obituary: Say) -> None:
    one = One(PEER)
    effects = one.hear(PEER, say(obituary, OWN, 41, OWN, b"old"))
    assert Numbered(42) in effects
    assert not [e for e in effects if isinstance(e, Conflict)]
    effects = one.hear(PEER, say(Say.ALIVE, OWN, 43, OWN, b"other"))
    assert Conflict(OWN) in effects, "somebody answers: that is no earlier life"


def test_s1_nobody_else_can_say_alive_for_a_peer() -> None:
    one = One(PEER)
    forged = Statement(Say.ALIVE, PEER, 9, PEER, b"m", sign_as(OTHER, b"x"))
    assert Drop(OTHER, DropReason.BAD_SIGNATURE) in one.hear(OTHER, forged)
    assert one.hear(PEER, alive(PEER, 2)) is not None
    assert one.state() is ALIVE


def test_s1_who_holds_an_old_accusation_is_told_the_answer() -> None:
    one = One(PEER, OTHER)
    one.hear(PEER, accused(OWN, PEER))
    one.pass_ms(100)
    one.hear(THIRD, accused(OWN, PEER))
    assert one.core.incarnation == 2, "once is enough"
    assert one.core.word() in sent(one.pass_ms(100), THIRD)


# -- S3: suspicion ends with its state, and the suspect is told ----------------------------------


def test_s3_a_refuted_suspicion_kills_nobody_later() -> None:
    one = One(PEER, OTHER)
    one.hear(OTHER, accused(PEER, OTHER))
    assert one.state() is SUSPECT
    one.pass_ms(500, OTHER)
    effects = one.hear(OTHER, alive(PEER, 2))
    assert [change.why for change in changes(effects)] == [Why.REFUTED]
    assert DEAD not in [c.after for c in changes(one.pass_ms(10_000, OTHER, PEER))]
    assert one.state() is ALIVE


def test_s3_a_second_suspicion_gets_all_of_its_time_again() -> None:
    one = One(PEER, OTHER, THIRD)
    one.hear(OTHER, accused(PEER, OTHER))
    one.pass_ms(2_000, OTHER, THIRD)
    one.hear(OTHER, alive(PEER, 2))
    one.hear(OTHER, accused(PEER, OTHER, 2))
    one.pass_ms(500, OTHER, THIRD)
    assert one.state() is SUSPECT


def test_s3_a_suspect_hears_of_it_in_whatever_it_is_sent() -> None:
    one = One(PEER, OTHER)
    one.hear(OTHER, accused(PEER, OTHER))
    effects = one.step(Received(PEER, Message(Ping(7))))
    assert sent(effects, PEER) == [accused(PEER, OTHER)]
    assert any(isinstance(e, Send) and e.message.body == Ack(7) for e in effects)


def test_s3_the_dead_hear_of_it_too_and_come_back_with_a_new_number() -> None:
    one = One(PEER, OTHER)
    one.hear(OTHER, accused(PEER, OTHER))
    one.pass_ms(10_000, OTHER)
    assert one.state() is DEAD
    assert accused(PEER, OTHER) in sent(one.pass_ms(31_000, OTHER), PEER), "it is knocked at"
    effects = one.hear(PEER, alive(PEER, 2))
    assert [change.why for change in changes(effects)] == [Why.RETURNED]


# -- S4: signatures, and distinct keys -----------------------------------------------------------


def _dead_after_ms(*accusers: int) -> int:
    """Of one that is no neighbour of ours, so that only the others' words count."""
    ids = [an_id(number) for number in range(1, 31)]
    one = One(*ids)
    neighbours = one.core.neighbours()
    subject, *rest = [peer_id for peer_id in ids if peer_id not in neighbours]
    for accuser in accusers:
        one.hear(rest[accuser], accused(subject, rest[accuser]))
    begun_ms = one.now_ms
    while one.state(subject) is not DEAD:
        one.pass_ms(10, *neighbours)
        assert one.now_ms - begun_ms < 60_000
    return one.now_ms - begun_ms


def test_s4_more_keys_make_a_suspicion_shorter_and_one_key_counts_once() -> None:
    shortest_ms = SwimSettings().suspicion_of(3, 31, 30)
    assert 880 <= shortest_ms <= 900
    assert shortest_ms <= _dead_after_ms(0, 1, 2) <= shortest_ms + 10
    assert 4 * shortest_ms <= _dead_after_ms(0, 0, 0) <= 4 * shortest_ms + 10
    assert shortest_ms + 100 < _dead_after_ms(0, 1) < 4 * shortest_ms - 100


def test_s4_a_statement_without_its_signature_does_not_count_and_goes_no_further() -> None:
    one = One(PEER, OTHER)
    forged = Statement(Say.ACCUSED, PEER, 1, THIRD, b"", bytes(64))
    moved = Statement(Say.LEFT, PEER, 1, PEER, b"m", alive(PEER).signature)
    for bad in (forged, moved):
        assert Drop(OTHER, DropReason.BAD_SIGNATURE) in one.hear(OTHER, bad)
        assert one.state() is ALIVE
        assert bad not in sent(one.pass_ms(100), PEER)


def test_s4_a_forged_accusation_of_ourselves_moves_us_nowhere() -> None:
    one = One(PEER, OTHER)
    forged = Statement(Say.ACCUSED, OWN, 1, OTHER, b"", bytes(64))
    assert Drop(PEER, DropReason.BAD_SIGNATURE) in one.hear(PEER, forged)
    assert (one.core.incarnation, one.core.health) == (1, 0)


def test_s4_of_two_members_one_accuser_is_all_that_there_can_be() -> None:
    settings = SwimSettings()
    assert settings.suspicion_of(1, 2, 1) == settings.suspicion_of(9, 2, 1) == settings.suspicion_ms


def test_s4_signatures_are_those_of_real_keys() -> None:
    me, peer = Identity.generate(), Identity.generate()
    keys = {peer.peer_id: peer.public_key}

    def check(signer: PeerId, body: bytes, signature: bytes) -> bool:
        return verify_signature(keys.get(signer, b""), "membership", body, signature)

    core = Swim(
        me.peer_id,
        1,
        b"m",
        SwimSettings(),
        random.Random(1),
        lambda body: me.sign("membership", body),
        check,
    )
    for key, expected in ((me, None), (peer, ALIVE)):
        word = signed(
            Say.ALIVE,
            peer.peer_id,
            1,
            peer.peer_id,
            b"m",
            lambda body, k=key: k.sign("membership", body),
        )
        arrived = decode_message(encode_message(Message(News(), (word,))))
        core.step(Received(peer.peer_id, arrived), now_ms=1)
        assert core.state_of(peer.peer_id) is expected


# -- S5: one name, one process -------------------------------------------------------------------


def test_s5_two_processes_of_one_number_are_told_of_and_the_record_does_not_flap() -> None:
    one = One(PEER)
    other = say(Say.ALIVE, PEER, 1, PEER, b"a")
    effects = one.hear(OTHER, other)
    assert Conflict(PEER) in effects
    assert not changes(effects)
    assert Conflict(PEER) in one.hear(PEER, alive(PEER))


def test_s5_another_process_with_our_number_is_told_and_outbid() -> None:
    one = One(PEER)
    effects = one.hear(PEER, say(Say.ALIVE, OWN, 1, OWN, b"other"))
    assert Conflict(OWN) in effects
    assert one.core.incarnation == 2


# -- S6: a stalled member blames itself ----------------------------------------------------------


def test_s6_after_a_stall_nobody_is_probed_suspected_or_dead() -> None:
    one = One(PEER, OTHER, THIRD)
    one.pass_ms(1_000, PEER, OTHER, THIRD)
    one.hear(OTHER, accused(PEER, OTHER), accused(PEER, THIRD))
    one.now_ms += 60_000
    effects = one.step(Tick())
    assert one.state() is SUSPECT
    assert not changes(effects)
    assert not [e for e in effects if isinstance(e, Send) and isinstance(e.message.body, Ping)]
    assert one.core.health == 1


def test_s6_among_many_a_shorter_stall_is_enough() -> None:
    others = [an_id(number) for number in range(1, 6)]
    for crowd, health in ((5, 1), (6, 0)):
        one = One(*others, crowd=crowd)
        one.now_ms = (one.core.deadline_ms or 0) + SwimSettings().lag_ms * 2 // 3
        one.step(Tick())
        assert one.core.health == health


def test_s6_when_not_even_the_helpers_are_heard_the_first_to_be_doubted_are_we() -> None:
    one = One(PEER, OTHER, THIRD)
    effects = one.pass_ms(1_600)
    assert not changes(effects)
    assert one.core.health >= 1


def test_s6_health_returns() -> None:
    one = One(PEER)
    one.now_ms += 60_000
    one.step(Tick())
    assert one.core.health == 1
    one.pass_ms(11_000, PEER)
    assert one.core.health == 0


# -- S7: it hints --------------------------------------------------------------------------------


def test_s7_nothing_it_asks_for_and_nothing_it_imports_touches_votes() -> None:
    names = {effect.__name__ for effect in get_args(SwimEffect)}
    hints = {"Send", "Changed", "Numbered", "Conflict", "Neighbours", "Drop", "Unknown", "Ignored"}
    assert names == hints
    assert swim.__file__ is not None
    for path in Path(swim.__file__).parent.glob("*.py"):
        text = ast.dump(ast.parse(path.read_text(encoding="utf-8")))
        assert "module='consensus" not in text
        assert "module='agents" not in text
