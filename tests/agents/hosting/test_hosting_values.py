"""What travels, what it becomes, and what the refusal says."""

from __future__ import annotations

import contextlib
import enum
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from agents.hosting import as_type, from_bytes, to_bytes
from p2p import PayloadError


class Colour(enum.Enum):
    RED = "red"


class Order(BaseModel):
    item: str
    due: datetime


@dataclass
class Point:
    x: int
    inner: Order | None = None


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_data_arrives_as_it_left(value: Any) -> None:
    assert from_bytes(to_bytes(value)) == value


@given(st.binary(max_size=200))
def test_bytes_from_afar_are_a_value_or_a_payload_error(data: bytes) -> None:
    with contextlib.suppress(PayloadError):
        from_bytes(data)


def test_objects_of_programs_become_plain_data() -> None:
    due = datetime(2024, 2, 29, 12, tzinfo=UTC)
    number = uuid.UUID(int=7)
    value = {
        "order": Order(item="ink", due=due),
        "point": Point(1),
        "set": {"b", "a"},
        "tuple": (1, 2),
        "enum": Colour.RED,
        "path": Path("/a/b"),
        "uuid": number,
    }
    assert from_bytes(to_bytes(value)) == {
        "order": {"item": "ink", "due": "2024-02-29T12:00:00Z"},
        "point": {"x": 1, "inner": None},
        "set": ["a", "b"],
        "tuple": [1, 2],
        "enum": "red",
        "path": "/a/b",
        "uuid": str(number),
    }


def test_what_arrives_becomes_the_type_that_is_asked_for() -> None:
    due = datetime(2024, 2, 29, 12, tzinfo=UTC)
    sent = Point(1, Order(item="ink", due=due))
    assert as_type(from_bytes(to_bytes(sent)), Point) == sent
    assert as_type([1, 2], tuple[int, int]) == (1, 2)


def test_a_value_that_does_not_fit_the_type_says_where() -> None:
    with pytest.raises(PayloadError, match=r"0\.item: field required"):
        as_type([{"due": 0}], list[Order])


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (object(), "object"),
        ({"a": [print]}, "builtin_function_or_method"),
        (2**64, "64 bits"),
        (-(2**63) - 1, "64 bits"),
        ("\ud800", "travel"),
    ],
)
def test_what_cannot_travel_is_refused_in_words(value: Any, word: str) -> None:
    with pytest.raises(PayloadError, match=word):
        to_bytes(value)


def test_a_value_inside_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(PayloadError):
        to_bytes(loop)
