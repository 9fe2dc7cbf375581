"""One member, rule by rule: S1 and S3 to S7, and what it makes of garbage."""

from __future__ import annotations

import ast
import random
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swim_lab import an_id, sign_as, verify

import p2p.membership.swim as swim
from keys import Identity, PeerId, verify_signature
from p2p.membership import MemberState
from p2p.membership.swim import (
    Changed,
    Conflict,
    Drop,
    DropReason,
    Leave,
    Message,
    Met,
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
from p2p.membership.swim.messages import Ack, Beat, Compare, Have, News, Ping, Want
from p2p.membership.swim.statements import raw_of, signed
from p2p.membership.swim.table import bucket_of

OWN, PEER, OTHER, THIRD = (an_id(number) for number in range(4))
ALIVE, SUSPECT, DEAD, LEFT = MemberState


def say(say: Say, subject: PeerId, number: int, signer: PeerId, mark: bytes = b"m") -> Statement:
    mark = b"" if say is Say.ACCUSED else mark
    return signed(say, subject, number, signer, mark, lambda body: sign_as(signer, body))


def alive(peer_id: PeerId, number: int = 1) -> Statement:
    return say(Say.ALIVE, peer_id, number, peer_id)


def accused(peer_id: PeerId, by: PeerId, number: int = 1) -> Statement:
    return say(Say.ACCUSED, peer_id, number, by)


class One:
    """A core, and the time."""

    def __init__(self, *others: PeerId, incarnation: int = 1) -> None:
        self.core = Swim(
            OWN,
            incarnation,
            b"m",
            SwimSettings(),
            random.Random(1),
            lambda body: sign_as(OWN, body),
            verify,
        )
        self.now_ms = 1_000
        self.step(Tick())
        if others:
            self.hear(others[0], *(alive(other) for other in others))

    def step(self, event: swim.SwimEvent) -> list[SwimEffect]:
        effects = self.core.step(event, now_ms=self.now_ms)
        self.core.check_invariants()
        return effects

    def hear(self, sender: PeerId, *said: Statement) -> list[SwimEffect]:
        return self.step(Received(sender, Message(News(), said)))

    def pass_ms(self, duration_ms: int, *beating: PeerId) -> list[SwimEffect]:
        """Every wish to be woken is fulfilled; these peers are heard all the time."""
        end_ms = self.now_ms + duration_ms
        effects: list[SwimEffect] = []
        while True:
            due_ms = self.core.deadline_ms
            assert due_ms is not None
            self.now_ms = max(self.now_ms, min(due_ms, end_ms))
            for peer_id in beating:
                beat = Beat(1, self.core.digest)
                effects += self.step(Received(peer_id, Message(beat)))
            if due_ms > end_ms:
                return effects
            effects += self.step(Tick())

    def state(self, peer_id: PeerId = PEER) -> MemberState | None:
        return self.core.state_of(peer_id)


def sent(effects: list[SwimEffect], to: PeerId) -> list[Statement]:
    found = [e.message.statements for e in effects if isinstance(e, Send) and e.to == to]
    return [each for statements in found for each in statements]


def changes(effects: list[SwimEffect]) -> list[Changed]:
    return [effect for effect in effects if isinstance(effect, Changed)]


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


# -- the rest ------------------------------------------------------------------------------------


def test_a_goodbye_is_told_and_is_the_end() -> None:
    one = One(PEER)
    effects = one.step(Leave())
    assert [s.say for s in sent(effects, PEER)] == [Say.LEFT]
    assert one.core.deadline_ms is None
    assert one.step(Tick()) == []
    other = One(PEER)
    effects = other.hear(PEER, say(Say.LEFT, PEER, 1, PEER))
    assert [(c.before, c.after, c.why) for c in changes(effects)] == [(ALIVE, LEFT, Why.GOODBYE)]


def test_the_silent_is_probed_accused_and_dead_and_each_step_says_why() -> None:
    one = One(PEER, OTHER, THIRD)
    effects = one.pass_ms(8_000, OTHER, THIRD)
    assert [(c.before, c.after, c.why) for c in changes(effects)] == [
        (ALIVE, SUSPECT, Why.ACCUSED),
        (SUSPECT, DEAD, Why.SILENT),
    ]
    assert [c.accusers for c in changes(effects)] == [(OWN,), (OWN,)]


def test_whoever_we_hear_ourselves_is_not_dead_because_others_say_so() -> None:
    one = One(PEER, OTHER, THIRD, an_id(4))
    for accuser in (OTHER, THIRD, an_id(4)):
        one.hear(accuser, accused(PEER, accuser))
    one.pass_ms(1_000, PEER, OTHER, THIRD, an_id(4))
    assert one.state() is SUSPECT, "its own words are awaited a little longer"
    one.pass_ms(5_000, PEER, OTHER, THIRD, an_id(4))
    assert one.state() is DEAD, "but who never answers is not heard for ever"


def test_the_departed_are_forgotten_after_a_day_and_hearsay_does_not_bring_them_back() -> None:
    one = One(PEER, OTHER)
    one.hear(PEER, say(Say.LEFT, PEER, 1, PEER))
    for _ in range(26 * 60):
        one.pass_ms(0, OTHER)
        one.now_ms += 60_000
        one.step(Tick())
    assert one.state() is None
    assert Drop(OTHER, DropReason.FORGOTTEN) in one.hear(OTHER, say(Say.LEFT, PEER, 1, PEER))
    one.hear(OTHER, alive(PEER, 2))
    assert one.state() is ALIVE


def test_a_neighbour_whose_picture_differs_for_a_while_is_asked_for_it() -> None:
    one = One(PEER)

    def asked(wait_ms: int, digest: int) -> bool:
        one.pass_ms(wait_ms)
        effects = one.step(Received(PEER, Message(Beat(1, digest))))
        return any(isinstance(e, Send) and isinstance(e.message.body, Compare) for e in effects)

    assert not asked(100, 7), "news may be under way"
    assert not asked(700, one.core.digest)
    assert not asked(700, 7)
    assert not asked(700, 7)
    assert asked(900, 7)


def test_one_that_was_met_is_asked_again_until_it_says_a_word() -> None:
    one = One()
    one.step(Met(PEER))

    def asked(effects: list[SwimEffect]) -> int:
        return sum(isinstance(e, Send) and isinstance(e.message.body, Compare) for e in effects)

    assert asked(one.pass_ms(10_000)) >= 3, "all of it may be lost"
    one.hear(PEER, alive(PEER))
    assert asked(one.pass_ms(1_000, PEER)) == 0


def test_two_that_compare_give_each_other_what_the_other_lacks() -> None:
    one = One(PEER, OTHER)
    buckets = (bucket_of(OTHER),)
    one.step(Received(PEER, Message(Have(buckets, ()))))
    assert alive(OTHER) in sent(one.pass_ms(100), PEER), "it has nothing of it"
    effects = one.step(Received(PEER, Message(Have(buckets, ((raw_of(OTHER)[:8], 7),)))))
    wanted = Want((raw_of(OTHER)[:8],))
    assert any(isinstance(e, Send) and e.message.body == wanted for e in effects)
    one.pass_ms(100)
    one.step(Received(PEER, Message(wanted)))
    assert alive(OTHER) in sent(one.pass_ms(100), PEER), "it asked"


def test_a_newcomer_passes_on_nothing_until_it_knows_what_the_others_know() -> None:
    one = One(PEER, OTHER)
    one.hear(PEER, alive(an_id(4)))
    assert alive(an_id(4)) not in sent(one.pass_ms(100), OTHER)
    one.step(Received(PEER, Message(Beat(1, one.core.digest))))
    one.hear(PEER, alive(THIRD))
    effects = one.pass_ms(100)
    assert alive(THIRD) in sent(effects, OTHER)
    assert alive(THIRD) not in sent(effects, PEER), "it told us"


BODIES = st.one_of(
    st.builds(Ping, st.integers(0, 2**64 - 1)),
    st.builds(Ack, st.integers(0, 2**64 - 1)),
    st.builds(Beat, st.integers(0, 9), st.integers(0, 2**64 - 1)),
    st.builds(Compare, st.tuples(*[st.integers(0, 2**64 - 1)] * 64)),
    st.builds(
        Have,
        st.lists(st.integers(0, 63), max_size=5).map(tuple),
        st.lists(st.tuples(st.binary(min_size=8, max_size=8), st.integers(0, 9)), max_size=5).map(
            tuple
        ),
    ),
    st.builds(Want, st.lists(st.binary(min_size=8, max_size=8), max_size=5).map(tuple)),
)
PEERS = st.sampled_from([OWN, PEER, OTHER, THIRD])
STATEMENTS = st.one_of(
    st.builds(alive, PEERS, st.integers(0, 4)),
    st.builds(accused, PEERS, st.sampled_from([PEER, OTHER, THIRD]), st.integers(0, 4)).filter(
        lambda accusation: accusation.subject != accusation.signer
    ),
    st.builds(lambda p, n: say(Say.LEFT, p, n, p), PEERS, st.integers(0, 4)),
    st.builds(lambda p: Statement(Say.ALIVE, p, 9, p, b"m", bytes(64)), PEERS),
)
EVENTS = st.tuples(
    st.sampled_from([PEER, OTHER, THIRD]),
    st.one_of(st.none(), st.builds(Message, BODIES, st.lists(STATEMENTS, max_size=4).map(tuple))),
    st.integers(0, 3_000),
)


@given(st.lists(EVENTS, max_size=40))
def test_whatever_peers_say_in_whatever_order_the_invariants_hold(
    events: list[tuple[PeerId, Message | None, int]],
) -> None:
    one = One(PEER, OTHER, THIRD)
    number = one.core.incarnation
    for sender, message, wait_ms in events:
        one.now_ms += wait_ms
        effects = one.step(Received(sender, message))
        assert one.core.incarnation >= number
        raised = [effect.incarnation for effect in effects if isinstance(effect, Numbered)]
        assert raised == sorted(raised)
        number = one.core.incarnation
        for effect in effects:
            if isinstance(effect, Send):
                assert decode_message(encode_message(effect.message)) == effect.message
