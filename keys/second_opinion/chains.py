"""Certificate chains and transport records, verified again from `keys/FORMAT.md` alone.

What this module does not know: how anything is made, revocations, the modules that a node runs.
"""

from __future__ import annotations

from typing import Any

from keys.second_opinion.objects import (
    canonical,
    digest,
    id_of,
    is_bin,
    is_int,
    is_text,
    need,
    signed,
    within,
)

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_SPACE = r"\*|(?=.{1,63}\Z)[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*"
_HOST = r"[A-Za-z0-9:%_.-]{1,253}"
_DAY_MS, _SKEW_MS, _BACKDATE_MS = 86_400_000, 120_000, 300_000
_LIVES_MS = {1: 3653 * _DAY_MS, 2: 366 * _DAY_MS, 3: 90 * _DAY_MS}


def chain(data: bytes, network: str, now_ms: int, record: bytes | None = None) -> None:
    """Whether this chain makes its bearer a member of this network (its id as text) now, and the
    record, if there is one, is the bearer's. Knows no successor but those that the chain shows.

    Raises:
        No: it does not.
    """
    items = canonical(data, 6000)
    need(type(items) is list and 2 <= len(items) <= 7, "length")
    certs = [_certificate(each) for each in items]
    rotations = sum("rotation" in c[16] for c in certs)
    first, newest, leaf = certs[-1], len(certs) - 1 - rotations, certs[0]
    need(newest in (1, 2), "length")
    need(all(id_of(c[4]) == network and c[5] == first[5] for c in certs), "network")
    need(id_of(digest(first[6])) == network, "root")
    need([c[2] for c in certs] == [3, 2, *[1] * 5][:newest] + [1] * (rotations + 1), "kinds")
    for place, root in enumerate(reversed(certs[newest:])):
        number = canonical(root[16]["rotation"], 512)[1] if "rotation" in root[16] else 0
        need(number == place and root[15] >= newest - 1, "place or path of a root")
    for child, issuer in zip(certs, [*certs[1:], first], strict=True):
        need(child[11] == digest(issuer[6]), "issuer")
        _signed_by_issuer(child, issuer)
        need(issuer[12] <= child[12] <= issuer[13], "begin")
        need("rotation" in child[16] or child[13] <= issuer[13], "end")
        need(child[13] - child[12] <= _LIVES_MS[child[2]] + _BACKDATE_MS, "lifetime")
        need(not (child[9] | child[14]) & ~issuer[14], "roles")
        need(all(any(within(n, o) for o in issuer[10]) for n in child[10]), "namespaces")
    for c in certs[: newest + 1]:
        need(c[12] - _SKEW_MS <= now_ms <= c[13] + _SKEW_MS, "time")
    if record is not None:
        _record(record, leaf, now_ms)


def _signed_by_issuer(child: dict[Any, Any], issuer: dict[Any, Any]) -> None:
    if "rotation" not in child[16]:
        return _signed_by(issuer, child["body"], child["signature"])
    both = canonical(child["signature"], 689)
    need(type(both) is list and len(both) == 2, "both signatures of a successor")
    need(all(type(each) is bytes for each in both), "both signatures of a successor")
    _signed_by(issuer, child["body"], both[0])
    return _signed_by(child, child["body"], both[1])


def _signed_by(signer: dict[Any, Any], body: bytes, signature: bytes) -> None:
    """By its key, or by enough keys of its quorum."""
    if "root-quorum" not in signer[16]:
        return signed(signer[6], "certificate", body, signature)
    said = canonical(signer[16]["root-quorum"], 256)
    given = canonical(signature, 341)
    need(type(given) is list and said[2] <= len(given), "signatures of a quorum")
    last = -1
    for each in given:
        need(type(each) is list and len(each) == 2 and type(each[1]) is bytes, "a signature")
        need(is_int(each[0], last + 1, len(said[3]) - 1), "whose signature")
        signed(said[3][each[0]], "certificate", body, each[1])
        last = each[0]
    return None


