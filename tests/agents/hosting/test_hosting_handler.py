"""What a handler's signature allows, and what its arguments become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from agents.errors import BadAgent, InvalidArguments
from agents.hosting import Context, Handler
from keys import Permission


class Order(BaseModel):
    item: str
    count: int = 1


@dataclass
class Point:
    x: float
    y: float


def handler(function: Any) -> Handler:
    return Handler("lab.it", function, permission=Permission.CALL, limit=1)


def add(a: float, b: float = 1.5) -> float:
    """Add two numbers.

    The rest is not shown.
    """
    return a + b


def test_arguments_bind_by_position_by_name_and_by_default() -> None:
    bound = handler(add)
    assert bound.bind([1, 2], {}) == {"a": 1.0, "b": 2.0}
    assert bound.bind([], {"b": 2, "a": 1}) == {"a": 1.0, "b": 2.0}
    assert bound.bind([1], {}) == {"a": 1.0, "b": 1.5}


def test_one_mapping_fills_the_parameters_by_name() -> None:
    assert handler(add).bind([{"a": 1}], {}) == {"a": 1.0, "b": 1.5}


def test_one_mapping_stays_whole_where_the_only_parameter_takes_it() -> None:
    def of_mapping(payload: Mapping[str, int]) -> None: ...
    def of_anything(payload: Any) -> None: ...
    def of_unknown(payload) -> None: ...  # type: ignore[no-untyped-def]
    def of_objects(payload: object) -> None: ...
    def of_one_or_none(payload: dict[str, int] | None) -> None: ...
    def of_this_or_that(payload: str | Mapping[str, int]) -> None: ...
    def of_annotated(payload: Annotated[dict[str, int], "counts"]) -> None: ...
    def of_model(order: Order) -> None: ...
    def of_model_or_none(order: Order | None) -> None: ...
    def of_point(point: Point) -> None: ...

    for function in (
        *(of_mapping, of_anything, of_unknown, of_objects),
        *(of_one_or_none, of_this_or_that, of_annotated),
    ):
        assert handler(function).bind([{"a": 1}], {}) == {"payload": {"a": 1}}
    for function in (of_model, of_model_or_none):
        assert handler(function).bind([{"item": "ink"}], {}) == {"order": Order(item="ink")}
    assert handler(of_point).bind([{"x": 1, "y": 2}], {}) == {"point": Point(1, 2)}


def test_annotations_decide_what_plain_data_becomes() -> None:
    def plan(day: date, tags: set[str], order: Order) -> None: ...

    bound = handler(plan).bind(["2024-02-29", ["b", "a"], {"item": "ink", "count": "3"}], {})
    assert bound == {
        "day": date(2024, 2, 29),
        "tags": {"a", "b"},
        "order": Order(item="ink", count=3),
    }


def test_parameters_may_be_called_like_methods_of_models() -> None:
    def odd(json: str, copy: int, model_config: int = 0, self_: int = 0) -> None: ...

    bound = handler(odd).bind(["x", 1], {})
    assert bound == {"json": "x", "copy": 1, "model_config": 0, "self_": 0}


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ([], {}, ["missing a required argument", "'a'"]),
        ([1, 2, 3], {}, ["too many"]),
        ([1], {"c": 2}, ["'c'"]),
        ([1], {"a": 2}, ["multiple values", "'a'"]),
        (["one", "two"], {}, ["a: ", "b: ", "number"]),
        ([{"a": 1, "c": 1}], {}, ["'c'"]),
        ([None], {}, ["a: "]),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_the_signature(
    args: list[Any], kwargs: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(InvalidArguments) as caught:
        handler(add).bind(args, kwargs)
    for word in ["lab.it(a: float, b: float = 1.5)", *words]:
        assert word in str(caught.value)
    assert caught.value.definite


def test_the_context_is_no_argument() -> None:
    def seen(a: int, context: Context) -> None: ...

    bound = handler(seen)
    assert bound.usage() == "lab.it(a: int)"
    assert bound.bind([1], {}) == {"a": 1}
    with pytest.raises(InvalidArguments):
        bound.bind([1], {"context": {}})


def test_the_summary_is_the_first_line_of_the_docstring() -> None:
    assert handler(add).summary == "Add two numbers."
    assert handler(lambda: None).summary == ""


def test_signatures_that_callers_cannot_be_told_of_are_refused() -> None:
    def many(*numbers: int) -> None: ...
    def loose(**options: int) -> None: ...
    def nameless(a: int, /) -> None: ...
    def unknown(a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
    def opaque(a: Handler) -> None: ...

    for function, word in (
        (many, "numbers"),
        (loose, "options"),
        (nameless, "a: int"),
        (unknown, "Nowhere"),
        (opaque, "Handler"),
    ):
        with pytest.raises(BadAgent, match=r"^lab\.it") as caught:
            handler(function)
        assert word in str(caught.value)
