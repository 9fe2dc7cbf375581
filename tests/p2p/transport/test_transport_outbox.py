"""The buffer in front of one connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.transport.outbox import Outbox


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
        payloads.append(frame.payload)
        outbox.pop()
    return payloads


def test_envelopes_of_one_turn_leave_as_one_frame() -> None:
    outbox = an_outbox()
    assert not outbox.push(b"one ")
    assert not outbox.push(b"two")
    outbox.seal()
    assert drained(outbox) == [b"one two"]
    assert not outbox


def test_a_frame_is_full_after_so_many_envelopes() -> None:
    outbox = an_outbox()
    assert [outbox.push(b"x") for _ in range(5)] == [False, False, False, True, False]


def test_a_frame_is_full_after_so_many_bytes() -> None:
    outbox = an_outbox()
    assert outbox.push(b"x" * 20)


def test_no_frame_grows_over_the_limit() -> None:
    outbox = an_outbox()
    outbox.push(b"x" * 19)
    assert outbox.push(b"y" * 30), "the frame before it is closed and can leave"
    outbox.seal()
    assert drained(outbox) == [b"x" * 19, b"y" * 30]


def test_the_budget_counts_what_waits() -> None:
    outbox = an_outbox(budget_bytes=10)
    outbox.push(b"x" * 10)
    assert not outbox.has_room_for(1)
    outbox.seal()
    outbox.pop()
    assert outbox.has_room_for(10)


def test_an_envelope_over_the_limit_is_a_bug_of_the_caller() -> None:
    with pytest.raises(AssertionError):
        an_outbox().push(b"x" * 31)


def test_clearing_tells_how_many_envelopes_are_lost() -> None:
    outbox = an_outbox()
    for _ in range(6):
        outbox.push(b"x")
    assert outbox.clear() == 6
    assert outbox.queued_bytes == 0
    assert outbox.first() is None


@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from(["seal", "pop", "clear"]))))
def test_nothing_is_lost_or_reordered_whatever_is_done(actions: list[bytes | str]) -> None:
    outbox = an_outbox()
    expected, sent = b"", b""
    for action in actions:
        if isinstance(action, bytes):
            if outbox.has_room_for(len(action)):
                outbox.push(action)
                expected += action
        elif action == "seal":
            outbox.seal()
        elif action == "clear":
            expected = sent + b"" if outbox.clear() >= 0 else expected
        elif (frame := outbox.first()) is not None:
            sent += frame.payload
            outbox.pop()
        outbox.check_invariants()
    outbox.seal()
    assert sent + b"".join(drained(outbox)) == expected
