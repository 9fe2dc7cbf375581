"""Whether arguments fit the annotations of a handler, by as little of pydantic as will do.

Annotations of plain data (`str`, `list[int]`, `float | None` ...) are told to pydantic's core in
its own words, so what fits and what is said of the rest is what pydantic says. Such annotations
cannot be wrong, so there is nothing to find out before the first call: a node whose handlers take
plain data does not hold the core (3 MB) before, and the package (7 MB more) never. Models, dates,
sets and all else are pydantic's own, from the start: an annotation that it cannot take is refused
when the handler is declared.

What this module does not know: how arguments are laid out in a call, who calls.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Union, get_args, get_origin

from agents.errors import BadAgent

if TYPE_CHECKING:
    from pydantic import BaseModel

Shape = dict[str, Any]  # of pydantic_core.core_schema
Fit = Callable[[dict[str, Any]], dict[str, Any]]

_SHAPES: Final[Mapping[Any, Shape]] = {
    inspect.Parameter.empty: {"type": "any"},
    Any: {"type": "any"},
    str: {"type": "str"},
    int: {"type": "int"},
    float: {"type": "float"},
    bool: {"type": "bool"},
    bytes: {"type": "bytes"},
    list: {"type": "list", "items_schema": {"type": "any"}},
    dict: {"type": "dict"},
    type(None): {"type": "none"},
}
_DEFAULTS: Final = (str, int, float, bool, bytes, list, dict, type(None))


class Arguments:
    """What a handler takes.

    Raises:
        BadAgent: an argument's type cannot be validated.
    """

    def __init__(self, capability: str, signature: inspect.Signature) -> None:
        self._fields = _plain_fields(signature)
        self._fit: Fit | None = None
        if self._fields is None:
            self._fit = _fit_of_model(capability, signature)

    def fit(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return them as the handler wants them, with defaults.

        Raises:
            ValueError: they do not fit; `values.explain` says what does not.
        """
        if self._fit is None:
            assert self._fields is not None, "else there is a model"
            self._fit = _fit_of_fields(self._fields)
        return self._fit(given)


def shape_of(annotation: object) -> Shape | None:
    """Return what the core calls this annotation, or None where that is for pydantic to say."""
    try:
        known = _SHAPES.get(annotation)
    except TypeError:  # not even hashable
        return None
    if known is not None:
        return known
    origin, inner = get_origin(annotation), [shape_of(each) for each in get_args(annotation)]
    if not inner or any(shape is None for shape in inner):
        return None
    if origin is list:
        return {"type": "list", "items_schema": inner[0]}
    if origin is dict:
        return {"type": "dict", "keys_schema": inner[0], "values_schema": inner[1]}
    if origin in (Union, types.UnionType) and len(inner) == 2 and _SHAPES[type(None)] in inner:
        wanted = inner[0] if inner[1] == _SHAPES[type(None)] else inner[1]
        return {"type": "nullable", "schema": wanted}
    return None


def _plain_fields(signature: inspect.Signature) -> dict[str, Shape] | None:
    fields: dict[str, Shape] = {}
    for name, parameter in signature.parameters.items():
        shape, default = shape_of(parameter.annotation), parameter.default
        if shape is None:
            return None
        has_default = default is not inspect.Parameter.empty
        if has_default and type(default) not in _DEFAULTS:
            return None
        if has_default:
            is_shared = isinstance(default, (list, dict))  # each call gets a copy of its own
            shape = {"type": "default", "schema": shape, "default": default}
            shape["copy_default"] = is_shared
        fields[name] = {"type": "typed-dict-field", "schema": shape, "required": not has_default}
    return fields


def _fit_of_fields(fields: dict[str, Shape]) -> Fit:
    from pydantic_core import SchemaValidator  # see the module's docstring

    schema: Any = {"type": "typed-dict", "fields": fields, "extra_behavior": "forbid"}
    fit: Fit = SchemaValidator(schema).validate_python
    return fit


def _fit_of_model(capability: str, signature: inspect.Signature) -> Fit:
    from pydantic import ConfigDict, Field, create_model  # see the module's docstring

    # Fields carry a prefix, because a parameter may be called `copy` or `json`, which are
    # methods of every model; the alias is the parameter's own name, and so what errors show.
    fields: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        empty = parameter.annotation is inspect.Parameter.empty
        annotation = Any if empty else parameter.annotation
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[f"p_{name}"] = (annotation, Field(default, alias=name))
    try:
        model = create_model(
            f"Arguments of {capability}",
            __config__=ConfigDict(extra="forbid", protected_namespaces=()),
            **fields,
        )
    except Exception as error:  # noqa: BLE001 - pydantic raises many kinds for a bad annotation
        raise BadAgent(f"{capability}: an argument's type cannot be validated: {error}") from None
    validate: Callable[[dict[str, Any]], BaseModel] = model.__pydantic_validator__.validate_python
    names = tuple((name, f"p_{name}") for name in signature.parameters)

    def fit(given: dict[str, Any]) -> dict[str, Any]:
        found = validate(given).__dict__
        return {name: found[field] for name, field in names}

    return fit
