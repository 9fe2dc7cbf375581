"""Bytes of strangers: frames, messages, and the words that are shown to people."""

from __future__ import annotations

import msgpack
import pytest
from admission_lab import NOW_MS, dialer, door, network, nonce, seeded, written
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.admission import Handshake, Hint, RefusalCode, Send
from p2p.admission.frames import MAX_FRAME_BYTES, MAX_TOTAL_BYTES, FrameReader, frame_of
from p2p.admission.handshake import TRANSITIONS, State
from p2p.admission.messages import (
    VERSION,
    DoorHello,
    Hello,
    Introduction,
    JoinGrant,
    JoinHello,
    JoinRequest,
    Message,
    Refusing,
    Welcome,
    decode,
    encode,
    pack,
)
from p2p.admission.refusals import Objection, code_named, printable
from p2p.errors import PayloadTooLarge

NET = network()
ID = NET.trust.network_id
HINT = Hint(seeded(50).peer_id, ("192.0.2.50", "fe80::1%eth0"), 4747)
ALL: list[Message] = [
    Hello(ID, nonce(1)),
    JoinHello(ID, nonce(1)),
    DoorHello(ID, nonce(1), b"record", b"chain"),
    Introduction(b"record", b"chain", b"p" * 64, b"t" * 32),
    Welcome((HINT,), b"p" * 64, b"t" * 32),
    Refusing(RefusalCode.BUSY, "later", (HINT,)),
    JoinRequest(b"request"),
    JoinGrant(b"grant"),
]


@pytest.mark.parametrize("message", ALL, ids=lambda each: type(each).__name__)
def test_every_message_survives_the_way(message: Message) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize("message", ALL, ids=lambda each: type(each).__name__)
def test_a_message_with_bytes_behind_its_end_or_a_field_too_many_is_malformed(
    message: Message,
) -> None:
    fields = msgpack.unpackb(encode(message))
    for wrong in (encode(message) + b"\0", pack([*fields, 1]), encode(message)[:-1]):
        with pytest.raises(Objection):
            decode(wrong)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x91" * 2000,
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        pack([True, 1, ID, nonce(1)]),
        pack([1.0, 1, ID, nonce(1)]),
        pack([1, True, ID, nonce(1)]),
        pack([1, VERSION, ID.upper(), nonce(1)]),
        pack([1, VERSION, ID + "\n", nonce(1)]),
        pack([1, VERSION, ID.encode(), nonce(1)]),
        pack([1, VERSION, ID, nonce(1)[:-1]]),
        pack([1]),
        pack([99]),
        pack([-1]),
        pack([2**64 - 1]),
        pack([{}]),
        pack([4, [[HINT.peer_id, ["192.0.2.1"], 0]], b"p" * 64, b"t" * 32]),
        pack([4, [[HINT.peer_id, ["192.0.2.1"], True]], b"p" * 64, b"t" * 32]),
        pack([4, [[HINT.peer_id, ["a b"], 1]], b"p" * 64, b"t" * 32]),
        pack([4, [[HINT.peer_id, ["a\n"], 1]], b"p" * 64, b"t" * 32]),
        pack([4, [[HINT.peer_id, [], 1]], b"p" * 64, b"t" * 32]),
        pack([4, [[HINT.peer_id, ["h"] * 5, 1]], b"p" * 64, b"t" * 32]),
        pack([4, [[HINT.peer_id, ["h"], 1]] * 33, b"p" * 64, b"t" * 32]),
        pack([5, "", "text", []]),
        pack([5, "x" * 33, "text", []]),
        pack([5, "busy", "x" * 201, []]),
        pack([5, b"busy", "text", []]),
        b"\x94\x05\xa4busy\xa2\xff\xfe\x90",
        msgpack.packb(msgpack.Timestamp(1, 1)),
    ],
)
def test_what_is_no_message_is_malformed(body: bytes) -> None:
    with pytest.raises(Objection) as caught:
        decode(body)
    assert caught.value.refusal.code is RefusalCode.MALFORMED


@given(st.binary(max_size=300))
def test_decoding_raises_nothing_but_an_objection(body: bytes) -> None:
    try:
        decode(body)
    except Objection:
        return
    assert decode(body) is not None


