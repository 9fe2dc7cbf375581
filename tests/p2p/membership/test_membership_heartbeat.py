"""The heartbeat and its plain form."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.membership import Heartbeat

GOOD = (1, 2, b"adverts", 5, b"body", b"heads")
WIRE = (1, 2, b"adverts", 0, 5, b"body", b"heads")
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=8) | st.tuples(inner),
    max_leaves=12,
)


def test_a_heartbeat_survives_its_plain_form() -> None:
    heartbeat = Heartbeat(*GOOD)
    assert heartbeat.to_wire() == WIRE
    assert Heartbeat.from_wire(list(WIRE)) == heartbeat


def test_fields_of_a_later_version_are_ignored() -> None:
    assert Heartbeat.from_wire([*WIRE, "new", {"x": 1}]) == Heartbeat(*GOOD)


@pytest.mark.parametrize("load", [0, 7, 255, 256, -1, None, b"later"])
def test_where_the_load_was_anything_may_stand(load: object) -> None:
    assert Heartbeat.from_wire([*WIRE[:3], load, *WIRE[4:]]) == Heartbeat(*GOOD)


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
        (4, -5),
        (5, "text"),
        (5, bytearray(b"x")),
        (5, b"x" * 513),
    ],
)
def test_a_wrong_field_makes_it_no_heartbeat(place: int, wrong: object) -> None:
    fields: list[Any] = list(WIRE)
    fields[place] = wrong
    assert Heartbeat.from_wire(fields) is None


def test_the_fullest_heartbeat_is_one() -> None:
    top = 2**63 - 1
    fullest = (top, top, b"x" * 64, top, b"x" * 512)
    assert Heartbeat.from_wire(Heartbeat(*fullest).to_wire()) == Heartbeat(*fullest)


def test_making_a_wrong_one_ourselves_is_an_error() -> None:
    with pytest.raises(ValueError, match="63 bits"):
        Heartbeat(1, -1)


@given(ANYTHING)
def test_reading_never_raises(fields: object) -> None:
    read = Heartbeat.from_wire(fields)
    assert read is None or Heartbeat.from_wire(read.to_wire()) == read
