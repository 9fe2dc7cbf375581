"""One byte form per value, and no exception of another kind whatever arrives."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.canonical import Fields, NotCanonical, decode, encode, pair

LIMIT = 4096

values = st.recursive(
    st.integers(-(2**63), 2**64 - 1) | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.integers(0, 300) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(values)
def test_what_is_encoded_decodes_to_itself_and_encodes_to_the_same_bytes(value: object) -> None:
    data = encode(value)
    again = decode(data, 1 << 20)
    assert again == value
    assert encode(again) == data


@given(st.binary(max_size=200))
def test_random_bytes_are_a_value_in_canonical_form_or_not_canonical(data: bytes) -> None:
    try:
        value = decode(data, LIMIT)
    except NotCanonical:
        return
    assert encode(value) == data


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("empty", b""),
        ("reserved byte", b"\xc1"),
        ("cut off", encode([1, 2, 3])[:-1]),
        ("something after the value", encode(1) + b"\x00"),
        ("duplicate key", b"\x82\x01\x01\x01\x02"),
        ("keys out of order", b"\x82\x02\x01\x01\x01"),
        ("long integer", b"\xcc\x01"),
        ("very long integer", b"\xcf" + bytes(7) + b"\x01"),
        ("long text header", b"\xd9\x01a"),
        ("long bytes header", b"\xc5\x00\x01a"),
        ("long list header", b"\xdc\x00\x01\x01"),
        ("float", b"\xcb" + bytes(8)),
        ("not a number", b"\xcb\x7f\xf8" + bytes(6)),
        ("true", b"\xc3"),
        ("nil", b"\xc0"),
        ("extension", b"\xd4\x05\x01"),
        ("timestamp", b"\xd6\xff" + bytes(4)),
        ("overflowing timestamp", b"\xc7\x0c\xff" + b"\xff" * 12),
        ("empty extension", b"\xc7\x00\x05"),
        ("invalid UTF-8", b"\xa1\xff"),
        ("bytes as a key", b"\x81\xc4\x01a\x01"),
        ("float as a key", b"\x81\xcb" + bytes(8) + b"\x01"),
        ("list as a key", b"\x81\x91\x01\x01"),
        ("true as a key", b"\x81\xc3\x01"),
        ("list of 2^32 - 1", b"\xdd\xff\xff\xff\xff"),
        ("map of 2^32 - 1", b"\xdf\xff\xff\xff\xff"),
        ("bytes of 2^32 - 1", b"\xc6\xff\xff\xff\xff"),
        ("nested 2,000 times", b"\x91" * 2000 + b"\x01"),
        ("nested 9 times", b"\x91" * 9 + b"\x01"),
        ("300 items", msgpack.packb([1] * 300)),
    ],
)
def test_every_other_form_is_refused(what: str, data: bytes) -> None:
    with pytest.raises(NotCanonical):
        decode(data, LIMIT)


def test_too_many_bytes_are_refused_before_they_are_parsed() -> None:
    with pytest.raises(NotCanonical, match="limit"):
        decode(b"\xc1" * (LIMIT + 1), LIMIT)


def test_a_value_that_is_no_value_is_not_encoded() -> None:
    for value in (1.5, None, True, 2**64, {1.0: 2}, {(1,): 2}, object()):
        with pytest.raises(NotCanonical):
            encode(value)


@pytest.mark.parametrize(
    "read",
    [
        lambda fields: fields.integer(1, 0, 3),
        lambda fields: fields.integer(2),
        lambda fields: fields.integer(9),
        lambda fields: fields.binary(3, 5),
        lambda fields: fields.blob(3, 3),
        lambda fields: fields.text(2, 2),
        lambda fields: fields.text(1, 2),
        lambda fields: fields.texts(4, 1, 9),
        lambda fields: fields.texts(5, 9, 9),
        lambda fields: fields.texts(1, 9, 9),
        lambda fields: fields.binaries(4, 9, 1),
        lambda fields: fields.table(1, 1),
        lambda fields: fields.table(6, 1),
        lambda fields: fields.finish(),
    ],
)
def test_a_field_of_another_type_or_beyond_its_bounds_is_refused(read: object) -> None:
    fields = Fields({1: 4, 2: "text", 3: b"data", 4: ["a", "b"], 5: [1], 6: {1: 2}})
    assert callable(read)
    with pytest.raises(NotCanonical):
        read(fields)


def test_fields_and_pairs_of_something_else_are_refused() -> None:
    for value in (1, b"", [b"", bytes(63)], [b"", b"", b""], ["", bytes(64)], [b"12", bytes(64)]):
        with pytest.raises(NotCanonical):
            pair(value, 1)
        with pytest.raises(NotCanonical):
            Fields(value)
    assert pair([b"1", bytes(64)], 1) == (b"1", bytes(64))
