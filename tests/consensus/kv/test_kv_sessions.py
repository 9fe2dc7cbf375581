"""Sessions: a request runs once, whatever is repeated, reordered, evicted or late."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kv_lab import ANNA, BEN, SMALL, Lab, client, restored

from consensus.kv import (
    ClientId,
    Expiry,
    Refusal,
    Result,
    SessionRef,
    What,
    acquire,
    compare_set,
    delete,
    encode,
    encode_batch,
    encode_register,
    put,
)
from consensus.kv.model import MAX_OPS, MAX_REMEMBERED, WINDOW


def ref(number: int, sequence: int, acknowledged: int = 0, who: ClientId = ANNA) -> SessionRef:
    return SessionRef(who, number, sequence, acknowledged)


def test_a_repeat_is_given_the_same_reply_and_not_run() -> None:
    lab = Lab()
    number = lab.register()
    command = encode(compare_set("k", None, b"v"), ref(number, 1))
    first = lab.apply(command)
    lab.delete("k")
    assert lab.apply(command) == first
    assert first.log_index == 2
    assert lab.value("k") is None


def test_a_refusal_is_remembered_like_any_reply() -> None:
    lab = Lab()
    number = lab.register()
    command = encode(delete("k"), ref(number, 1))
    first = lab.apply(command)
    lab.put("k")
    assert lab.apply(command) == first
    assert lab.value("k") == b"v"


def test_a_repeated_acquire_returns_the_same_token() -> None:
    lab = Lab()
    number = lab.register()
    command = encode(acquire("lock", "anna", 1000), ref(number, 1))
    first = lab.apply(command)
    assert lab.apply(command) == first
    assert first.results == (Result(None, token=2, deadline_ms=2000),)


def test_requests_run_once_in_whatever_order_they_come() -> None:
    lab = Lab()
    number = lab.register()
    for sequence in (3, 1, 2, 1, 3):
        lab.apply(encode(put("k", b"%d" % sequence), ref(number, sequence)))
    assert lab.value("k") == b"2"


def test_what_was_acknowledged_never_runs_again() -> None:
    lab = Lab()
    number = lab.register()
    lab.do(put("k", b"1"), ref(number, 1))
    lab.do(put("k", b"3"), ref(number, 3, 2))  # 2 was given up before it ran
    for sequence in (1, 2):
        reply = lab.apply(encode(put("k", b"late"), ref(number, sequence)))
        assert reply.refusal is Refusal.SEQUENCE_OLD
    assert lab.value("k") == b"3"
    session = lab.store.session(ANNA)
    assert session is not None
    assert (session.acknowledged, session.remembered) == (2, 1)


def test_the_window_bounds_what_is_in_flight() -> None:
    lab = Lab()
    number = lab.register()
    ahead = encode(put("k", b"v"), ref(number, WINDOW + 1))
    assert lab.apply(ahead).refusal is Refusal.WINDOW_FULL
    assert lab.value("k") is None
    lab.do(put("k", b"w"), ref(number, WINDOW))
    lab.do(put("k", b"x"), ref(number, 1))
    assert lab.apply(ahead).refusal is Refusal.WINDOW_FULL
    lab.do(put("k", b"y"), ref(number, WINDOW + 1, 1))  # refused before, and runs now
    assert lab.value("k") == b"y"


def test_a_request_cannot_acknowledge_itself() -> None:
    lab = Lab()
    number = lab.register()
    for sequence, acknowledged in ((1, 1), (0, 0), (2, 5)):
        reply = lab.apply(encode(put("k", b"v"), ref(number, sequence, acknowledged)))
        assert reply.refusal is Refusal.SEQUENCE_INVALID
    session = lab.store.session(ANNA)
    assert session is not None
    assert session.acknowledged == 0


def test_a_far_jump_of_the_acknowledgement_costs_nothing() -> None:
    lab = Lab()
    number = lab.register()
    lab.do(put("k", b"v"), ref(number, 1))
    lab.do(put("k", b"w"), ref(number, 2**61, 2**61 - 1))
    session = lab.store.session(ANNA)
    assert session is not None
    assert session.remembered == 1


def test_results_of_batches_are_bounded_and_the_next_one_always_runs() -> None:
    lab = Lab()
    number = lab.register()
    ops = [put(f"{n}", b"") for n in range(MAX_OPS)]
    for sequence in range(2, 2 + MAX_REMEMBERED // MAX_OPS):
        lab.batch(*ops, session=ref(number, sequence))
    refused = lab.apply(encode_batch(ops[:1], ref(number, 10)))
    assert refused.refusal is Refusal.WINDOW_FULL
    assert len(lab.batch(*ops, session=ref(number, 1))) == MAX_OPS
    assert lab.batch(*ops[:1], session=ref(number, 10, 5))


def test_an_unknown_session_is_gone() -> None:
    lab = Lab()
    number = lab.register()
    for who, wrong in ((BEN, number), (ANNA, number + 1)):
        reply = lab.apply(encode(put("k", b"v"), ref(wrong, 1, who=who)))
        assert reply.refusal is Refusal.SESSION_GONE
        assert lab.keep_alive(who, wrong).refusal is Refusal.SESSION_GONE
        assert lab.end_session(who, wrong).refusal is Refusal.SESSION_GONE
    assert lab.value("k") is None


def test_a_repeated_registration_gives_the_same_session() -> None:
    lab = Lab()
    number = lab.register()
    lab.do(put("k", b"v"), ref(number, 1))
    assert lab.register() == number
    session = lab.store.session(ANNA)
    assert session is not None
    assert session.remembered == 1


def test_a_late_request_of_an_earlier_session_never_runs_in_a_later_one() -> None:
    lab = Lab()
    first = lab.register()
    late = encode(put("k", b"late"), ref(first, 1))
    lab.end_session(ANNA, first)
    assert lab.register() != first
    assert lab.apply(late).refusal is Refusal.SESSION_GONE
    assert lab.value("k") is None


def test_the_session_unused_for_longest_makes_room() -> None:
    lab = Lab(SMALL)
    numbers = [lab.register(client(n)) for n in range(3)]
    lab.do(put("k", b"v"), ref(numbers[0], 1, who=client(0)))
    lab.keep_alive(client(1), numbers[1])
    lab.register(client(3))
    assert lab.store.session(client(2)) is None
    lab.register(client(4))
    assert lab.store.session(client(0)) is None
    reply = lab.apply(encode(put("k", b"again"), ref(numbers[0], 1, who=client(0))))
    assert reply.refusal is Refusal.SESSION_GONE
    assert lab.value("k") == b"v"


def test_a_session_runs_out_by_decision_and_any_use_keeps_it() -> None:
    lab = Lab()
    number = lab.register(ttl_ms=1000)
    due = Expiry(What.SESSION, ANNA, number)
    lab.now_ms = 2000
    assert lab.store.expired(2000) == [due]
    command = encode(put("k", b"v"), ref(number, 1))
    assert lab.apply(command).refusal is None  # over, and nobody decided so yet
    assert lab.expire(due) == (Refusal.NOT_DUE,)
    lab.now_ms = 2900
    lab.apply(command)  # a repeat is a use
    lab.now_ms = 3800
    assert lab.store.expired(3800) == []
    assert lab.keep_alive(ANNA, number).results == (Result(None, 0, number, 4800),)
    lab.now_ms = 4800
    assert lab.expire_all() == (None,)
    assert lab.keep_alive(ANNA, number).refusal is Refusal.SESSION_GONE


@pytest.mark.parametrize("who", ["", "A" * 32, "g" * 32, "0" * 31, "0" * 33])
def test_a_client_is_32_lowercase_hex_digits(who: str) -> None:
    lab = Lab()
    (result,) = lab.apply(encode_register(ClientId(who), 10_000)).results
    assert result.refusal is Refusal.MALFORMED


def test_a_session_lasts_neither_too_short_nor_too_long() -> None:
    lab = Lab()
    for ttl_ms in (0, 999, 2**50):
        (result,) = lab.apply(encode_register(ANNA, ttl_ms)).results
        assert result.refusal is Refusal.OUT_OF_RANGE


def test_without_a_session_a_retry_runs_again() -> None:
    lab = Lab()
    command = encode(compare_set("k", None, b"v"))
    assert lab.apply(command).results[0].accepted
    assert not lab.apply(command).results[0].accepted


@given(st.lists(st.tuples(st.integers(1, 90), st.integers(0, 80)), max_size=60))
def test_every_sequence_runs_at_most_once_and_is_answered_the_same(
    sent: list[tuple[int, int]],
) -> None:
    lab = Lab()
    number = lab.register()
    runs: dict[int, int] = {}
    acked, replies = 0, {}
    for at, (sequence, acknowledged) in enumerate(sent):
        acknowledged = min(acknowledged, sequence - 1)
        before = lab.value("k")
        reply = lab.apply(encode(put("k", b"%d" % at), ref(number, sequence, acknowledged)))
        acked = max(acked, acknowledged)
        ran = lab.value("k") != before
        runs[sequence] = runs.get(sequence, 0) + ran
        if sequence <= acked:
            assert reply.refusal is Refusal.SEQUENCE_OLD
        elif sequence > acked + WINDOW:
            assert reply.refusal is Refusal.WINDOW_FULL
        else:
            assert reply == replies.setdefault(sequence, reply)
            assert runs[sequence] == 1
        if at % 7 == 0:
            lab.store = restored(lab.store)
    assert all(count <= 1 for count in runs.values())
