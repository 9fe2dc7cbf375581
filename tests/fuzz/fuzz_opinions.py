"""Two verifiers on the same input: what they say must not differ.

Besides mutations of valid bytes there are lies that are signed: papers whose fields were changed
and that were signed anew by the right key or by another, and certificates of decisions put
together from ballots that their voters did sign.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import msgpack  # type: ignore[import-untyped]
from fuzz_keys import NOW_MS, P
from fuzz_lab import Harness, as_payload

from keys import (
    CertificateRefused,
    CertificateRevoked,
    Chain,
    Identity,
    NetworkId,
    RecordRefused,
    RevocationRefused,
    Revocations,
    Trust,
    decode_record,
    read_list,
    verify,
    verify_record,
)
from keys import second_opinion as second
from keys.canonical import NotCanonical, decode, encode
from keys.identity import encode_id as id_of
from keys.identity import fingerprint

KEYS = [Identity.from_secret(bytes([n]) * 32) for n in range(1, 6)]
VERDICTS: Counter[tuple[str, bool]] = Counter()  # which verifier's, and what it said


class Disagreement(AssertionError):
    """One says yes and the other no."""


_CERTS = [decode(c.body, 4096) for c in P.chain.certificates]
_RECORD = decode(P.record.body, 4096)
_DAY = 86_400_000
_ODD: dict[int, tuple[Any, ...]] = {
    1: (0, 2, True, None),
    2: (0, 1, 2, 3, 4),
    3: (bytes(15), bytes(16), bytes(17), "s" * 16),
    4: (fingerprint(KEYS[3].public_key), b"", bytes(32)),
    5: ("lan", "lan2", "LAN", "", "a" * 63, "a" * 64, "-a", "a b", "é"),
    6: tuple(key.public_key for key in KEYS),
    7: tuple(fingerprint(key.public_key) for key in KEYS),
    8: ("beta", "", "a\n", "a" * 64, ".a", "9", "a/b"),
    9: (0, 1, 2, 8, 15, 16, 31, -1),
    10: (
        [],
        ["*"],
        ["shop"],
        ["shop", "shop.eu"],
        ["b", "a"],
        ["a", "a"],
        ["A"],
        ["a."],
        [f"n{n:02}" for n in range(16)],
        [f"n{n:02}" for n in range(17)],
        ["*", "a"],
    ),
    11: tuple(fingerprint(key.public_key) for key in KEYS),
    12: (NOW_MS - 300_001, NOW_MS - 300_000, NOW_MS + 120_000, NOW_MS + 120_001, 0, -1, 2**53),
    13: (NOW_MS - 120_000, NOW_MS - 120_001, NOW_MS + 90 * _DAY, NOW_MS + 91 * _DAY, 2**53 - 1, 1),
    14: (0, 1, 9, 15, 16),
    15: (0, 1, 2),
    16: ({}, {"x": b""}, []),
    17: (
        {},
        {"x": b"y"},
        {"x": 1},
        {"x" * 65: b""},
        {"": b"z" * 513},
        {str(n): b"" for n in range(9)},
    ),
}
_ODD_RECORD: dict[int, tuple[Any, ...]] = {
    1: (0, 2),
    2: tuple(fingerprint(key.public_key) for key in KEYS),
    3: (0, 1, 2**53 - 1, 2**53),
    4: (bytes(31), bytes(32), "x"),
    5: ([], ["a"] * 8, ["a"] * 9, ["a b"], [""], ["a" * 253], ["a" * 254], [b"a"]),
    6: (
        {"door": 1},
        {"door": 1, "control": 2, "data": 3, "topics": 65_535},
        {"door": 1, "control": 2, "data": 3, "topics": 65_536},
        {"door": 1, "control": 2, "data": 3, "topics": 4, "BULK": 5},
        {"door": 1, "control": 2, "data": 3, "topics": 4, "bulk": 5},
    ),
    7: (NOW_MS - 300_000, NOW_MS - 86_400_000, NOW_MS + 120_000, NOW_MS + 120_001, -1),
    8: (NOW_MS - 120_000, NOW_MS - 120_001, NOW_MS + 86_000_000, NOW_MS + 86_400_000, 2**53),
    9: (fingerprint(b""), P.chain.leaf.digest),
}


def _any_encoding(value: Any) -> bytes:
    try:
        return encode(value)
    except NotCanonical:
        packed: bytes = msgpack.packb(value)
        return packed


class Root:
    """One key, or several of which `threshold` sign."""

    def __init__(self, *keys: Identity, threshold: int = 0, said: object = None) -> None:
        self.keys = sorted(keys, key=lambda key: key.public_key)
        self.threshold = threshold
        usual = {1: 1, 2: threshold, 3: [key.public_key for key in self.keys]}
        self.quorum = encode(usual if said is None else said)
        self.public_key = keys[0].public_key
        if threshold:
            self.public_key = fingerprint(b"conclave/root-quorum/v1\0" + self.quorum)

    def fields(self, first: bytes, before: bytes, number: int) -> dict[Any, Any]:
        own = fingerprint(self.public_key)
        critical = {"root-quorum": self.quorum} if self.threshold else {}
        if number:
            critical["rotation"] = encode({1: number, 2: NOW_MS + _DAY})
        said = {4: first, 6: self.public_key, 7: own, 11: before, 16: critical}
        return {**_CERTS[2], 3: bytes([number]) * 16, **said}

    def sign(self, domain: str, body: bytes, rng: random.Random | None = None) -> bytes:
        """With a random source, perhaps by too few, twice by one, or by another."""
        if not self.threshold:
            return self.keys[0].sign(domain, body)
        chosen = list(range(len(self.keys)))[-self.threshold :]
        given = [[each, self.keys[each].sign(domain, body)] for each in chosen]
        lie = rng.randrange(40) if rng is not None else -1
        if lie == 0:
            given = given[1:]
        elif lie == 1:
            given = [given[0]] * len(given)
        elif lie == 2:
            given.reverse()
        elif lie == 3:
            given = [[each, key.sign(domain, body)] for each, key in enumerate(self.keys)]
        elif lie == 4:
            given[0][0] = (given[0][0] + 1) % 4
        elif lie == 5:
            given.append([len(self.keys), bytes(64)])
        elif lie == 6:
            given[0].append(1)
        elif lie == 7:
            return encode([*given, 7])
        elif lie == 8:
            return encode({1: given})
        return encode(given)


_SINGLE, _OTHER = Root(KEYS[0]), Root(KEYS[4])
_THREE = Root(*KEYS[2:5], threshold=2)
_LINES = [(_SINGLE,), (_THREE,), (_SINGLE, _THREE), (_THREE, _OTHER), (_SINGLE, _THREE, _OTHER)]
_PUBLIC = [key.public_key for key in _THREE.keys]
_ODD_QUORUMS: list[object] = [
    {1: 2, 2: 2, 3: _PUBLIC},
    {1: 1, 2: 0, 3: _PUBLIC},
    {1: 1, 2: 4, 3: _PUBLIC},
    {1: 1, 2: 3, 3: _PUBLIC},
    {1: 1, 2: 1, 3: _PUBLIC},
    {1: 1, 2: 2, 3: _PUBLIC, 4: 1},
    {1: 1, 2: 2, 3: _PUBLIC[::-1]},
    {1: 1, 2: 2, 3: [*_PUBLIC, b"short"]},
    {1: 1, 2: 1, 3: _PUBLIC[:1]},
    {1: 1, 2: 1, 3: [_PUBLIC[0], _PUBLIC[0]]},
    {1: 1, 2: 2, 3: sorted([*_PUBLIC, *(bytes([n]) * 32 for n in range(2))])},
    {1: 1, 2: 2, 3: sorted([*_PUBLIC, *(bytes([n]) * 32 for n in range(3))])},
    [1, 2, _PUBLIC],
]
_ODD_LINES = [
    (_SINGLE, Root(*_THREE.keys, threshold=threshold, said=said))
    for said in _ODD_QUORUMS
    for threshold in (1, 2, 3)
]
NETWORKS = [id_of(fingerprint(line[0].public_key)) for line in _LINES]


def lying_papers(rng: random.Random) -> bytes:
    """A chain, a record and a time, each perhaps a lie and perhaps well signed."""
    place = rng.randrange(len(_LINES))
    line = _LINES[place]
    if rng.random() < 0.1:
        place, line = 0, rng.choice(_ODD_LINES)
    first, before = fingerprint(line[0].public_key), fingerprint(line[0].public_key)
    if rng.random() < 0.02:  # the whole of it of another network
        place = rng.randrange(len(_LINES))
        first = fingerprint(_LINES[place][0].public_key)
    roots: list[dict[Any, Any]] = []
    for number, root in enumerate(line):
        roots.insert(0, root.fields(first, before, number))
        before = fingerprint(root.public_key)
    fields = [{**each, 4: first} for each in _CERTS[:2]] + roots
    fields[1][11] = before
    signers: list[Any] = [P.issuer, line[-1], *reversed(line)]
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        _lie(rng, fields, signers)
    shape = rng.randrange(10)
    if shape == 0:  # a peer right below the root
        fields[0][11] = before
        signers[0] = line[-1]
        del fields[1], signers[1]
    certs = []
    for at, each in enumerate(fields):
        body = _bent(rng, _any_encoding(each))
        signature = _signed(rng, signers[at], body)
        if len(line) > 1 and 0 < len(fields) - 1 - at < len(line):  # a successor
            both = [_signed(rng, signers[at + 1], body), signature]
            odd = rng.randrange(60)
            signature = encode(both if odd else [*both, b""])
            signature = encode({1: both}) if odd == 1 else signature
            signature = encode([both[0], 5]) if odd == 2 else signature
        certs.append(encode([body, signature]))
    if shape == 1:
        rng.shuffle(certs)
    elif shape == 2:
        certs.insert(rng.randrange(len(certs) + 1), rng.choice(certs))
    elif shape == 3:
        del certs[rng.randrange(len(certs))]
    record = dict(_RECORD)
    if rng.random() < 0.95:
        record[9] = fingerprint(decode(certs[0], 4096)[0]) if certs else b""
    if rng.random() < 0.4:
        field = rng.choice(list(_ODD_RECORD))
        record[field] = rng.choice(_ODD_RECORD[field])
    signer = rng.choice(KEYS) if rng.random() < 0.05 else P.peer
    now_ms = NOW_MS
    if rng.random() < 0.2:
        end = rng.choice((fields[0].get(12), fields[0].get(13), record.get(8)))
        off_ms = rng.choice((-120_001, -120_000, 120_000, 120_001))
        now_ms = (end if type(end) is int else 0) + off_ms
    body = _any_encoding(record)
    shown = encode([body, signer.sign("record", body)]) if rng.random() < 0.7 else b""
    shown_at_ms = max(-(2**63), min(now_ms, 2**63))
    lists = lying_lists(rng, fields, certs, line) if rng.random() < 0.4 else []
    return as_payload([encode(certs), shown, shown_at_ms, place, lists])


def lying_lists(
    rng: random.Random, fields: list[dict[Any, Any]], certs: list[bytes], line: tuple[Root, ...]
) -> list[bytes]:
    """Lists of the issuer, of roots and of others, that mean somebody or nobody."""
    ids = [fingerprint(c[6]) for c in fields if isinstance(c.get(6), bytes)] or [bytes(32)]
    ids += [fingerprint(key.public_key) for key in KEYS[:3]]
    serials = [c[3] for c in fields if isinstance(c.get(3), bytes)] or [bytes(16)]
    issued = [c[12] + 300_000 for c in fields if type(c.get(12)) is int] or [NOW_MS]
    found = []
    for _ in range(rng.randrange(1, 4)):
        at = rng.choice((1, len(certs) - len(line), len(certs) - 1))
        chain = certs[max(0, min(at, len(certs) - 1)) :]
        is_root = at >= len(certs) - len(line)
        signer: Any = line[rng.randrange(len(line))] if is_root else P.issuer
        if is_root and rng.random() < 0.8:
            signer = line[-1] if len(chain) == len(line) else line[0]
        if rng.random() < 0.04:
            signer, chain = rng.choice(KEYS), certs[rng.randrange(len(certs)) :]
        entries: list[Any] = []
        for _ in range(rng.randrange(4)):
            before = rng.choice((0, rng.choice(issued) + rng.choice((0, 1, -1)), NOW_MS))
            after: list[Any] = [NOW_MS, NOW_MS + _DAY, rng.choice(("", "stolen", "x" * 40))]
            kind = rng.choice((1, 2, 2, 2, 3))
            what = {1: rng.choice(serials), 2: rng.choice(ids), 3: b""}[kind]
            before = 0 if kind == 1 else max(before, 0)
            entries.append([kind, what, before or (NOW_MS if kind == 3 else 0), *after])
        if rng.random() < 0.95:
            once = {(entry[0], entry[1]): entry for entry in entries}
            entries = [once[place] for place in sorted(once)]
        if entries and rng.random() < 0.1:
            odd = rng.choice(((0, 4), (1, b"x"), (2, 5), (2, 0), (3, -1), (5, "\n"), (5, "y" * 41)))
            rng.choice(entries)[odd[0]] = odd[1]
        key = fingerprint(signer.public_key)
        said = {
            1: 1,
            2: fields[-1].get(4, b""),
            3: key,
            4: rng.randrange(1, 4),
            5: NOW_MS,
            7: entries,
        }
        said[6] = NOW_MS + rng.choice((7 * _DAY, 7 * _DAY, 0))
        if rng.random() < 0.1:
            said[rng.choice((1, 2, 3, 4, 5))] = rng.choice((0, 2, bytes(32), NOW_MS + 120_001))
        body = _bent(rng, _any_encoding(said))
        found.append(encode([encode([body, signer.sign("revocations", body)]), encode(chain)]))
    return found


def _bent(rng: random.Random, body: bytes) -> bytes:
    """Seldom in a form that means the same and is not the canonical one."""
    bend = rng.randrange(60)
    if bend == 0:
        return body + b"\0"
    if bend == 1:
        return body.replace(b"\x01\x01", b"\x01\xcc\x01", 1)  # a number in two bytes
    if bend == 2:
        return body.replace(b"\xde\x00\x11", b"\xdf\x00\x00\x00\x11", 1)
    if bend == 3:
        return body.replace(b"\xde\x00\x11", b"\xde\x00\x12", 1) + b"\x01\x01"  # a key twice
    return body


def _signed(rng: random.Random, signer: Any, body: bytes) -> bytes:
    if isinstance(signer, Root):
        return signer.sign("certificate", body, rng)
    made: bytes = signer.sign("certificate", body)
    return made


def _lie(rng: random.Random, fields: list[dict[Any, Any]], signers: list[Any]) -> None:
    """Change one thing of one certificate."""
    at = rng.randrange(len(fields))
    move = rng.randrange(12)
    if move == 0:
        fields[at][rng.choice((0, 18, "x"))] = 1
    elif move == 1:
        del fields[at][rng.choice(list(fields[at]))]
    elif move == 2:
        signers[at] = rng.choice(KEYS)
    elif move in (3, 4):
        quorum = {
            1: 1,
            2: rng.choice((0, 1, 2, 3, 6)),
            3: _THREE_KEYS[: rng.choice((0, 1, 2, 3, 6))],
        }
        made = _any_encoding(quorum)
        rotation = encode({1: rng.choice((0, 1, 2, 4, 5)), 2: NOW_MS})
        fields[at][16] = rng.choice(
            ({"root-quorum": made}, {"rotation": rotation}, {"rotation": rotation, "x": b""})
        )
        if rng.random() < 0.5:
            fields[at][6] = fingerprint(b"conclave/root-quorum/v1\0" + made)
            fields[at][7] = fingerprint(fields[at][6])
    else:
        field = rng.choice(list(_ODD))
        fields[at][field] = rng.choice(_ODD[field])


_THREE_KEYS = [key.public_key for key in (*_THREE.keys, *KEYS[:2], KEYS[2])]


def _papers(data: bytes) -> None:
    chain, record, now_ms, network, lists = _parts(data)
    first = _first_on_papers(chain, record, now_ms, network, lists)
    try:
        leaf = second.chain(chain, network, now_ms, lists)
        if record:
            second.record(record, leaf, now_ms)
        also, why = True, ""
    except second.No as word:
        also, why = False, str(word)
    if not record:
        _compare_plain(chain, network, now_ms, lists, first)
    VERDICTS["papers", also] += 1
    if first != also:
        raise Disagreement(f"the first says {first}, the second {also} ({why})")


def _compare_plain(
    chain: bytes, network: str, now_ms: int, lists: list[bytes], first: bool
) -> None:
    """The ordinary verifier says no to what it does not know, and else what the others say."""
    try:
        second.plain_chain(chain, network, now_ms)
        plain = True
    except second.No:
        plain = False
    if plain and not lists:
        VERDICTS["plain", first] += 1
    try:
        certificates = Chain.decode(chain).certificates
        is_plain = not any(each.critical for each in certificates)
    except CertificateRefused:
        is_plain = True
    if not lists and plain != (first and is_plain):
        raise Disagreement(f"of one root key: the first says {first}, the plain one {plain}")


def _parts(data: bytes) -> tuple[bytes, bytes, int, str, list[bytes]]:
    try:
        value = msgpack.unpackb(data)
        kinds = [type(v) for v in value[:4]] if isinstance(value, list) else []
        if kinds == [bytes, bytes, int, int] and len(value) in (4, 5):
            lists = value[4] if len(value) == 5 and isinstance(value[4], list) else []
            network = NETWORKS[value[3] % len(NETWORKS)]
            return value[0], value[1], value[2], network, [v for v in lists if type(v) is bytes]
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
        pass
    return data, b"", NOW_MS, NETWORKS[0], []


def _first_on_papers(
    chain: bytes, record: bytes, now_ms: int, network: str, lists: list[bytes]
) -> bool:
    trust, revocations = Trust(NetworkId(network)), Revocations()
    for each in lists:
        try:
            revocations = revocations.taking(read_list(each, trust, now_ms))
        except RevocationRefused:
            continue
    try:
        principal = verify(Chain.decode(chain), replace(trust, revocations=revocations), now_ms)
        if lists:
            VERDICTS["with lists", True] += 1
    except CertificateRevoked:
        VERDICTS["with lists", False] += 1
        return False
    except CertificateRefused:
        return False
    try:
        if record:
            verify_record(decode_record(record), principal, now_ms)
    except (CertificateRefused, RecordRefused):
        return False
    return True


HARNESSES = [
    Harness(
        "second-opinion-papers",
        _papers,
        [as_payload([P.chain.encode(), P.record.raw, NOW_MS, 0])],
        make=lying_papers,
    ),
]
