"""From a program's objects to plain data and back, by pydantic.

Models, dataclasses, enums, dates, UUIDs, paths and sets become plain data where they leave;
where they arrive, the annotations of the one who wants them say what they become.

What this module does not know: who sends, the wire.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from p2p import PayloadError, decode_payload, encode_payload

T = TypeVar("T")


def to_bytes(value: object) -> bytes:
    """Return any value of a program as payload bytes.

    Raises:
        PayloadError: it holds something that has no plain form.
    """
    return encode_payload(value, _plain)


def from_bytes(data: bytes) -> Any:
    """Return the plain data in a payload.

    Raises:
        PayloadError: the bytes hold none.
    """
    return decode_payload(data)


def as_type(value: object, wanted: type[T] | Any) -> T:
    """Return plain data as the type that the caller wants.

    Raises:
        PayloadError: it does not fit.
    """
    try:
        adapted: T = TypeAdapter(wanted).validate_python(value)
    except ValidationError as error:
        raise PayloadError(explain(error)) from None
    return adapted


def explain(error: ValidationError) -> str:
    """Say in one line what does not fit and where."""
    parts = []
    for item in error.errors(include_url=False)[:5]:
        place = ".".join(str(p) for p in item["loc"]) or "value"
        parts.append(f"{place}: {item['msg'][0].lower()}{item['msg'][1:]}")
    more = error.error_count() - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError:
        raise TypeError(
            f"a value of type {type(value).__name__} cannot travel; "
            "send plain data or a pydantic model"
        ) from None
