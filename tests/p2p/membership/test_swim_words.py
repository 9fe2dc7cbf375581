"""One member: goodbyes, silence, what two tell each other, and what it makes of garbage."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from swim_lab import an_id
from swim_one import (
    ALIVE,
    DEAD,
    LEFT,
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

from keys import PeerId
from p2p.membership.swim import (
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
    SwimEffect,
    Tick,
    Why,
    decode_message,
    encode_message,
)
from p2p.membership.swim.messages import Ack, Beat, Compare, Have, Ping, Want
from p2p.membership.swim.statements import raw_of
from p2p.membership.swim.table import bucket_of


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


def compared(one: One, peers: list[PeerId]) -> int:
    effects = [effect for peer in peers for effect in one.step(Met(peer))]
    return sum(isinstance(e, Send) and isinstance(e.message.body, Compare) for e in effects)


def test_of_two_that_meet_one_compares_unless_we_have_just_begun() -> None:
    others = sorted(map(an_id, range(4, 40)))
    lesser, greater = others[0], others[-1]
    assert lesser < OWN < greater
    assert [compared(One(), [peer]) for peer in (lesser, greater)] == [1, 1]
    grown = One()
    grown.pass_ms(6_000)
    assert [compared(grown, [peer]) for peer in (lesser, greater)] == [0, 1]


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
