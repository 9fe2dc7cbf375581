"""Transport records: who signed, for which certificate, and until when."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keys_lab import BOTH, HOUR_MS, NOW_MS, PORTS, fields_of, key, lab

from keys import TransportRecord, decode_record, verify, verify_record
from keys.canonical import encode
from keys.errors import InvalidValue, RecordRefused
from keys.issuing import make_peer
from keys.record import MAX_RECORD_BYTES, Ports
from keys.refusals import (
    RecordBadSignature,
    RecordExpired,
    RecordLivesTooLong,
    RecordMalformed,
    RecordNotYetValid,
    RecordOfOtherCertificate,
    RecordOfOtherPeer,
    RecordTooLarge,
)
from keys.trust import SKEW_MS, Chain

LAB = lab()
RECORD = LAB.record()
PRINCIPAL = LAB.principal


def resigned(**changes: object) -> TransportRecord:
    """The record with fields changed, signed by its peer."""
    numbers = {int(name[1:]): value for name, value in changes.items()}
    body = encode({**fields_of(RECORD.body), **numbers})
    return decode_record(encode([body, LAB.peer.sign("record", body)]))


def make(**changes: object) -> TransportRecord:
    arguments: dict[str, object] = {
        "sequence": 1,
        "curve_public": bytes(32),
        "hosts": ["192.0.2.1"],
        "ports": PORTS,
        "now_ms": NOW_MS,
    }
    return TransportRecord.make(LAB.peer, LAB.chain, **{**arguments, **changes})  # type: ignore[arg-type]


def test_a_record_says_what_it_was_made_with() -> None:
    record = decode_record(RECORD.raw)
    assert record == RECORD
    assert record.hosts == ("192.0.2.7", "fe80::7")
    assert dict(record.ports) == PORTS
    assert record.certificate_hash == LAB.leaf.digest
    assert record.not_after_ms - record.not_before_ms <= 24 * HOUR_MS
    verify_record(record, PRINCIPAL, NOW_MS)


def test_the_ports_of_a_record_cannot_be_changed_afterwards() -> None:
    with pytest.raises(TypeError):
        RECORD.ports["door"] = 1  # type: ignore[index]


@given(st.dictionaries(st.text(min_size=1), st.integers(1, 65535), max_size=8))
def test_ports_are_a_map_in_its_order(said: dict[str, int]) -> None:
    ports = Ports(said)
    assert ports == said
    assert list(ports.items()) == list(said.items())
    assert ports == Ports(dict(reversed(said.items())))
    assert ports.get("no such name") is None
    with pytest.raises(KeyError):
        ports["no such name"]


def test_what_many_records_say_is_held_once() -> None:
    one = decode_record(bytes(bytearray(RECORD.raw)))
    assert one.hosts[0] is RECORD.hosts[0]
    assert all(a is b for a, b in zip(one.ports, RECORD.ports, strict=True))


def test_a_record_is_of_one_peer() -> None:
    with pytest.raises(RecordOfOtherPeer):
        verify_record(lab(11).record(), PRINCIPAL, NOW_MS)


def test_a_record_that_claims_anothers_id_is_refused_by_its_signature() -> None:
    body = RECORD.body
    forged = decode_record(encode([body, key(9).sign("record", body)]))
    with pytest.raises(RecordBadSignature):
        verify_record(forged, PRINCIPAL, NOW_MS)


def test_a_signature_for_another_purpose_does_not_sign_a_record() -> None:
    body = RECORD.body
    forged = decode_record(encode([body, LAB.peer.sign("certificate", body)]))
    with pytest.raises(RecordBadSignature):
        verify_record(forged, PRINCIPAL, NOW_MS)


def test_a_record_does_not_outlive_the_certificate_it_was_made_for() -> None:
    renewed = make_peer(LAB.issuer, LAB.middle, LAB.peer.public_key, "alpha", BOTH, NOW_MS)
    principal = verify(Chain((renewed, LAB.middle, LAB.top)), LAB.trust, NOW_MS)
    with pytest.raises(RecordOfOtherCertificate):
        verify_record(RECORD, principal, NOW_MS)


def test_a_record_ends_with_its_certificate() -> None:
    late_ms = LAB.leaf.not_after_ms - HOUR_MS
    assert make(now_ms=late_ms).not_after_ms == LAB.leaf.not_after_ms


def test_a_record_of_more_than_a_day_is_refused() -> None:
    with pytest.raises(RecordLivesTooLong):
        verify_record(resigned(f8=RECORD.not_before_ms + 24 * HOUR_MS + 1), PRINCIPAL, NOW_MS)
    with pytest.raises(InvalidValue):
        make(lifetime_ms=24 * HOUR_MS)


def test_clocks_may_differ_by_two_minutes_and_no_more() -> None:
    first_ms, last_ms = RECORD.not_before_ms - SKEW_MS, RECORD.not_after_ms + SKEW_MS
    verify_record(RECORD, PRINCIPAL, first_ms)
    verify_record(RECORD, PRINCIPAL, last_ms)
    with pytest.raises(RecordNotYetValid):
        verify_record(RECORD, PRINCIPAL, first_ms - 1)
    with pytest.raises(RecordExpired):
        verify_record(RECORD, PRINCIPAL, last_ms + 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"f1": 2},
        {"f2": bytes(31)},
        {"f3": 0},
        {"f3": 2**53},
        {"f3": 2**63},
        {"f4": bytes(31)},
        {"f5": ["host"] * 9},
        {"f5": ["a b"]},
        {"f5": [""]},
        {"f5": ["x" * 254]},
        {"f5": "192.0.2.1"},
        {"f6": {"door": 1, "control": 2, "data": 3}},
        {"f6": {**PORTS, "door": 0}},
        {"f6": {**PORTS, "door": 65536}},
        {"f6": {**PORTS, "door": "4747"}},
        {"f6": {**PORTS, "Bulk": 1}},
        {"f6": {1: 2}},
        {"f7": RECORD.not_after_ms},
        {"f9": b""},
        {"f10": 1},
    ],
)
def test_a_field_out_of_its_bounds_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(RecordMalformed):
        resigned(**changes)


def test_ports_of_later_lanes_are_kept() -> None:
    assert make(ports={**PORTS, "bulk": 4751}).ports["bulk"] == 4751


@pytest.mark.parametrize(
    "changes",
    [
        {"sequence": 0},
        {"sequence": 2**70},
        {"sequence": 1.5},
        {"curve_public": b""},
        {"hosts": ["x"] * 9},
        {"hosts": ["a b"]},
        {"ports": {}},
        {"hosts": [f"{at}{'x' * 250}" for at in range(8)], "ports": PORTS},
        {"now_ms": LAB.leaf.not_after_ms + 600_000},
    ],
)
def test_misuse_is_told_to_the_one_who_makes_the_record(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidValue):
        make(**changes)


def test_a_record_is_made_by_the_holder_of_the_certificate_only() -> None:
    with pytest.raises(InvalidValue, match="alpha"):
        TransportRecord.make(
            key(9),
            LAB.chain,
            sequence=1,
            curve_public=bytes(32),
            hosts=[],
            ports=PORTS,
            now_ms=NOW_MS,
        )


def test_no_bit_of_a_record_can_be_changed() -> None:
    for position in range(len(RECORD.raw)):
        for bit in range(8):
            changed = bytearray(RECORD.raw)
            changed[position] ^= 1 << bit
            with pytest.raises(RecordRefused):
                verify_record(decode_record(bytes(changed)), PRINCIPAL, NOW_MS)


@given(st.binary(max_size=400))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(RecordRefused):
        decode_record(data)


def test_a_record_that_is_too_large_is_refused_unread() -> None:
    with pytest.raises(RecordTooLarge):
        decode_record(bytes(MAX_RECORD_BYTES + 1))


def test_records_are_compared_by_all_they_say() -> None:
    assert replace(RECORD, sequence=8) != RECORD
    assert hash(RECORD) == hash(decode_record(RECORD.raw))
