"""Two verifiers of decisions on the same input: what they say must not differ."""

from __future__ import annotations

import random

from fuzz_ballots import SCHEME, VOTERS
from fuzz_lab import Harness
from fuzz_opinions import VERDICTS, Disagreement

import consensus.ballots as ballots
from consensus.ballots.ballot import sealed, statement
from consensus.ballots.proposal import Elector
from consensus.ballots.wire import Writer
from keys import second_opinion as second
from keys.identity import encode_id as id_of
from keys.identity import fingerprint

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
    if rng.random() < 0.3:
        return odd_decision(rng)
    place = rng.randrange(len(PROPOSALS))
    proposal = PROPOSALS[place]
    size = len(proposal.electors)
    chosen: list[tuple[bytes, bytes]] = []
    usual = rng.choice((0, 0, 1, 2))
    for voter in range(size if rng.random() < 0.9 else 4):
        for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 3))):
            number = usual if rng.random() < 0.75 else rng.randrange(4)
            at = place if rng.random() < 0.97 else rng.randrange(len(PROPOSALS))
            chosen.append((VOTERS[voter].public_key, BALLOTS[at, voter, number]))
    if rng.random() < 0.95:
        chosen = sorted(set(chosen))
    outcome = rng.choice((1, 2, 3)) if rng.random() < 0.3 else (1, 2, 2)[usual]
    data = bytearray(_certificate(outcome, proposal.raw, [raw for _, raw in chosen]))
    if rng.random() < 0.05:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _certificate(outcome: int, proposal: bytes, raws: list[bytes]) -> bytes:
    writer = Writer().fixed(b"CNBC\1", 5).u8(outcome).blob(proposal).u32(len(raws))
    for raw in raws:
        writer.blob(raw)
    return writer.take()


def odd_decision(rng: random.Random) -> bytes:
    """A proposal at or beyond its bounds, on which everybody said yes and signed it."""
    lie, victim = rng.randrange(24), rng.choice(VOTERS[:3])

    def number(width: int, usual: int, place: int, *odd: int) -> bytes:
        return (rng.choice(odd) if lie == place else usual).to_bytes(width, "big")

    def text(usual: bytes, place: int, *odd: bytes) -> bytes:
        said = rng.choice(odd) if lie == place else usual
        return len(said).to_bytes(4, "big") + said

    cluster, ident = text(b"lan", 0, b"", b"x" * 256, b"x" * 257, b"\xff"), bytes(16)
    epoch = number(8, 7, 1, 0, 2**53 - 1, 2**53)
    electors = []
    for voter in VOTERS[:3]:
        key = voter.public_key
        if lie == 2 and voter is victim:  # small order, mixed order, no point, another form
            key = rng.choice((bytes(32), b"\1" + bytes(31), b"\2" + bytes(31), b"\xff" * 32))
        name = b"wrong" if lie == 3 and voter is victim else id_of(fingerprint(key)).encode()
        said = len(name).to_bytes(4, "big") + name + key
        weight = number(4, 1, 4, 0, 2**31 - 1, 2**31)
        electors.append(said + weight + number(1, 0, 5, 1, 2) + text(b"n", 6, b"", b"n" * 257))
    electors.sort(reverse=lie == 7)
    if lie == 8:
        electors = [electors[0]] * 3
    block = number(4, 3, 9, 0, 2, 4, 129) + b"".join(electors)
    over = rng.choice(((0, 1), (1, 2), (1, 3), (3, 3), (500_000, 1_000_001)))
    numerator, denominator = over if lie == 10 else (1, 2)
    rest = numerator.to_bytes(4, "big") + denominator.to_bytes(4, "big")
    rest += text(b"?", 11, b"", b"?" * 4096, b"?" * 4097) + text(b"", 12, b"\xff" * 65_536)
    round_number = number(4, 2, 14, 2**31 - 1, 2**31)
    rest += text(b"", 13, b"k" * 64, b"k" * 65) + round_number
    rest += number(8, 1000, 15, 0, 1, 2**53 - 1, 2**53) + text(b"me", 16, b"", b"m" * 257)
    raw = b"CNBP\1" + ident + cluster + epoch + block + rest + (b"\0" if lie == 17 else b"")
    begin = cluster + epoch + _named(b"electorate", block) + ident + _named(b"proposal", raw)
    made = []
    for voter in VOTERS[:3]:
        if lie == 2 and voter is victim:
            continue
        reason = text(b"", 18, b"r" * 1024, b"r" * 1025, b"\xff")
        body = begin + b"\1" + round_number + voter.public_key + reason
        body += b"\0" if lie == 19 else b""
        ballot = sealed(body, voter.sign("ballot", body)) + (b"\0" if lie == 20 else b"")
        made.append((voter.public_key, ballot))
    return _certificate(1, raw, [each for _, each in sorted(made)])


def _named(domain: bytes, data: bytes) -> bytes:
    return fingerprint(b"conclave/" + domain + b"/v1\0" + data)


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
        "second-opinion-decision",
        _decision,
        [lying_decision(random.Random(n)) for n in range(8)],
        make=lying_decision,
    ),
]
