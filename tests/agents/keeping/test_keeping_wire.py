"""What nodes say about the store: written, read back, and garbage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.keeping import wire
from agents.keeping.watching import Page, is_listed_already, read_changes, with_resumes
from consensus.kv import Cause, Change, Changes, Entry, FeedCompacted, Refusal, Reply, Result
from consensus.kv.model import MAX_KEY_BYTES, MAX_VALUE_BYTES
from p2p import decode_payload, encode_payload

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=12,
)


def test_limits_are_those_of_the_store() -> None:
    assert wire.MAX_KEY_BYTES == MAX_KEY_BYTES
    assert wire.MAX_VALUE_BYTES == MAX_VALUE_BYTES


@pytest.mark.parametrize(
    "reply",
    [
        Reply(7, None, (Result(None, 7, 0, 9), Result(Refusal.HELD, 0, 3, 4))),
        Reply(0, Refusal.SESSION_GONE),
    ],
)
def test_a_reply_comes_back_as_it_was(reply: Reply) -> None:
    sent = decode_payload(encode_payload(wire.reply_row(reply)))
    assert wire.read_reply(sent) == reply


@given(ANYTHING)
def test_garbage_is_nothing_and_never_an_error(raw: object) -> None:
    for read in (wire.read_reply, wire.read_found, wire.read_entry, wire.read_change, read_changes):
        found = read(raw)
        assert found is None or isinstance(found, tuple)


def test_what_is_well_formed_is_read() -> None:
    assert wire.read_entry([b"v", 3, 2, None]) == Entry(b"v", 3, 2, None)
    change = Change(4, Cause.PUT, "k", b"v")
    assert wire.read_change([4, "put", "k", b"v"]) == change
    assert read_changes([9, [[4, "put", "k", b"v"]]]) == Changes((change,), 9)
    assert read_changes([None, 5]) == FeedCompacted(5)
    assert wire.read_found([1, None, 2, "x"]) == wire.Found(1, None, 2, "x")


def test_whoever_goes_on_behind_a_change_misses_none_of_its_command() -> None:
    changes = [Change(n, Cause.EXPIRED, key, None) for n, key in ((3, "a"), (5, "b"), (5, "c"))]
    assert [resume for _, resume in with_resumes(changes)] == [3, 4, 5]


def test_what_a_later_page_already_holds_is_not_told_again() -> None:
    pages = [Page("m", 10), Page(None, 20)]

    def is_told(index: int, key: str) -> bool:
        return is_listed_already(Change(index, Cause.PUT, key, b""), pages)

    assert is_told(10, "a")
    assert not is_told(11, "a")
    assert is_told(11, "z")
    assert is_told(20, "z")
    assert not is_told(21, "z")
    assert not is_listed_already(Change(1, Cause.PUT, "k", b""), [])
