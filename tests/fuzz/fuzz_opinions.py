"""Two verifiers on the same input: what they say must not differ.

Besides mutations of valid bytes there are lies that are signed: papers whose fields were changed
and that were signed anew by the right key or by another, and certificates of decisions put
together from ballots that their voters did sign.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import msgpack  # type: ignore[import-untyped]
from fuzz_keys import NOW_MS, P
from fuzz_lab import Harness, as_payload
from fuzz_state import SCHEME, VOTERS

import consensus.ballots as ballots
from consensus.ballots.ballot import sealed, statement
from consensus.ballots.proposal import Elector
from consensus.ballots.wire import Writer
from keys import (
    CertificateRefused,
    Chain,
    Identity,
    RecordRefused,
    decode_record,
    verify,
    verify_record,
)
from keys import second_opinion as second
from keys.canonical import NotCanonical, decode, encode
from keys.identity import fingerprint

KEYS = [Identity.from_secret(bytes([n]) * 32) for n in range(1, 6)]
VERDICTS: Counter[tuple[str, bool]] = Counter()  # which verifier's, and what it said


class Disagreement(AssertionError):
    """One says yes and the other no."""


# -- chains and records -------------------------------------------------------------------------

_CERTS = [decode(c.body, 4096) for c in P.chain.certificates]
_RECORD = decode(P.record.body, 4096)
_SIGNERS = [P.issuer, P.root, P.root]
_DAY = 86_400_000
_ODD: dict[int, tuple[Any, ...]] = {
    1: (0, 2, True, None),
    2: (0, 1, 2, 3, 4),
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


def _sign(signer: Identity, domain: str, fields: Any) -> bytes:
    body = _any_encoding(fields)
    return encode([body, signer.sign(domain, body)])


def lying_papers(rng: random.Random) -> bytes:
    """A chain, a record and a time, each perhaps a lie and perhaps well signed."""
    fields = [dict(each) for each in _CERTS]
    signers = list(_SIGNERS)
    for _ in range(rng.choice((0, 1, 1, 2))):
        at = rng.randrange(3)
        field = rng.choice(list(_ODD))
        fields[at][field] = rng.choice(_ODD[field])
        if rng.random() < 0.1:
            fields[at][rng.choice((0, 18, "x"))] = 1
        if rng.random() < 0.1:
            del fields[at][rng.choice(list(fields[at]))]
        if rng.random() < 0.15:
            signers[at] = rng.choice(KEYS)
    shape = rng.randrange(10)
    if shape == 0:  # a peer right below the root
        fields[0][11] = fingerprint(P.root.public_key)
        signers[0] = P.root
        fields, signers = [fields[0], fields[2]], [signers[0], signers[2]]
    certs = [_sign(s, "certificate", f) for s, f in zip(signers, fields, strict=True)]
    if shape == 1:
        rng.shuffle(certs)
    elif shape == 2:
        certs.insert(rng.randrange(4), rng.choice(certs))
    elif shape == 3:
        del certs[rng.randrange(len(certs))]
    record = dict(_RECORD)
    if rng.random() < 0.5:
        record[9] = fingerprint(decode(certs[0], 4096)[0]) if certs else b""
    if rng.random() < 0.4:
        field = rng.choice(list(_ODD_RECORD))
        record[field] = rng.choice(_ODD_RECORD[field])
    signer = rng.choice(KEYS) if rng.random() < 0.05 else P.peer
    now_ms = NOW_MS
    if rng.random() < 0.2:
        end = rng.choice((fields[0].get(12), fields[0].get(13), record.get(8)))
        now_ms = (end if type(end) is int else 0) + rng.choice(
            (-120_001, -120_000, 120_000, 120_001)
        )
    shown = _sign(signer, "record", record) if rng.random() < 0.7 else b""
    return as_payload([encode(certs), shown, max(-(2**63), min(now_ms, 2**63))])


def _papers(data: bytes) -> None:
    chain, record, now_ms = _three(data)
    first = _first_on_papers(chain, record, now_ms)
    try:
        second.chain(chain, P.trust.network_id, now_ms, record or None)
        also, why = True, ""
    except second.No as word:
        also, why = False, str(word)
    VERDICTS["papers", also] += 1
    if first != also:
        raise Disagreement(f"the first says {first}, the second {also} ({why})")


def _three(data: bytes) -> tuple[bytes, bytes, int]:
    try:
        value = msgpack.unpackb(data)
        if isinstance(value, list) and [type(v) for v in value] == [bytes, bytes, int]:
            return value[0], value[1], value[2]
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
        pass
    return data, b"", NOW_MS


def _first_on_papers(chain: bytes, record: bytes, now_ms: int) -> bool:
    try:
        principal = verify(Chain.decode(chain), P.trust, now_ms)
        if record:
            verify_record(decode_record(record), principal, now_ms)
    except (CertificateRefused, RecordRefused):
        return False
    return True


# -- decisions ----------------------------------------------------------------------------------

_CHOICES = list(ballots.Choice)


def _electorates() -> list[ballots.Proposal]:
    rng = random.Random(5)
    found = []
    for number in range(12):
        electors = [
            Elector(v.peer_id, v.public_key, rng.choice((1, 1, 2, 5)), rng.random() < 0.3, "x")
            for v in VOTERS[: 1 + number % 4]
        ]
        found.append(
            ballots.Proposal.make(
                proposal_id=f"{number:032x}",
                cluster_id="lan",
                epoch=number,
                electors=electors,
                question="?",
                threshold=rng.choice(((1, 2), (2, 3), (3, 4))),
                round=number % 3,
                deadline_ms=1000,
                proposer=VOTERS[0].peer_id,
            )
        )
    return found


PROPOSALS = _electorates()


def _signed_ballots() -> dict[tuple[int, int, int], bytes]:
    """By proposal, voter and choice; also of voters that are no electors."""
    found = {}
    for place, proposal in enumerate(PROPOSALS):
        for voter, key in enumerate(VOTERS):
            for number, choice in enumerate(_CHOICES):
                body = statement(proposal, key.public_key, choice, "")
                found[place, voter, number] = sealed(body, key.sign("ballot", body))
    return found


BALLOTS = _signed_ballots()


def lying_decision(rng: random.Random) -> bytes:
    """Ballots that their voters signed, put together well or badly."""
    place = rng.randrange(len(PROPOSALS))
    proposal = PROPOSALS[place]
    size = len(proposal.electors)
    chosen: list[tuple[bytes, bytes]] = []
    usual = rng.choice((0, 0, 1, 2))
    for voter in range(size if rng.random() < 0.9 else 4):
        for _ in range(rng.choice((0, 1, 1, 1, 1, 2))):
            number = usual if rng.random() < 0.75 else rng.randrange(4)
            at = place if rng.random() < 0.97 else rng.randrange(len(PROPOSALS))
            chosen.append((VOTERS[voter].public_key, BALLOTS[at, voter, number]))
    if rng.random() < 0.95:
        chosen = sorted(set(chosen))
    outcome = rng.choice((1, 2, 3)) if rng.random() < 0.3 else (1, 2, 2)[usual]
    writer = Writer().fixed(b"CNBC\1", 5).u8(outcome).blob(proposal.raw).u32(len(chosen))
    for _, raw in chosen:
        writer.blob(raw)
    data = bytearray(writer.take())
    if rng.random() < 0.05:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _decision(data: bytes) -> None:
    try:
        first = str(ballots.verify(data, SCHEME).outcome)
    except ballots.CertificateInvalid:
        first = ""
    try:
        also, why = second.decision(data), ""
    except second.No as word:
        also, why = "", str(word)
    VERDICTS["decision", bool(also)] += 1
    if first != also:
        raise Disagreement(f"the first says {first or 'no'}, the second {also or 'no'} ({why})")


HARNESSES = [
    Harness(
        "second-opinion-papers",
        _papers,
        [as_payload([P.chain.encode(), P.record.raw, NOW_MS])],
        make=lying_papers,
    ),
    Harness(
        "second-opinion-decision",
        _decision,
        [lying_decision(random.Random(n)) for n in range(8)],
        make=lying_decision,
    ),
]
