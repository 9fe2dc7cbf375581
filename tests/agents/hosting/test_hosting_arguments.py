"""Plain annotations: told to pydantic's core by us, they mean what pydantic says that they mean."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import BaseModel

from agents.hosting import arguments
from agents.hosting.arguments import Arguments, shape_of
from agents.hosting.values import explain

SCALARS = (str, int, float, bool, bytes, Any, type(None), list, dict, inspect.Parameter.empty)

annotations = some.recursive(
    some.sampled_from(SCALARS[:-1]),
    lambda inner: some.one_of(
        inner.map(lambda each: list[each]),
        some.tuples(some.sampled_from((str, int)), inner).map(lambda pair: dict[pair]),
        inner.filter(lambda each: each is not Any).map(lambda each: each | None),
    ),
    max_leaves=4,
)
values = some.recursive(
    some.one_of(
        *(some.none(), some.booleans(), some.integers(), some.floats(), some.text(), some.binary()),
        some.sampled_from(["1", "-7", "1.5", "true", "no", "nan", 2.0, 10**30, b"x", "\ud800"]),
    ),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=6,
)


def signature(annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Signature:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature(
        [inspect.Parameter("it", kind, annotation=annotation, default=default)]
    )


def outcome(fit: arguments.Fit, value: Any) -> str:
    try:
        return repr(fit({"it": value}))  # with NaN, which is not itself, and 1, which is not True
    except ValueError as error:
        return explain(error)


@given(annotations, values)
def test_what_fits_and_what_is_said_of_the_rest_is_pydantics(annotation: Any, value: Any) -> None:
    ours, theirs = signature(annotation), arguments._fit_of_model("lab.it", signature(annotation))
    assert shape_of(annotation) is not None
    assert outcome(Arguments("lab.it", ours).fit, value) == outcome(theirs, value)


@given(values)
def test_a_default_is_what_it_is_in_pydantic(value: Any) -> None:
    for default in (None, 3, "x", b"", [1], {"a": 1}):
        asked = signature(int, default)
        ours, theirs = Arguments("lab.it", asked), arguments._fit_of_model("lab.it", asked)
        assert outcome(ours.fit, value) == outcome(theirs, value)
        assert ours.fit({}) == theirs({}) == {"it": default}


def test_a_default_that_can_change_is_new_for_each_call() -> None:
    bound = Arguments("lab.it", signature(list[int], []))
    bound.fit({})["it"].append(1)
    assert bound.fit({}) == {"it": []}


@pytest.mark.parametrize(
    "annotation",
    [date, Path, set[int], tuple[int, ...], int | str, Literal["a"], Mapping[str, int], BaseModel],
)
def test_what_is_not_plain_is_left_to_pydantic(annotation: Any) -> None:
    assert shape_of(annotation) is None
    assert shape_of(list[annotation]) is None


def test_a_default_that_is_not_plain_is_left_to_pydantic() -> None:
    assert Arguments("lab.it", signature(Any, date(2024, 2, 29))).fit({}) == {
        "it": date(2024, 2, 29)
    }
