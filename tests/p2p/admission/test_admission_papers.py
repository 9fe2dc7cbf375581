"""The handshake of two members: papers that are refused, and keys that are not held."""

from __future__ import annotations

from dataclasses import replace

import pytest
from admission_lab import (
    NOW_MS,
    PORTS,
    Heard,
    Network,
    curve,
    dialer,
    door,
    framed,
    meet,
    network,
    nonce,
    said,
    seeded,
    written,
)

from keys import TransportRecord
from keys.canonical import decode
from keys.canonical import encode as canonical
from keys.certificate import sign_certificate
from keys.identity import decode_id
from keys.issuing import make_issuer
from p2p.admission import (
    Credentials,
    RefusalCode,
)
from p2p.admission.checks import DIALER_DOMAIN, Transcript
from p2p.admission.messages import (
    DoorHello,
    Hello,
    Introduction,
    encode,
)

NET = network()
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def test_a_certificate_of_another_network_is_refused() -> None:
    stranger = replace(network(100).member(11), trust=NET.trust)
    # It would refuse the door itself; a liar does not.
    assert talk_as(stranger).code is RefusalCode.WRONG_NETWORK


def test_a_self_made_root_that_claims_our_network_is_refused() -> None:
    rogue = network(100)
    fields = decode(rogue.top.body, 4096)
    assert isinstance(fields, dict)
    claim = sign_certificate(rogue.root, {**fields, 4: decode_id(NET.trust.network_id)})
    middle = make_issuer(rogue.root, claim, rogue.issuer.public_key, "issuer", NOW_MS - HOUR_MS)
    chain = Network(rogue.root, rogue.issuer, claim, middle).chain_of(seeded(11), "node-11")
    heard = talk_as(replace(NET.member(11, chain=chain), trust=NET.trust))
    assert heard.code is RefusalCode.CERTIFICATE
    assert "root" in heard.refusal_text


def test_a_certificate_that_is_over_is_refused() -> None:
    heard = talk_as(NET.member(11), now_ms=NOW_MS + 91 * DAY_MS)
    assert heard.code is RefusalCode.CERTIFICATE
    assert "ended" in heard.refusal_text


def test_a_certificate_that_has_not_begun_is_refused() -> None:
    heard = talk_as(NET.member(11, now_ms=NOW_MS + 2 * HOUR_MS))
    assert heard.code is RefusalCode.CERTIFICATE
    assert "begins" in heard.refusal_text


def test_a_clock_two_minutes_behind_is_forgiven() -> None:
    called, heard = meet(
        dialer(NET.member(11, now_ms=NOW_MS + 6 * 60_000)), door(NET.member(10)), now_ms=NOW_MS
    )
    assert called.refusal is heard.refusal is None


def test_a_record_that_is_over_is_refused() -> None:
    caller = NET.member(11)
    heard = talk_as(caller, now_ms=NOW_MS + 25 * HOUR_MS)
    assert heard.code is RefusalCode.RECORD


def test_the_chain_of_one_with_the_record_of_another_is_refused() -> None:
    one, other = NET.member(11), NET.member(12)
    assert talk_as(replace(one, record=other.record)).code is RefusalCode.RECORD


def test_a_record_signed_by_another_key_is_refused() -> None:
    thief, victim = NET.member(12), NET.member(11)
    stolen = victim.record()
    forged = replace(stolen, raw=_resigned(stolen, thief))
    assert talk_as(replace(victim, record=lambda: forged)).code is RefusalCode.RECORD


def test_papers_of_another_are_refused_without_its_key() -> None:
    thief, victim = NET.member(12), NET.member(11)
    assert talk_as(replace(victim, identity=thief.identity)).code is RefusalCode.BAD_PROOF


def test_a_door_with_the_papers_of_another_is_refused_without_its_key() -> None:
    thief, victim = NET.member(12), NET.member(10)
    called, _ = meet(dialer(NET.member(11)), door(replace(victim, identity=thief.identity)))
    assert called.code is RefusalCode.BAD_PROOF
    assert called.sessions == []
    assert "Verified" in called.kinds, "the papers alone are good"


def test_the_transport_key_of_another_is_refused_without_its_secret() -> None:
    """Else a member could keep its owner out of this peer, by being first."""
    thief = NET.member(12, curve_seed=11)
    own = NET.member(12)
    heard = talk_as(replace(thief, transport_keys=own.transport_keys))
    assert heard.code is RefusalCode.BAD_PROOF
    assert "does not hold the transport key" in heard.refusal_text
    assert heard.sessions == []


def test_a_door_with_the_transport_key_of_another_is_refused() -> None:
    thief = replace(NET.member(10, curve_seed=13), transport_keys=NET.member(10).transport_keys)
    called, _ = meet(dialer(NET.member(11)), door(thief))
    assert called.code is RefusalCode.BAD_PROOF
    assert called.sessions == []


@pytest.mark.parametrize(
    "small", [bytes(32), b"\x01" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"]
)
def test_a_key_that_shares_the_same_with_everybody_proves_nothing(small: bytes) -> None:
    own = NET.member(12)
    record = TransportRecord.make(
        own.identity,
        own.chain,
        sequence=1,
        curve_public=small,
        hosts=["192.0.2.9"],
        ports=PORTS,
        now_ms=NOW_MS,
    )
    assert talk_as(replace(own, record=lambda: record)).code is RefusalCode.BAD_PROOF
    called, _ = meet(dialer(NET.member(11)), door(replace(own, record=lambda: record)))
    assert called.code is RefusalCode.BAD_PROOF


def test_what_proves_a_key_at_one_knock_does_not_at_another() -> None:
    caller, first, second = dialer(NET.member(11)), door(NET.member(10)), door(NET.member(13))
    hello = written(caller.start())
    effects = caller.receive(written(first.receive(hello, NOW_MS)), NOW_MS)
    [introduction] = said(effects)
    assert isinstance(introduction, Introduction)
    second.receive(hello, NOW_MS)
    assert Heard(second.receive(framed(introduction), NOW_MS)).code is RefusalCode.BAD_PROOF


def test_a_caller_with_good_papers_passes_where_the_liars_fail() -> None:
    assert talk_as(NET.member(11)).kinds == ["Admit", "Send", "Close"]


def test_a_liar_is_told_and_not_admitted() -> None:
    liar = replace(NET.member(11), identity=seeded(12))
    assert talk_as(liar).kinds == ["Send", "Close"]


def talk_as(caller: Credentials, *, now_ms: int = NOW_MS) -> Heard:
    """What the door makes of a caller that says what it likes and checks nothing itself."""
    callee = door(NET.member(10))
    transcript = Transcript()
    hello = encode(Hello(NET.trust.network_id, nonce(1)))
    transcript.add(hello, from_door=False)
    [answer] = said(callee.receive(framed(Hello(NET.trust.network_id, nonce(1))), now_ms))
    transcript.add(encode(answer), from_door=True)
    assert isinstance(answer, DoorHello)
    record, chain = caller.record().raw, caller.chain.encode()
    digest = transcript.digest_with(record, chain)
    proof = caller.identity.sign(DIALER_DOMAIN, digest)
    tag = caller.transport_keys()[0].tag(curve(10), DIALER_DOMAIN, digest)
    assert tag is not None
    return Heard(callee.receive(framed(Introduction(record, chain, proof, tag)), now_ms))


def _resigned(record: TransportRecord, thief: Credentials) -> bytes:
    return canonical([record.body, thief.identity.sign("record", record.body)])
