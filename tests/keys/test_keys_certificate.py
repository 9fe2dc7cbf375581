"""Certificates alone: what is well formed, and that no bit of a chain can change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keys_lab import BOTH, NOW_MS, fields_of, forge, key, lab

from keys import Certificate, CertificateKind, Chain, Identity, Role, verify
from keys.canonical import encode
from keys.certificate import MAX_CERTIFICATE_BYTES
from keys.errors import CertificateRefused, InvalidName, InvalidValue
from keys.issuing import make_issuer, make_peer
from keys.refusals import (
    CertificateMalformed,
    CertificateTooLarge,
    NameRefused,
    UnknownVersion,
)

LAB = lab()


def signed(body: bytes) -> bytes:
    return encode([body, LAB.issuer.sign("certificate", body)])


def test_a_certificate_says_what_it_was_made_with() -> None:
    leaf = Certificate.decode(LAB.leaf.raw)
    assert leaf == LAB.leaf
    assert (leaf.kind, leaf.name, leaf.roles) == (CertificateKind.PEER, "alpha", BOTH)
    assert leaf.peer_id == LAB.peer.peer_id
    assert leaf.issuer_key_id == LAB.middle.key_id
    assert len(leaf.raw) < 300


def test_the_digest_does_not_depend_on_the_signature() -> None:
    again = Certificate.decode(encode([LAB.leaf.body, bytes(64)]))
    assert again.digest == LAB.leaf.digest
    assert not again.is_signed_by(LAB.middle.authority)


def test_a_certificate_that_is_too_large_is_refused_unread() -> None:
    with pytest.raises(CertificateTooLarge):
        Certificate.decode(b"\xc1" * (MAX_CERTIFICATE_BYTES + 1))


def test_a_version_that_is_not_known_is_named_before_its_fields_are_read() -> None:
    with pytest.raises(UnknownVersion, match="version 2"):
        Certificate.decode(signed(encode({1: 2, 99: "new"})))


@pytest.mark.parametrize("field", range(1, 18))
def test_a_missing_field_is_refused(field: int) -> None:
    fields = fields_of(LAB.leaf.body)
    del fields[field]
    with pytest.raises(CertificateMalformed):
        Certificate.decode(signed(encode(fields)))


@pytest.mark.parametrize(
    "changes",
    [
        {"f18": 1},  # a field that nobody knows
        {"f2": 4},
        {"f3": bytes(15)},
        {"f4": bytes(31)},
        {"f6": bytes(33)},
        {"f6": bytes(32)},  # not the key that the peer id names
        {"f7": bytes(32)},
        {"f9": 16},  # a role that nobody knows
        {"f9": -1},
        {"f9": "admin"},
        {"f10": ["b", "a"]},
        {"f10": ["A"]},
        {"f10": [1]},
        {"f11": bytes(31)},
        {"f12": 2**53},
        {"f12": LAB.leaf.not_after_ms},  # ends as it begins
        {"f14": 1},  # a peer that may issue
        {"f15": 1},
        {"f15": 2},
        {"f16": {"x": 1}},
        {"f17": {"x": bytes(513)}},
        {"f17": {1: b""}},
        {"f17": {f"x{at}": b"" for at in range(9)}},
    ],
)
def test_a_field_out_of_its_bounds_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(CertificateMalformed):
        forge(LAB.issuer, LAB.leaf, **changes)


def test_a_signing_certificate_with_roles_of_its_own_is_refused() -> None:
    with pytest.raises(CertificateMalformed, match="roles for itself"):
        forge(LAB.root, LAB.middle, f9=1)


@pytest.mark.parametrize("name", ["", "a\0b", "\u202e", "x" * 64, "a b"])
def test_a_name_that_could_deceive_is_refused_and_quoted_escaped(name: str) -> None:
    for changes in ({"f8": name}, {"f5": name}):
        with pytest.raises(NameRefused) as refused:
            forge(LAB.issuer, LAB.leaf, **changes)
        assert str(refused.value).isprintable()


@given(st.binary(max_size=600))
def test_random_bytes_are_refused_as_a_certificate_and_as_a_chain(data: bytes) -> None:
    for read in (Certificate.decode, Chain.decode):
        with pytest.raises(CertificateRefused):
            read(data)


@given(st.dictionaries(st.integers(0, 20), st.integers() | st.binary() | st.text(), max_size=18))
def test_random_fields_are_refused(fields: dict[int, object]) -> None:
    try:
        body = encode(fields)
    except ValueError:
        return
    with pytest.raises(CertificateRefused):
        Certificate.decode(signed(body))


def test_no_bit_of_a_chain_can_be_changed() -> None:
    whole = LAB.chain.encode()
    for position in range(len(whole)):
        for bit in (0, 3, 7):
            changed = bytearray(whole)
            changed[position] ^= 1 << bit
            with pytest.raises(CertificateRefused):
                verify(Chain.decode(bytes(changed)), LAB.trust, NOW_MS)


def test_a_chain_cut_off_anywhere_is_refused() -> None:
    whole = LAB.chain.encode()
    for length in range(len(whole)):
        with pytest.raises(CertificateRefused):
            Chain.decode(whole[:length])


def test_the_same_arguments_and_serial_give_the_same_certificate() -> None:
    again = make_peer(
        LAB.issuer,
        LAB.middle,
        LAB.peer.public_key,
        "alpha",
        BOTH,
        NOW_MS,
        serial=LAB.leaf.serial,
    )
    assert again.raw == LAB.leaf.raw


def test_serials_are_drawn_at_random() -> None:
    made = {
        make_peer(LAB.issuer, LAB.middle, LAB.peer.public_key, "alpha", BOTH, NOW_MS).serial
        for _ in range(3)
    }
    assert len(made) == 3


def test_an_issuer_cannot_be_asked_for_more_than_it_has() -> None:
    narrow = make_issuer(
        LAB.root,
        LAB.top,
        LAB.issuer.public_key,
        "narrow",
        NOW_MS,
        max_roles=Role.SERVICE,
        namespaces=["shop"],
    )
    public_key = LAB.peer.public_key
    with pytest.raises(InvalidValue, match="roles"):
        make_peer(LAB.issuer, narrow, public_key, "a", BOTH, NOW_MS, namespaces=["shop"])
    with pytest.raises(InvalidValue, match="namespaces"):
        make_peer(LAB.issuer, narrow, public_key, "a", Role.SERVICE, NOW_MS)
    with pytest.raises(InvalidValue, match="namespaces"):
        make_peer(LAB.issuer, narrow, public_key, "a", Role.SERVICE, NOW_MS, namespaces=["S"])
    with pytest.raises(InvalidValue, match="key"):
        make_peer(key(9), LAB.middle, public_key, "a", Role.SERVICE, NOW_MS)
    with pytest.raises(InvalidName):
        make_peer(LAB.issuer, LAB.middle, public_key, "a b", Role.SERVICE, NOW_MS)
    late_ms = LAB.middle.not_after_ms + 600_000
    with pytest.raises(InvalidValue, match="over"):
        make_peer(LAB.issuer, LAB.middle, public_key, "a", Role.SERVICE, late_ms)


def test_a_peer_certificate_is_cut_to_its_issuers_validity() -> None:
    late_ms = LAB.middle.not_after_ms - 1000
    made = make_peer(LAB.issuer, LAB.middle, Identity.generate().public_key, "a", BOTH, late_ms)
    assert made.not_after_ms == LAB.middle.not_after_ms
    early = make_peer(LAB.issuer, LAB.middle, Identity.generate().public_key, "a", BOTH, NOW_MS)
    assert early.not_before_ms == LAB.middle.not_before_ms
