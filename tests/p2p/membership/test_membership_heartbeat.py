"""The heartbeat and its plain form."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.membership import Heartbeat

GOOD = (1, 2, b"adverts", 4, 5, b"body", b"heads")
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=8) | st.tuples(inner),
    max_leaves=12,
)


def test_a_heartbeat_survives_its_plain_form() -> None:
    heartbeat = Heartbeat(*GOOD)
    assert heartbeat.to_wire() == GOOD
    assert Heartbeat.from_wire(list(GOOD)) == heartbeat


def test_fields_of_a_later_version_are_ignored() -> None:
    assert Heartbeat.from_wire([*GOOD, "new", {"x": 1}]) == Heartbeat(*GOOD)


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (0, -1),
        (0, 2**63),
        (0, True),
        (0, 1.0),
        (1, None),
        (2, "3"),
        (2, b"x" * 65),
        (3, 256),
        (3, -1),
        (4, -5),
        (5, "text"),
        (5, bytearray(b"x")),
        (5, b"x" * 513),
    ],
)
def test_a_wrong_field_makes_it_no_heartbeat(place: int, wrong: object) -> None:
    fields: list[Any] = list(GOOD)
    fields[place] = wrong
    assert Heartbeat.from_wire(fields) is None


def test_the_fullest_heartbeat_is_one() -> None:
    top = 2**63 - 1
    fullest = (top, top, b"x" * 64, 255, top, b"x" * 512)
    assert Heartbeat.from_wire(fullest) == Heartbeat(*fullest)


def test_making_a_wrong_one_ourselves_is_an_error() -> None:
    with pytest.raises(ValueError, match="load"):
        Heartbeat(1, 1, load=256)


@given(ANYTHING)
def test_reading_never_raises(fields: object) -> None:
    read = Heartbeat.from_wire(fields)
    assert read is None or Heartbeat.from_wire(read.to_wire()) == read
