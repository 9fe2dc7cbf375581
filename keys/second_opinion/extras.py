"""What some networks have besides: roots of several keys, roots that were replaced; and transport
records. From `keys/FORMAT.md` alone, on top of `verifier`.

What this module does not know: which successors of a root others have seen, revocations (`lists`).
"""

from typing import Any

from keys.second_opinion.verifier import (
    DAY_MS,
    MAX,
    SKEW_MS,
    below,
    canonical,
    certificate,
    digest,
    fits,
    id_of,
    need,
    signed,
    signed_map,
)

QUORUM, ROTATION = {1: (1, 1), 2: (1, 5), 3: [5, 32], 4: 16}, {1: (1, 4), 2: (0, MAX)}
HOST = r"[A-Za-z0-9:%_.-]{1,253}"
RECORD = {1: (1, 1), 2: 32, 3: (1, MAX), 4: 32, 5: [8, HOST], 7: (0, MAX), 8: (0, MAX), 9: 32}
Map = dict[Any, Any]


def member(data: bytes, network: str, now_ms: int) -> tuple[list[Map], list[Map]]:
    """The certificates of a member of this network now, and those of its roots; revoked or not.

    Raises:
        No: it is none.
    """
    certs, roots = authentic(data, network, ([3, 2], [3]))
    for c in certs[: len(certs) - len(roots) + 1]:
        need(c[12] - SKEW_MS <= now_ms <= c[13] + SKEW_MS, "time")
    return certs, roots


def record(raw: bytes, leaf: Map, now_ms: int) -> None:
    """Whether this record is of the bearer of this certificate, and good now."""
    r = signed_map(raw, {**RECORD, 6: dict}, 2048)
    need(r[2] == leaf[7] and r[9] == digest(leaf["body"]), "owner of the record")
    need(len(r[6]) <= 8 and {"door", "control", "data", "topics"} <= r[6].keys(), "ports")
    need(all(fits(n, "[a-z]{1,16}") and fits(p, (1, 65_535)) for n, p in r[6].items()), "ports")
    need(0 < r[8] - r[7] <= DAY_MS, "life of the record")
    need(r[7] - SKEW_MS <= now_ms <= r[8] + SKEW_MS, "time of the record")
    signed(leaf[6], "record", r["body"], r["signature"])


def authentic(
    data: bytes, network: str, kinds: tuple[list[int], ...]
) -> tuple[list[Map], list[Map]]:
    """The certificates of a chain, whatever the time is, and those of its roots, newest first."""
    items = canonical(data, 6000)
    need(type(items) is list and 1 <= len(items) <= 7, "length")
    certs = [certificate(raw) for raw in items]
    for c in certs:
        _critical(c)
    roots = certs[len(certs) - 1 - sum("rotation" in c[16] for c in certs) :]
    first, above = roots[-1], len(certs) - len(roots)
    need([c[2] for c in certs[:above]] in kinds and all(c[2] == 1 for c in roots), "kinds")
    need([c["number"] for c in roots] == list(range(len(roots) - 1, -1, -1)), "order of roots")
    need(id_of(digest(first[6])) == network, "root")
    need(all(c[15] >= [x[2] for x in certs].count(2) for c in roots), "path")
    for child, issuer in zip(certs, [*certs[1:], first], strict=True):
        below(child, issuer, first)
        if not child["number"]:
            by(issuer, "certificate", child["body"], child["signature"])
            continue
        both = canonical(child["signature"], 689)
        need(type(both) is list and [type(s) for s in both] == [bytes, bytes], "both signatures")
        by(issuer, "certificate", child["body"], both[0])
        by(child, "certificate", child["body"], both[1])
    return certs, roots


def _critical(c: Map) -> None:
    need(c[16].keys() <= {"root-quorum", "rotation"} and (c[2] == 1 or not c[16]), "critical")
    c["quorum"], c["number"] = None, 0
    if "root-quorum" in c[16]:
        raw = c[16]["root-quorum"]
        q = c["quorum"] = canonical(raw, 256)
        need(type(q) is dict and q.keys() == QUORUM.keys(), "quorum")
        need(all(fits(q[n], QUORUM[n]) for n in q) and q[3] == sorted(set(q[3])), "quorum")
        need(len(q[3]) >= 2 and q[2] <= len(q[3]), "threshold")
        need(c[6] == digest(b"conclave/root-quorum/v1\0" + raw), "key of the quorum")
    if "rotation" in c[16]:
        r = canonical(c[16]["rotation"], 512)
        need(type(r) is dict and r.keys() == ROTATION.keys(), "rotation")
        need(all(fits(r[n], ROTATION[n]) for n in r) and c[11] != digest(c[6]), "rotation")
        c["number"] = r[1]


def by(signer: Map, domain: str, body: bytes, signature: bytes) -> None:
    """By its key, or by enough keys of its quorum, in their order."""
    if signer["quorum"] is None:
        return signed(signer[6], domain, body, signature)
    threshold, keys, last = signer["quorum"][2], signer["quorum"][3], -1
    given = canonical(signature, 341)
    need(type(given) is list and threshold <= len(given), "signatures of a quorum")
    for each in given:
        need(type(each) is list and len(each) == 2 and type(each[1]) is bytes, "a signature")
        need(fits(each[0], (last + 1, len(keys) - 1)), "whose signature")
        signed(keys[each[0]], domain, body, each[1])
        last = each[0]
    return None
