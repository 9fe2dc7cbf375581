"""From a program's objects to plain data and back, by pydantic.

Models, dataclasses, enums, dates, UUIDs, paths and sets become plain data where they leave;
where they arrive, the annotations of the one who wants them say what they become.

pydantic is loaded by the first value that needs it, because a node may never see one and it is
10 MB (`agents.hosting.arguments`).

What this module does not know: who sends, the wire.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, TypeVar

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
    from pydantic import TypeAdapter, ValidationError

    try:
        adapted: T = TypeAdapter(wanted).validate_python(value)
    except ValidationError as error:
        raise PayloadError(explain(error)) from None
    return adapted


def explain(error: ValueError) -> str:
    """Say in one line what does not fit and where; anything but pydantic's error for itself."""
    from pydantic_core import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    parts = []
    for item in error.errors(include_url=False)[:5]:
        place = ".".join(str(p) for p in item["loc"]) or "value"
        parts.append(f"{place}: {item['msg'][0].lower()}{item['msg'][1:]}")
    more = error.error_count() - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")


def is_model(kind: type) -> bool:
    """Whether it is a class of pydantic's; where nobody has loaded pydantic there are none."""
    loaded = sys.modules.get("pydantic.main")
    base = getattr(loaded, "BaseModel", None)
    return base is not None and issubclass(kind, base)


def _plain(value: Any) -> object:
    if is_model(type(value)):
        return value.model_dump()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        return to_jsonable_python(value)
    except PydanticSerializationError:
        raise TypeError(
            f"a value of type {type(value).__name__} cannot travel; "
            "send plain data or a pydantic model"
        ) from None
