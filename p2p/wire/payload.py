"""Values in payloads: plain data as msgpack, bounded in both directions.

None, bool, int, float, str, bytes, list and dict travel (keys are text, numbers or bytes); a tuple
arrives as a list. What cannot travel is an error that names the place, at the side that tried; the
search for it is made only after the encoder has refused, so a good value pays nothing for it.

What this module does not know: models, annotations, envelopes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types

MAX_DEPTH = 64
MAX_ITEMS = 1_000_000
MIN_INT, MAX_INT = -(2**63), 2**64 - 1

_REFUSED = (
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
    msgpack.UnpackException,
)


class PayloadError(ValueError):
    """A value that cannot travel, or bytes that hold none."""


def encode_payload(value: object, plain: Callable[[object], object] | None = None) -> bytes:
    """Return the value as bytes.

    Args:
        plain: turns an object of another type into one that travels, or raises `TypeError`.

    Raises:
        PayloadError: it holds something that cannot travel; the text says what and where.
    """
    try:
        packed: bytes = msgpack.packb(value, default=plain, use_bin_type=True)
    except _REFUSED as error:
        found = _in_words(error) if plain else _why(value, "value", 0)
        raise PayloadError(found or f"value cannot travel: {error}") from None
    return packed


def decode_payload(data: bytes) -> Any:
    """Return the value in these bytes.

    Raises:
        PayloadError: they are not one value of the kind that `encode_payload` makes.
    """
    limit = max(len(data), 1)
    try:
        return msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=False,
            max_str_len=limit,
            max_bin_len=limit,
            max_array_len=min(limit, MAX_ITEMS),
            max_map_len=min(limit, MAX_ITEMS),
            max_ext_len=0,
        )
    except _REFUSED as error:
        is_key = isinstance(error, TypeError)  # an array or a map, where a map wants a key
        found = "a key of a map is no plain value" if is_key else type(error).__name__
        raise PayloadError(f"not a payload: {found}") from None


def _in_words(error: Exception) -> str | None:
    """Say why, where objects are turned plain on the way, so that no search finds the place."""
    if isinstance(error, OverflowError):
        return "an integer of more than 64 bits cannot travel; send it as text"
    return str(error) if isinstance(error, TypeError) else None


def _why(value: object, where: str, depth: int) -> str | None:
    """Find the first thing in `value` that cannot travel."""
    if depth > MAX_DEPTH:
        return f"{where} is nested deeper than {MAX_DEPTH} levels"
    if isinstance(value, str):
        surrogate = any("\ud800" <= c <= "\udfff" for c in value)
        return f"{where} holds a lone surrogate, which is not UTF-8" if surrogate else None
    if value is None or isinstance(value, (bool, bytes, float)):
        return None
    if isinstance(value, int):
        fits = MIN_INT <= value <= MAX_INT
        return None if fits else f"{where} is an integer of more than 64 bits; send it as text"
    if isinstance(value, (list, tuple)):
        inner = ((f"{where}[{n}]", item) for n, item in enumerate(value))
    elif isinstance(value, dict):
        for key in value:
            if not isinstance(key, (str, int, float, bytes)):
                return f"{where} has a key of type {type(key).__name__}"
        inner = ((f"{where}[{key!r}]", item) for key, item in value.items())
    else:
        kind = type(value).__name__
        return f"{where} is a {kind}, which cannot travel; send plain data or a pydantic model"
    for place, item in inner:
        found = _why(item, place, depth + 1)
        if found:
            return found
    return None
