"""Members' chains, verified a second time: from `keys/FORMAT.md` alone, and with all that it takes
in one file, so that a person can read it at a sitting.

What this module does not know: decisions of a quorum (`decisions`, which takes digests, ids and
signatures from here), several root keys, rotations, records (`extras`), revocations (`lists`).
"""

import base64
import hashlib
import re
from typing import Any

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types
import nacl.bindings as nacl
from nacl.exceptions import CryptoError

MAX, SKEW_MS, BACKDATE_MS, DAY_MS = 2**53 - 1, 120_000, 300_000, 86_400_000
LIVES_MS = {1: 3653 * DAY_MS, 2: 366 * DAY_MS, 3: 90 * DAY_MS}
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
SPACE = r"\*|(?=.{1,63}\Z)[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*"
CERTIFICATE = {1: (1, 1), 2: (1, 3), 3: 16, 4: 32, 5: NAME, 6: 32, 7: 32, 8: NAME, 9: (0, 15)}
CERTIFICATE |= {10: [16, SPACE], 11: 32, 12: (0, MAX), 13: (0, MAX), 14: (0, 15), 15: (0, 1)}
CERTIFICATE |= {16: {8: r"(?s).{0,64}"}, 17: {8: r"(?s).{0,64}"}}


class No(Exception):
    """It does not hold; the word says where it was noticed."""


def need(holds: object, word: str) -> None:
    if not holds:
        raise No(word)


def canonical(data: Any, limit: int, items: int = 256) -> Any:
    def ordered(value: Any, levels: int) -> Any:
        need(levels and type(value) in (int, str, bytes, list, dict), "no such value")
        need(type(value) not in (list, dict) or len(value) <= items, "too many items")
        if type(value) is dict:
            need(all(type(key) in (int, str) for key in value), "no such key")
            return {k: ordered(value[k], levels - 1) for k in sorted(value, key=msgpack.packb)}
        return [ordered(v, levels - 1) for v in value] if type(value) is list else value

    need(type(data) is bytes and len(data) <= limit, "too long")
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=False)
        need(msgpack.packb(ordered(value, 8)) == data, "not canonical")
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise No("not msgpack of ours") from None
    return value


def fits(value: Any, want: Any) -> bool:
    """Whether it is within bounds, of a length, pattern or type; a list or table of such."""
    if type(want) is tuple:
        return type(value) is int and want[0] <= value <= want[1]
    if type(want) is int:
        return type(value) is bytes and len(value) == want
    if type(want) is str:
        return type(value) is str and re.fullmatch(want, value) is not None
    if isinstance(want, type):
        return type(value) is want
    (most, each), *_ = want.items() if type(want) is dict else [want]
    good = type(value) is type(want) and len(value) <= most and all(fits(v, each) for v in value)
    tabled = value.values() if good and type(want) is dict else ()
    return good and all(type(v) is bytes and len(v) <= 512 for v in tabled)


def digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def id_of(digest: bytes) -> str:
    return base64.b32encode(digest).decode().strip("=").lower()


def signed(key: bytes, domain: str, body: bytes, signature: bytes) -> None:
    try:
        need(len(signature) == 64, "length of a signature")
        nacl.crypto_sign_open(signature + f"conclave/{domain}/v1\0".encode() + body, key)
    except CryptoError:
        raise No(f"signature of a {domain}") from None


def signed_map(raw: Any, shape: dict[int, Any], limit: int, items: int = 256) -> dict[Any, Any]:
    """The fields of a signed map of this shape, with its body and signature beside them."""
    outer = canonical(raw, limit)
    need(type(outer) is list and [type(each) for each in outer] == [bytes, bytes], "no pair")
    value = canonical(outer[0], limit, items)
    need(type(value) is dict and value.keys() == shape.keys(), "fields")
    need(64 <= len(outer[1]) <= 689 and all(fits(value[n], shape[n]) for n in shape), "a field")
    return {**value, "body": outer[0], "signature": outer[1]}


def certificate(raw: Any) -> dict[Any, Any]:
    c = signed_map(raw, CERTIFICATE, 2048)
    need(c[7] == digest(c[6]) and c[12] < c[13] and c[10] == sorted(set(c[10])), "claims")
    need(not (c[14] or c[15] if c[2] == 3 else c[9]), "rights of this kind")
    c["from"] = canonical(c[17]["renewed-from"], 512) if "renewed-from" in c[17] else []
    need(fits(c["from"], [8, 32]) and c["from"] == sorted(set(c["from"])), "renewed from")
    need("renewed-from" not in c[17] or (c["from"] and c[2] == 3), "renewed from")
    return c


def below(child: dict[Any, Any], issuer: dict[Any, Any], root: dict[Any, Any]) -> None:
    """Whether the one may have given the other, but for the signature."""
    need(child[11] == digest(issuer[6]), "issuer")
    need(child[4] == digest(root[6]) and child[5] == root[5], "network")
    need(issuer[12] <= child[12] <= issuer[13], "begin")
    need("rotation" in child[16] or child[13] <= issuer[13], "end")
    need(child[13] - child[12] <= LIVES_MS[child[2]] + BACKDATE_MS, "lifetime")
    need(not (child[9] | child[14]) & ~issuer[14], "roles")
    for name in child[10]:
        need(any(o in ("*", name) or name.startswith(o + ".") for o in issuer[10]), "namespaces")


def chain(data: bytes, network: str, now_ms: int) -> None:
    """Whether it makes its bearer a member of this network (its id as text) now.

    Raises:
        No: it does not, or has what only `extras` knows.
    """
    items = canonical(data, 6000)
    certs = [certificate(raw) for raw in (items if type(items) is list else [])]
    need([c[2] for c in certs] in ([3, 2, 1], [3, 1]), "kinds")
    root = certs[-1]
    need(id_of(digest(root[6])) == network and root[15] >= len(certs) - 2, "root")
    for child, issuer in zip(certs, [*certs[1:], root], strict=True):
        need(not child[16], "critical")
        below(child, issuer, root)
        signed(issuer[6], "certificate", child["body"], child["signature"])
        need(child[12] - SKEW_MS <= now_ms <= child[13] + SKEW_MS, "time")
