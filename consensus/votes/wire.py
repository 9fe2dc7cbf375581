"""Bytes in exactly one form: numbers of fixed size, everything else behind its length.

    u8 u16 u32 u64   big-endian, unsigned; u64 up to 2**53 - 1, which every language holds exactly
    raw(n)           n bytes
    blob, text       u32 length, then the bytes; text is UTF-8 without surrogates

There is no choice anywhere (no maps, no optional fields, no short and long numbers), so a value has
one form only. Every decoder nevertheless encodes what it read and compares.

What this module does not know: which fields there are. It raises `Malformed` only, which each
decoder turns into its own refusal.
"""

from __future__ import annotations

import hashlib
from typing import Final

DIGEST_BYTES: Final = 32
MAX_NUMBER: Final = 2**53 - 1


class Malformed(ValueError):
    """These bytes are not the one form of a value. The text says what is wrong."""


def digest(data: bytes) -> bytes:
    """BLAKE2b-256, 32 bytes."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


class Writer:
    """Fields behind each other. Values out of range are bugs of the caller."""

    def __init__(self, magic: bytes) -> None:
        assert len(magic) == 4, magic
        self._parts = [magic]

    def number(self, value: int, size_bytes: int) -> Writer:
        assert 0 <= value <= MAX_NUMBER, value
        self._parts.append(value.to_bytes(size_bytes, "big"))
        return self

    def raw(self, data: bytes, size_bytes: int) -> Writer:
        assert len(data) == size_bytes, f"{len(data)} bytes instead of {size_bytes}"
        self._parts.append(data)
        return self

    def blob(self, data: bytes) -> Writer:
        return self.number(len(data), 4).raw(data, len(data))

    def text(self, text: str) -> Writer:
        return self.blob(text.encode())

    def done(self) -> bytes:
        return b"".join(self._parts)


class Reader:
    """Takes fields from the front, each with its bounds.

    Raises, in every method:
        Malformed.
    """

    def __init__(self, data: bytes, magic: bytes, limit_bytes: int, what: str) -> None:
        if len(data) > limit_bytes:
            raise Malformed(f"{len(data)} bytes, and the limit is {limit_bytes}")
        self._data = data
        self._at = 0
        if self._take(4) != magic:
            raise Malformed(f"it does not begin like {what}")

    def _take(self, size_bytes: int) -> bytes:
        piece = self._data[self._at : self._at + size_bytes]
        if len(piece) != size_bytes:
            raise Malformed(f"it ends within {size_bytes} bytes that begin at {self._at}")
        self._at += size_bytes
        return piece

    def number(self, what: str, size_bytes: int, lowest: int = 0, highest: int = MAX_NUMBER) -> int:
        value = int.from_bytes(self._take(size_bytes), "big")
        if not lowest <= value <= highest:
            raise Malformed(f"{what} is {value}, not from {lowest} to {highest}")
        return value

    def flag(self, what: str) -> bool:
        return bool(self.number(what, 1, 0, 1))

    def raw(self, size_bytes: int) -> bytes:
        return self._take(size_bytes)

    def blob(self, what: str, limit_bytes: int) -> bytes:
        return self._take(self.number(f"the length of {what}", 4, 0, limit_bytes))

    def text(self, what: str, limit_bytes: int) -> str:
        try:
            return self.blob(what, limit_bytes).decode()
        except UnicodeDecodeError as error:
            raise Malformed(f"{what} is not UTF-8") from error

    def finish(self) -> None:
        if self._at != len(self._data):
            raise Malformed(f"{len(self._data) - self._at} bytes after the end")


def text_problem(text: str, limit_bytes: int) -> str | None:
    """What keeps a text from being encoded, or None."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "it holds half a surrogate pair, which has no UTF-8"
    return f"{size} bytes of UTF-8, and the limit is {limit_bytes}" if size > limit_bytes else None
