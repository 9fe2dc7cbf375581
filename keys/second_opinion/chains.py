"""Certificate chains and transport records, verified again from `keys/FORMAT.md` alone.

What this module does not know: how anything is made, revocations, the modules that a node runs.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types
import nacl.bindings
import nacl.exceptions

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_SPACE = r"\*|(?=.{1,63}\Z)[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*"
_HOST = r"[A-Za-z0-9:%_.-]{1,253}"
_DAY_MS, _SKEW_MS, _BACKDATE_MS, _MAX = 86_400_000, 120_000, 300_000, 2**53 - 1
_LIVES_MS = {1: 3653 * _DAY_MS, 2: 366 * _DAY_MS, 3: 90 * _DAY_MS}


class No(Exception):
    """It does not hold; the word says where it was noticed."""


def need(holds: object, word: str) -> None:
    if not holds:
        raise No(word)


def chain(data: bytes, network: str, now_ms: int, record: bytes | None = None) -> None:
    """Raises `No` unless this chain makes its bearer a member of this network (id as text) now,
    and the record, if there is one, is the bearer's."""
    items = _canonical(data, 3 * 2051 + 1)
    need(type(items) is list and 2 <= len(items) <= 3, "length")
    certs = [_certificate(each) for each in items]
    root, leaf = certs[-1], certs[0]
    need(all(id_of(c[4]) == network and c[5] == root[5] and not c[16] for c in certs), "network")
    need(id_of(digest(root[6])) == network and root[2] == 1 and leaf[2] == 3, "ends")
    need(all(c[2] == 2 for c in certs[1:-1]) and len(certs) - 2 <= root[15], "path")
    for child, issuer in zip(certs, [*certs[1:], root], strict=True):
        need(child[11] == digest(issuer[6]), "issuer")
        signed(issuer[6], "certificate", child["body"], child["signature"])
        need(issuer[12] <= child[12] and child[13] <= issuer[13], "validity")
        need(child[13] - child[12] <= _LIVES_MS[child[2]] + _BACKDATE_MS, "lifetime")
        need(not (child[9] | child[14]) & ~issuer[14], "roles")
        need(all(any(_within(n, o) for o in issuer[10]) for n in child[10]), "namespaces")
        need(child[12] - _SKEW_MS <= now_ms <= child[13] + _SKEW_MS, "time")
    if record is not None:
        _record(record, leaf, now_ms)


def _certificate(raw: Any) -> dict[Any, Any]:
    c = _signed_map(raw, 17)
    need(_int(c[1], 1, 1) and _int(c[2], 1, 3) and _int(c[15], 0, 1), "kind")
    need(_bin(c[3], 16) and all(_bin(c[at], 32) for at in (4, 6, 7, 11)), "keys")
    need(_text(c[5], _NAME) and _text(c[8], _NAME) and c[7] == digest(c[6]), "names")
    need(_int(c[9], 0, 15) and _int(c[14], 0, 15) and _int(c[12]) and _int(c[13]), "numbers")
    need(c[12] < c[13] and not (c[14] or c[15] if c[2] == 3 else c[9]), "claims")
    need(type(c[10]) is list and len(c[10]) <= 16, "namespaces")
    need(all(_text(n, _SPACE) for n in c[10]) and c[10] == sorted(set(c[10])), "namespaces")
    for table in (c[16], c[17]):
        need(type(table) is dict and len(table) <= 8, "extensions")
        for name, value in table.items():
            need(_text(name, r"(?s).{0,64}") and type(value) is bytes and len(value) <= 512, "ext")
    return c


def _record(raw: bytes, leaf: dict[Any, Any], now_ms: int) -> None:
    r = _signed_map(raw, 9)
    need(_int(r[1], 1, 1) and _int(r[3], 1) and _int(r[7]) and _int(r[8]), "record numbers")
    need(_bin(r[4], 32) and r[2] == leaf[7] and r[9] == digest(leaf["body"]), "record owner")
    need(type(r[5]) is list and len(r[5]) <= 8 and all(_text(h, _HOST) for h in r[5]), "hosts")
    need(type(r[6]) is dict and len(r[6]) <= 8, "ports")
    need(all(_text(n, "[a-z]{1,16}") and _int(p, 1, 65_535) for n, p in r[6].items()), "ports")
    need({"door", "control", "data", "topics"} <= r[6].keys(), "ports")
    need(0 < r[8] - r[7] <= _DAY_MS, "record lifetime")
    need(r[7] - _SKEW_MS <= now_ms <= r[8] + _SKEW_MS, "record time")
    signed(leaf[6], "record", r["body"], r["signature"])


def _signed_map(raw: Any, fields: int) -> dict[Any, Any]:
    """Fields 1 to `fields` of a signed map, with its body and signature beside them."""
    need(type(raw) is bytes, "no bytes")
    outer = _canonical(raw, 2048)
    need(type(outer) is list and len(outer) == 2 and _bin(outer[1], 64), "no body and signature")
    need(type(outer[0]) is bytes, "no body")
    value = _canonical(outer[0], 2048)
    need(type(value) is dict and set(value) == set(range(1, fields + 1)), "fields")
    return {**value, "body": outer[0], "signature": outer[1]}


def _canonical(data: bytes, limit: int) -> Any:
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


def _within(inner: str, outer: str) -> bool:
    return outer in ("*", inner) or inner.startswith(outer + ".")


def _int(value: Any, lowest: int = 0, highest: int = _MAX) -> bool:
    return type(value) is int and lowest <= value <= highest


def _bin(value: Any, length: int) -> bool:
    return type(value) is bytes and len(value) == length


def _text(value: Any, pattern: str) -> bool:
    return type(value) is str and re.fullmatch(pattern, value) is not None
