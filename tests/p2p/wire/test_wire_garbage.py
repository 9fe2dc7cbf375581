"""Whatever arrives, decoding ends in values or in one typed error."""

from __future__ import annotations

import contextlib

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.errors import HandlerFailed, Overloaded, RemoteError
from p2p.links import frame_of
from p2p.wire import (
    MAX_ENVELOPE_BYTES,
    BadFrame,
    Envelope,
    FrameFault,
    PayloadError,
    TraceContext,
    decode_fault,
    decode_frame,
    decode_payload,
    encode_envelope,
    encode_fault,
    encode_payload,
)

GOOD = encode_envelope(Envelope(5, 0, 1, "a.b", 0, 1, b"", b"x"))
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(st.binary(max_size=300))
@settings(max_examples=400)
def test_random_bytes_are_envelopes_or_a_bad_frame(data: bytes) -> None:
    try:
        envelopes, _ = decode_frame(data)
    except BadFrame:
        return
    assert all(isinstance(envelope, Envelope) for envelope in envelopes)


@given(st.integers(0, len(frame_of([GOOD] * 3)) - 1), st.integers(0, 255))
def test_a_changed_byte_never_raises_anything_else(position: int, value: int) -> None:
    frame = bytearray(frame_of([GOOD] * 3))
    frame[position] = value
    with contextlib.suppress(BadFrame):
        decode_frame(bytes(frame))


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        ([2, 5, 0, 1, "t", 0, 1, b"", b""], FrameFault.UNKNOWN_VERSION),
        ([1, 99, 0, 1, "t", 0, 1, b"", b""], FrameFault.UNKNOWN_KIND),
        ([3, "a later version may look like anything"], FrameFault.UNKNOWN_VERSION),
    ],
)
def test_what_a_newer_peer_says_is_skipped_and_its_neighbours_are_taken(
    item: list[object], fault: FrameFault
) -> None:
    envelopes, faults = decode_frame(frame_of([GOOD, msgpack.packb(item), GOOD]))
    assert len(envelopes) == 2
    assert faults == [fault]


def test_fields_that_a_later_version_appends_are_ignored() -> None:
    row = [1, 5, 0, 1, "t", 0, 1, b"", b"x", "later", 7]
    envelopes, faults = decode_frame(msgpack.packb(row))
    assert envelopes[0].payload == b"x"
    assert faults == []


@pytest.mark.parametrize(
    "item",
    [
        [1, 5, -1, 1, "t", 0, 1, b"", b""],
        [1, 5, 0, 1, b"t", 0, 1, b"", b""],
        [1, 5, 0, 1, "t" * 256, 0, 1, b"", b""],
        [1, 5, 0, 1, "t", 0, 1, b"", "text"],
        [1, 5, 0, 1, "t", 0, True, bytes(65), b""],
        [1, 5],
        [1] + [0] * 64,
        [],
        7,
        "text",
        None,
    ],
)
def test_what_breaks_the_grammar_spoils_the_frame(item: object) -> None:
    with pytest.raises(BadFrame):
        decode_frame(msgpack.packb(item))


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        GOOD[:-1],
        GOOD + b"\xc1",
        GOOD + GOOD,
        frame_of([GOOD] * 3)[:-1],
        frame_of([GOOD] * 3) + GOOD,
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 2000,
        b"\xdf\xff\xff\xff\xff",
    ],
)
def test_cut_forged_and_deep_frames_are_refused_without_allocating(frame: bytes) -> None:
    with pytest.raises(BadFrame):
        decode_frame(frame)


def test_a_frame_of_too_many_envelopes_is_refused() -> None:
    with pytest.raises(BadFrame) as caught:
        decode_frame(frame_of([GOOD] * 5000))
    assert caught.value.fault is FrameFault.TOO_MANY


@given(plain)
def test_plain_values_come_back(value: object) -> None:
    again = decode_payload(encode_payload(value))
    assert repr(again) == repr(value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": [1, object()]}, r"value\['a'\]\[1\] is a object, which cannot travel"),
        ({(1, 2): 2}, "has a key of type tuple|a key of a map is no plain value"),
        (2**70, "more than 64 bits"),
        ("\ud800", "lone surrogate"),
    ],
)
def test_what_cannot_travel_is_named_with_its_place(value: object, words: str) -> None:
    with pytest.raises(PayloadError, match=words):
        decode_payload(encode_payload(value))


@given(st.binary(max_size=200))
def test_random_payloads_are_a_value_or_a_payload_error(data: bytes) -> None:
    with contextlib.suppress(PayloadError):
        decode_payload(data)


@given(st.binary(max_size=200))
def test_random_faults_are_a_remote_error_with_the_peers_name(data: bytes) -> None:
    assert "ada" in str(decode_fault(data, "ada", "work"))


def test_faults_keep_class_text_and_traceback() -> None:
    again = decode_fault(encode_fault(ValueError("no"), "where it was"), "ada", "work")
    assert isinstance(again, HandlerFailed)
    assert (again.error_type, again.detail) == ("ValueError", "ValueError: no")
    assert again.remote_traceback == "where it was"
    refused = decode_fault(encode_fault(Overloaded("x", "y", "too much")), "ada", "work")
    assert isinstance(refused, Overloaded)
    assert refused.definite
    newer = decode_fault(encode_payload(["new", "?", "", ""]), "a", "w")
    assert type(newer) is RemoteError
    assert not newer.definite


def test_control_characters_of_afar_are_escaped() -> None:
    text = str(decode_fault(encode_fault(ValueError("\x1b[2Jgone\u202e")), "ada", "work"))
    assert "\x1b" not in text
    assert "\u202e" not in text


@given(st.binary(max_size=60))
def test_trace_contexts_are_whole_or_none(data: bytes) -> None:
    context = TraceContext.from_bytes(data)
    assert context is None or context.to_bytes() == data
    assert context is None or len(context.header()) == 55


def test_the_largest_envelope_fits_a_frame() -> None:
    big = Envelope(5, 0, 1, "t", 0, 1, b"", bytes(MAX_ENVELOPE_BYTES))
    assert decode_frame(encode_envelope(big)) == ([big], [])