@pytest.mark.parametrize(
    "opening",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00",
        b"SSH-2.0-x\r\n",
        b"\xff\0\0\0\0\0\0\0\x01\x7f",
    ],
)
def test_clients_of_other_protocols_are_turned_away_by_their_first_bytes(opening: bytes) -> None:
    callee = door(NET.member(10))
    effects = callee.receive(opening, NOW_MS)
    assert callee.refusal is not None
    assert callee.refusal.code is RefusalCode.TOO_LARGE
    assert not any(isinstance(each, Send) for each in effects), "nobody there who understands"


def test_a_frame_that_is_too_large_is_refused_at_its_header() -> None:
    reader = FrameReader()
    reader.feed((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(Objection) as caught:
        reader.next_body()
    assert caught.value.refusal.code is RefusalCode.TOO_LARGE


def test_a_conversation_that_is_too_large_is_refused_before_it_is_stored() -> None:
    reader = FrameReader()
    with pytest.raises(Objection):
        reader.feed(bytes(MAX_TOTAL_BYTES + 1))
    assert reader.held_bytes == 0


def test_an_own_message_that_is_too_large_is_our_error() -> None:
    assert len(frame_of(bytes(MAX_FRAME_BYTES))) == MAX_FRAME_BYTES + 4
    with pytest.raises(PayloadTooLarge):
        frame_of(bytes(MAX_FRAME_BYTES + 1))


def test_words_of_the_other_side_cannot_move_the_cursor() -> None:
    assert printable("evil\x1b[2J\u202etxt\n\0") == "evil?[2J?txt??"
    assert len(printable("x" * 5000)) == 200


def test_a_word_that_only_we_may_use_is_not_taken_from_the_wire() -> None:
    assert code_named("deadline") is RefusalCode.OTHER
    assert code_named("no such word") is RefusalCode.OTHER
    assert code_named("busy") is RefusalCode.BUSY


def fresh(state: State) -> Handshake:
    """A handshake of either side, led by honest messages to this state."""
    callee, caller = door(NET.member(10)), dialer(NET.member(11))
    if state is State.LISTENING:
        return callee
    hello = written(caller.start())
    if state is State.AWAITING_PAPERS:
        return caller
    papers = written(callee.receive(hello, NOW_MS))
    if state is State.AWAITING_INTRODUCTION:
        return callee
    caller.receive(papers, NOW_MS)
    assert caller.state is State.AWAITING_WELCOME
    return caller


STATES = [
    State.LISTENING,
    State.AWAITING_PAPERS,
    State.AWAITING_INTRODUCTION,
    State.AWAITING_WELCOME,
]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(STATES),
    st.lists(st.one_of(st.binary(max_size=200), st.sampled_from(ALL).map(encode)), max_size=5),
    st.integers(1, 64),
)
def test_no_state_can_be_made_to_raise_or_to_admit(
    state: State, bodies: list[bytes], chunk_bytes: int
) -> None:
    handshake = fresh(state)
    stream = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
    kinds: list[str] = []
    for at in range(0, len(stream), chunk_bytes):
        effects = handshake.receive(stream[at : at + chunk_bytes], NOW_MS)
        kinds += [type(each).__name__ for each in effects]
    kinds += [type(each).__name__ for each in handshake.closed()]
    handshake.check_invariants()
    assert kinds.count("Close") == 1
    assert kinds[-1] == "Close"
    assert "Admit" not in kinds


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(STATES), st.data())
def test_a_flipped_bit_anywhere_never_leads_to_a_session(state: State, data: st.DataObject) -> None:
    caller, callee = dialer(NET.member(11)), door(NET.member(10))
    turn = STATES.index(state)
    stream = written(caller.start())
    for step in range(4):
        if step == turn:
            bit = data.draw(st.integers(0, len(stream) * 8 - 1))
            broken = bytearray(stream)
            broken[bit // 8] ^= 1 << (bit % 8)
            stream = bytes(broken)
        side: Handshake = callee if step % 2 == 0 else caller
        effects = side.receive(stream, NOW_MS)
        admitted = any(type(each).__name__ == "Admit" for each in effects)
        # Steps before the flip are honest; the door admits at step 2, the dialer at step 3.
        assert not admitted or step < turn
        stream = written(effects)
        if not stream:
            break
    assert caller.state is not State.DONE


def test_every_state_but_the_last_ones_is_left_by_some_message() -> None:
    left = {state for state, _ in TRANSITIONS}
    assert left == set(State) - {State.DONE, State.REFUSED}