def _certificate(raw: Any) -> dict[Any, Any]:
    c = _signed_map(raw, 17, 689)
    need(is_int(c[1], 1, 1) and is_int(c[2], 1, 3) and is_int(c[15], 0, 1), "kind")
    need(is_bin(c[3], 16) and all(is_bin(c[at], 32) for at in (4, 6, 7, 11)), "keys")
    need(is_text(c[5], _NAME) and is_text(c[8], _NAME) and c[7] == digest(c[6]), "names")
    need(
        is_int(c[9], 0, 15) and is_int(c[14], 0, 15) and is_int(c[12]) and is_int(c[13]), "numbers"
    )
    need(c[12] < c[13] and not (c[14] or c[15] if c[2] == 3 else c[9]), "claims")
    need(type(c[10]) is list and len(c[10]) <= 16, "namespaces")
    need(all(is_text(n, _SPACE) for n in c[10]) and c[10] == sorted(set(c[10])), "namespaces")
    for table in (c[16], c[17]):
        need(type(table) is dict and len(table) <= 8, "extensions")
        for name, value in table.items():
            need(
                is_text(name, r"(?s).{0,64}") and type(value) is bytes and len(value) <= 512, "ext"
            )
    if "renewed-from" in c[17]:
        ids = canonical(c[17]["renewed-from"], 512)
        need(type(ids) is list and 1 <= len(ids) <= 8 and c[2] == 3, "renewed from")
        need(all(is_bin(each, 32) for each in ids) and ids == sorted(set(ids)), "renewed from")
    _root_only(c)
    return c


def _root_only(c: dict[Any, Any]) -> None:
    """The critical extensions that are known."""
    need(c[16].keys() <= {"root-quorum", "rotation"} and (c[2] == 1 or not c[16]), "critical")
    if "root-quorum" in c[16]:
        raw = c[16]["root-quorum"]
        q = canonical(raw, 256)
        need(type(q) is dict and q.keys() == {1, 2, 3, 4} and is_int(q[1], 1, 1), "quorum")
        need(is_bin(q[4], 16), "nonce of the quorum")
        need(type(q[3]) is list and all(is_bin(key, 32) for key in q[3]), "keys of the quorum")
        need(2 <= len(q[3]) <= 5 and q[3] == sorted(set(q[3])), "keys of the quorum")
        need(is_int(q[2], 1, len(q[3])), "threshold")
        need(c[6] == digest(b"conclave/root-quorum/v1\0" + raw), "key of the quorum")
    if "rotation" in c[16]:
        r = canonical(c[16]["rotation"], 512)
        need(type(r) is dict and r.keys() == {1, 2}, "rotation")
        need(is_int(r[1], 1, 4) and is_int(r[2]) and c[11] != digest(c[6]), "rotation")


def _record(raw: bytes, leaf: dict[Any, Any], now_ms: int) -> None:
    r = _signed_map(raw, 9, 64)
    need(is_int(r[1], 1, 1) and is_int(r[3], 1) and is_int(r[7]) and is_int(r[8]), "record numbers")
    need(is_bin(r[4], 32) and r[2] == leaf[7] and r[9] == digest(leaf["body"]), "record owner")
    need(type(r[5]) is list and len(r[5]) <= 8 and all(is_text(h, _HOST) for h in r[5]), "hosts")
    need(type(r[6]) is dict and len(r[6]) <= 8, "ports")
    need(all(is_text(n, "[a-z]{1,16}") and is_int(p, 1, 65_535) for n, p in r[6].items()), "ports")
    need({"door", "control", "data", "topics"} <= r[6].keys(), "ports")
    need(0 < r[8] - r[7] <= _DAY_MS, "record lifetime")
    need(r[7] - _SKEW_MS <= now_ms <= r[8] + _SKEW_MS, "record time")
    signed(leaf[6], "record", r["body"], r["signature"])


def _signed_map(raw: Any, fields: int, longest: int) -> dict[Any, Any]:
    """Fields 1 to `fields` of a signed map, with its body and signature beside them."""
    need(type(raw) is bytes, "no bytes")
    outer = canonical(raw, 2048)
    need(type(outer) is list and len(outer) == 2, "no body and signature")
    need(all(type(each) is bytes for each in outer), "no body and signature")
    need(64 <= len(outer[1]) <= longest, "length of a signature")
    value = canonical(outer[0], 2048)
    need(type(value) is dict and set(value) == set(range(1, fields + 1)), "fields")
    return {**value, "body": outer[0], "signature": outer[1]}
