"""The buffer in front of one connection."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from transport_lab import apart

from p2p.transport.outbox import FULL, HIGH, LOW, NORMAL, QUEUED, REFUSED, TOO_LARGE, Body, Outbox

PRIORITIES = (LOW, NORMAL, HIGH)


def an_outbox(**changes: int) -> Outbox:
    limits = {
        "budget_bytes": 100,
        "batch_envelopes": 4,
        "batch_bytes": 20,
        "frame_limit_bytes": 30,
    }
    return Outbox(**(limits | changes))


def drained(outbox: Outbox) -> list[bytes]:
    payloads = []
    while (frame := outbox.first()) is not None:
        payloads.append(apart(frame[0]))
        outbox.pop()
    return payloads


def test_envelopes_of_one_turn_leave_as_one_frame() -> None:
    outbox = an_outbox()
    assert [outbox.push(b"one "), outbox.push(b"two")] == [QUEUED, QUEUED]
    outbox.seal()
    assert drained(outbox) == [b"one two"]
    assert not outbox


def test_a_frame_is_full_after_so_many_envelopes() -> None:
    outbox = an_outbox()
    assert [outbox.push(b"x") for _ in range(5)] == [QUEUED, QUEUED, QUEUED, FULL, QUEUED]


def test_a_frame_is_full_after_so_many_bytes() -> None:
    outbox = an_outbox()
    assert outbox.push(b"x" * 20) == FULL


def test_no_frame_grows_over_the_limit() -> None:
    outbox = an_outbox()
    outbox.push(b"x" * 19)
    assert outbox.push(b"y" * 30) == FULL, "the frame before it is closed and can leave"
    outbox.seal()
    assert drained(outbox) == [b"x" * 19, b"y" * 30]


def test_the_budget_counts_what_waits() -> None:
    outbox = an_outbox(budget_bytes=10)
    assert outbox.push(b"x" * 10) == QUEUED
    assert outbox.push(b"x") == REFUSED
    outbox.seal()
    assert drained(outbox) == [b"x" * 10]
    assert outbox.push(b"x" * 10) == QUEUED


def test_an_envelope_over_the_limit_of_a_frame_is_not_taken() -> None:
    outbox = an_outbox()
    assert outbox.push(b"x" * 31) == TOO_LARGE
    assert outbox.push_with_body(b"x" * 31, NORMAL, b"y") == TOO_LARGE
    assert not outbox


def test_clearing_tells_how_many_envelopes_are_lost() -> None:
    outbox = an_outbox()
    for priority in PRIORITIES * 2:
        outbox.push(b"x", priority)
    outbox.push_with_body(b"x", NORMAL, b"xyz")
    assert outbox.clear() == 7
    assert outbox.queued_bytes == 0
    assert outbox.first() is None


def test_the_important_leaves_first_and_each_priority_keeps_its_order() -> None:
    outbox = an_outbox()
    for number in range(9):
        outbox.push(b"%d" % number, PRIORITIES[number % 3])
    outbox.seal()
    assert drained(outbox) == [b"258", b"147", b"036"]


def test_what_is_less_important_is_refused_earlier() -> None:
    outbox = an_outbox()
    taken = dict.fromkeys(PRIORITIES, 0)
    for priority in PRIORITIES:
        while outbox.push(b"x", priority) != REFUSED:
            taken[priority] += 1
    assert taken == {LOW: 50, NORMAL: 40, HIGH: 10}


def test_a_body_travels_beside_its_envelope_alone_and_in_its_place() -> None:
    outbox = an_outbox()
    outbox.push(b"before")
    body = memoryview(b"12345678").cast("I")
    assert outbox.push_with_body(b"with", NORMAL, body) == FULL
    outbox.push(b"after")
    outbox.seal()
    assert outbox.queued_bytes == len(b"beforewithafter") + 8
    frames = []
    while (frame := outbox.first()) is not None:
        frames.append(frame)
        outbox.pop()
    assert frames == [(b"before", 1, None, 6), (b"with", 1, body, 12), (b"after", 1, None, 5)]
    assert outbox.queued_bytes == 0


pushes = st.tuples(
    st.binary(min_size=1, max_size=30),
    st.sampled_from(PRIORITIES),
    st.one_of(st.none(), st.binary(max_size=40)),
)


@given(st.lists(st.one_of(pushes, st.sampled_from(["seal", "pop", "clear"]))))
def test_nothing_is_lost_or_reordered_whatever_is_done(
    actions: list[tuple[bytes, int, Body | None] | str],
) -> None:
    outbox = an_outbox()
    waiting: dict[int, bytes] = dict.fromkeys(PRIORITIES, b"")
    for action in actions:
        if isinstance(action, tuple):
            envelope, priority, body = action
            envelope = bytes([priority]) + envelope[1:]
            if body is None:
                said = outbox.push(envelope, priority)
            else:
                said = outbox.push_with_body(envelope, priority, body)
            if said != REFUSED:
                waiting[priority] += envelope + bytes(body or b"")
        elif action == "seal":
            outbox.seal()
        elif action == "clear":
            outbox.clear()
            waiting = dict.fromkeys(PRIORITIES, b"")
        elif (frame := outbox.first()) is not None:
            payload = apart(frame[0]) + bytes(frame[2] or b"")
            assert waiting[payload[0]].startswith(payload)
            waiting[payload[0]] = waiting[payload[0]].removeprefix(payload)
            outbox.pop()
        outbox.check_invariants()
    outbox.seal()
    left = b"".join(waiting[priority] for priority in reversed(PRIORITIES))
    found = b""
    while (frame := outbox.first()) is not None:
        found += apart(frame[0]) + bytes(frame[2] or b"")
        outbox.pop()
    assert found == left
