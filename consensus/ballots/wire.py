"""The one byte form of every signed object: fixed order, fixed widths, lengths before contents.

An integer is big-endian of the width that its field has; bytes and text stand behind their length
as u32; text is strict UTF-8. No field is optional and nothing may follow the last one, so a value
has exactly one form by construction and nothing needs to be encoded again to find out.

What this module does not know: which fields an object has, keys, signatures. It reads no more than
it was given and raises `Malformed` only.
"""

from __future__ import annotations

import struct
from typing import Final

from consensus.ballots.errors import Malformed

_U8: Final = struct.Struct(">B")
_U32: Final = struct.Struct(">I")
_U64: Final = struct.Struct(">Q")
MAX_INTEGER: Final = 2**53 - 1  # what every language's numbers hold exactly


class Writer:
    """Fields, one behind the other. What does not fit its field is local misuse and raises."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def u8(self, value: int) -> Writer:
        self._parts.append(_U8.pack(value))
        return self

    def u32(self, value: int) -> Writer:
        self._parts.append(_U32.pack(value))
        return self

    def u64(self, value: int) -> Writer:
        assert value <= MAX_INTEGER, value
        self._parts.append(_U64.pack(value))
        return self

    def fixed(self, value: bytes, length: int) -> Writer:
        assert len(value) == length, (len(value), length)
        self._parts.append(value)
        return self

    def blob(self, value: bytes) -> Writer:
        self._parts += (_U32.pack(len(value)), value)
        return self

    def text(self, value: str) -> Writer:
        return self.blob(value.encode("utf-8"))

    def take(self) -> bytes:
        return b"".join(self._parts)


class Reader:
    """Reads what `Writer` wrote; every method raises `Malformed` where that is impossible."""

    def __init__(self, what: str, data: bytes, limit_bytes: int) -> None:
        self._what = what
        if len(data) > limit_bytes:
            raise self.fault(f"{len(data):,} bytes, and the limit is {limit_bytes:,}")
        self._data = data
        self._at = 0

    def fault(self, why: str) -> Malformed:
        return Malformed(self._what, why)

    def fixed(self, length: int) -> bytes:
        if len(self._data) - self._at < length:
            raise self.fault("it ends too early")
        self._at += length
        return self._data[self._at - length : self._at]

    def u8(self, highest: int = 255) -> int:
        return self._bounded(_U8.unpack(self.fixed(1))[0], highest)

    def u32(self, highest: int = 2**32 - 1) -> int:
        return self._bounded(_U32.unpack(self.fixed(4))[0], highest)

    def u64(self) -> int:
        return self._bounded(_U64.unpack(self.fixed(8))[0], MAX_INTEGER)

    def blob(self, limit_bytes: int) -> bytes:
        length = self.u32()
        if length > limit_bytes:
            raise self.fault(f"a field of {length:,} bytes, and its limit is {limit_bytes:,}")
        return self.fixed(length)

    def text(self, limit_bytes: int) -> str:
        try:
            return self.blob(limit_bytes).decode("utf-8")
        except UnicodeDecodeError:
            raise self.fault("text that is not UTF-8") from None

    def magic(self, expected: bytes) -> None:
        if self.fixed(len(expected)) != expected:
            raise self.fault("it begins like something else, or like another version")

    def finish(self) -> None:
        if self._at != len(self._data):
            raise self.fault("bytes follow its end")

    def _bounded(self, value: int, highest: int) -> int:
        if value > highest:
            raise self.fault(f"{value} where at most {highest} is possible")
        return value
