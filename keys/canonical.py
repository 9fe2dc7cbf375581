"""One byte form for each value: msgpack that re-encodes to exactly itself.

msgpack alone lets one value travel in many forms (duplicate keys, long integers, any key order),
and a signed thing with two forms can be revoked in one and shown in the other. So whatever is
decoded here must encode back to the received bytes, with map keys in the order of their own
encoding. `Fields` then reads a map by integer keys, each with its type and bounds.

What this module does not know: which fields an object has, keys, signatures, time. It raises
`NotCanonical` only, which each object turns into its own refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types

MAX_INTEGER: Final = 2**53 - 1  # what every language's numbers hold exactly
MAX_ITEMS: Final = 256
MAX_DEPTH: Final = 8


class NotCanonical(ValueError):
    """These bytes are not the one form of a value that we know. The text says what is wrong."""


def encode(value: object) -> bytes:
    """The one byte form. Only int, str, bytes, list and dict are values; local misuse raises."""
    packed: bytes = msgpack.packb(_ordered(value, MAX_DEPTH), use_bin_type=True)
    return packed


def decode(data: bytes, limit_bytes: int, *, max_items: int = MAX_ITEMS) -> object:
    """The value of `data`, if `data` is its one byte form.

    Raises:
        NotCanonical: anything else, whatever it is. Never another exception.
    """
    if len(data) > limit_bytes:
        raise NotCanonical(f"{len(data):,} bytes, and the limit is {limit_bytes:,}")
    try:
        value = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=False,
            max_array_len=max_items,
            max_map_len=MAX_ITEMS,
            max_ext_len=0,
        )
        again = encode(value)
    except NotCanonical:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise NotCanonical("not msgpack within our limits") from error
    if again != data:
        raise NotCanonical("not in canonical form")
    return value


def value_of(data: bytes) -> object:
    """The value of bytes that `decode` has taken before: they need no second look."""
    return msgpack.unpackb(data, raw=False, strict_map_key=False)


def _ordered(value: object, depth: int) -> object:
    if depth == 0:
        raise NotCanonical("nested too deeply")
    kind = type(value)
    if kind is str or kind is bytes:
        return value
    if type(value) is int:
        if not -(2**63) <= value < 2**64:
            raise NotCanonical("an integer is beyond 64 bits")
        return value
    if isinstance(value, list | tuple):
        return [_ordered(item, depth - 1) for item in value]
    if isinstance(value, dict):
        if not all(type(key) is int or type(key) is str for key in value):
            raise NotCanonical("a map key is neither an integer nor text")
        keys = sorted(value, key=_packed_key)
        return {key: _ordered(value[key], depth - 1) for key in keys}
    raise NotCanonical(f"a {kind.__name__} has no place here")


@lru_cache(maxsize=1024)
def _packed_key(key: int | str) -> bytes:
    """Map keys are the same few in all objects of a kind."""
    return bytes(msgpack.packb(key, use_bin_type=True))


class Fields:
    """A map with integer keys, read field by field; `finish` refuses what nobody asked for."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise NotCanonical("not a map")
        self._left: dict[object, object] = dict(value)

    def _take(self, key: int) -> object:
        if key not in self._left:
            raise NotCanonical(f"field {key} is missing")
        return self._left.pop(key)

    def integer(self, key: int, lowest: int = 0, highest: int = MAX_INTEGER) -> int:
        value = self._take(key)
        if type(value) is not int or not lowest <= value <= highest:
            raise NotCanonical(f"field {key} is not an integer from {lowest} to {highest}")
        return value

    def binary(self, key: int, length: int) -> bytes:
        value = self._take(key)
        if type(value) is not bytes or len(value) != length:
            raise NotCanonical(f"field {key} is not {length} bytes")
        return value

    def blob(self, key: int, limit_bytes: int) -> bytes:
        value = self._take(key)
        if type(value) is not bytes or len(value) > limit_bytes:
            raise NotCanonical(f"field {key} is not at most {limit_bytes} bytes")
        return value

    def text(self, key: int, limit_chars: int) -> str:
        value = self._take(key)
        if type(value) is not str or len(value) > limit_chars:
            raise NotCanonical(f"field {key} is not text of at most {limit_chars} characters")
        return value

    def texts(self, key: int, limit: int, limit_chars: int) -> tuple[str, ...]:
        return tuple(
            _text(item, key, limit_chars) for item in _bounded(self._take(key), key, limit)
        )

    def binaries(self, key: int, limit: int, length: int) -> tuple[bytes, ...]:
        items = _bounded(self._take(key), key, limit)
        if not all(type(item) is bytes and len(item) == length for item in items):
            raise NotCanonical(f"field {key} is not a list of {length} bytes each")
        return tuple(item for item in items if isinstance(item, bytes))

    def items(self, key: int, limit: int) -> list[object]:
        """A list, its items still to be checked."""
        return _bounded(self._take(key), key, limit)

    def blobs(self, key: int, limit: int, limit_bytes: int) -> tuple[bytes, ...]:
        items = _bounded(self._take(key), key, limit)
        if not all(type(item) is bytes and len(item) <= limit_bytes for item in items):
            raise NotCanonical(f"field {key} is not a list of at most {limit_bytes} bytes each")
        return tuple(item for item in items if isinstance(item, bytes))

    def table(self, key: int, limit: int) -> Mapping[str, object]:
        """A map with text keys, its values still to be checked."""
        value = self._take(key)
        if not isinstance(value, dict) or len(value) > limit:
            raise NotCanonical(f"field {key} is not a map of at most {limit} entries")
        return {_text(name, key, 64): item for name, item in value.items()}

    def finish(self) -> None:
        if self._left:
            raise NotCanonical(f"unknown field {next(iter(self._left))!r}"[:80])


def pair(value: object, limit_bytes: int, *, longest: int = 64) -> tuple[bytes, bytes]:
    """`[body, signature]`, the outer form of everything that is signed.

    What a root may have signed has a signature of 64 bytes or more (`keys.rootquorum`), up to
    `longest`.
    """
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(type(item) is bytes for item in value)
        or len(value[0]) > limit_bytes
        or not 64 <= len(value[1]) <= longest
    ):
        raise NotCanonical(f"not a body and a signature of 64 to {longest} bytes")
    return value[0], value[1]


def _bounded(value: object, key: int, limit: int) -> list[object]:
    if not isinstance(value, list) or len(value) > limit:
        raise NotCanonical(f"field {key} is not a list of at most {limit}")
    return value


def _text(value: object, key: int, limit_chars: int) -> str:
    if type(value) is not str or len(value) > limit_chars:
        raise NotCanonical(f"field {key} holds something other than short text")
    return value
