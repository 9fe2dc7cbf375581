"""What both halves need: the canonical form, signatures, digests, and how to say no.

What this module does not know: which fields anything has.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types
import nacl.bindings
import nacl.exceptions

MAX = 2**53 - 1


class No(Exception):
    """It does not hold; the word says where it was noticed."""


def need(holds: object, word: str) -> None:
    if not holds:
        raise No(word)


def canonical(data: bytes, limit: int) -> Any:
    need(len(data) <= limit, "too long")
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=False)
        again = _packed(value, 8)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise No("not msgpack of ours") from None
    need(again == data, "not canonical")
    return value


def _packed(value: Any, levels: int) -> bytes:
    need(levels and type(value) in (int, str, bytes, list, dict), "no such value")
    if type(value) is list or type(value) is dict:
        need(len(value) <= 256, "too many items")
    if type(value) is list:
        head: bytes = msgpack.Packer().pack_array_header(len(value))
        return head + b"".join(_packed(each, levels - 1) for each in value)
    if type(value) is dict:
        need(all(type(key) in (int, str) for key in value), "no such key")
        pairs = sorted((_packed(k, levels), _packed(v, levels - 1)) for k, v in value.items())
        head = msgpack.Packer().pack_map_header(len(value))
        return head + b"".join(key + each for key, each in pairs)
    packed: bytes = msgpack.packb(value)
    return packed


def signed(key: bytes, domain: str, body: bytes, signature: bytes) -> None:
    message = signature + b"conclave/" + domain.encode() + b"/v1\0" + body
    try:
        nacl.bindings.crypto_sign_open(message, key)
    except nacl.exceptions.CryptoError:
        raise No(f"signature of a {domain}") from None


def digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def id_of(digest: bytes) -> str:
    return base64.b32encode(digest).decode().strip("=").lower()


def within(inner: str, outer: str) -> bool:
    return outer in ("*", inner) or inner.startswith(outer + ".")


def is_int(value: Any, lowest: int = 0, highest: int = MAX) -> bool:
    return type(value) is int and lowest <= value <= highest


def is_bin(value: Any, length: int) -> bool:
    return type(value) is bytes and len(value) == length


def is_text(value: Any, pattern: str) -> bool:
    return type(value) is str and re.fullmatch(pattern, value) is not None
