"""Signing keys, ids, and what a signature covers."""

from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keys_lab import key
from nacl.bindings import crypto_scalarmult_base

from keys import Identity, TransportKey, network_id_of, peer_id_of, verify_signature
from keys.errors import InvalidValue
from keys.identity import decode_id, encode_id

ORDER = 2**252 + 27742317777372353535851937790883648493


def test_a_key_of_rfc_8032_has_its_public_key() -> None:
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    assert Identity.from_secret(secret).public_key.hex() == (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    )


def test_a_peer_id_is_the_fingerprint_of_the_key_in_52_characters() -> None:
    peer = key(3)
    digest = hashlib.blake2b(peer.public_key, digest_size=32).digest()
    assert len(peer.peer_id) == 52
    assert decode_id(peer.peer_id) == digest
    assert peer_id_of(peer.public_key) == peer.peer_id == network_id_of(peer.public_key)


def test_a_signature_holds_for_its_key_domain_and_body_only() -> None:
    peer, other = key(3), key(4)
    signature = peer.sign("record", b"body")
    assert verify_signature(peer.public_key, "record", b"body", signature)
    assert not verify_signature(other.public_key, "record", b"body", signature)
    assert not verify_signature(peer.public_key, "roster", b"body", signature)
    assert not verify_signature(peer.public_key, "record", b"Body", signature)
    assert not verify_signature(peer.public_key, "record", b"body", signature[::-1])


def test_a_domain_cannot_run_over_into_the_body() -> None:
    with pytest.raises(AssertionError):
        key(3).sign("record/v1\0more", b"")


@given(st.binary(max_size=70), st.binary(max_size=70))
def test_keys_and_signatures_of_any_length_are_answered_with_no(
    public_key: bytes, signature: bytes
) -> None:
    assert not verify_signature(public_key, "record", b"body", signature)


def test_the_second_form_of_a_signature_is_refused() -> None:
    """S + L verifies in a naive implementation, and gives one message two signatures."""
    peer = key(3)
    signature = peer.sign("record", b"body")
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    twin = signature[:32] + scalar.to_bytes(32, "little")
    assert not verify_signature(peer.public_key, "record", b"body", twin)


@pytest.mark.parametrize(
    "point",
    [
        bytes(32),
        b"\x01" + bytes(31),
        b"\xec" + b"\xff" * 30 + b"\x7f",
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    ],
)
def test_a_key_of_small_order_signs_nothing(point: bytes) -> None:
    """With such a key the signature (R = the key, S = 0) fits many messages."""
    for body in (b"a", b"b", b"c", b"d"):
        for first in (point, b"\x01" + bytes(31)):
            assert not verify_signature(point, "record", body, first + bytes(32))


def test_a_secret_comes_back_as_the_same_key() -> None:
    identity, transport = Identity.generate(), TransportKey.generate()
    assert Identity.from_secret(identity.export_secret()).peer_id == identity.peer_id
    assert TransportKey.from_secret(transport.export_secret()).public == transport.public
    assert crypto_scalarmult_base(transport.export_secret()) == transport.public


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_secret_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(InvalidValue):
        Identity.from_secret(bytes(length))
    with pytest.raises(InvalidValue):
        TransportKey.from_secret(bytes(length))


@given(st.binary(min_size=32, max_size=32))
def test_an_id_decodes_to_its_fingerprint(digest: bytes) -> None:
    assert decode_id(encode_id(digest)) == digest


@given(st.text(max_size=60))
def test_text_that_is_no_id_is_refused_with_one_error(text: str) -> None:
    with contextlib.suppress(InvalidValue):
        assert encode_id(decode_id(text)) == text


def test_an_id_has_one_way_to_be_written() -> None:
    text = encode_id(bytes(32))
    for other in (text.upper(), text[:-1], text + "a", text + "====", text[:-1] + "b", "ß" * 52):
        with pytest.raises(InvalidValue):
            decode_id(other)


def test_a_tag_is_for_one_reader_one_domain_and_one_body() -> None:
    one, two, three = (TransportKey.from_secret(bytes([each]) * 32) for each in (1, 2, 3))
    tag = one.tag(two.public, "introduction", b"body")
    assert tag is not None
    assert two.verify_tag(one.public, "introduction", b"body", tag)
    assert not two.verify_tag(one.public, "welcome", b"body", tag)
    assert not two.verify_tag(one.public, "introduction", b"Body", tag)
    assert not two.verify_tag(three.public, "introduction", b"body", tag)
    assert not three.verify_tag(one.public, "introduction", b"body", tag)
    assert not two.verify_tag(one.public, "introduction", b"body", tag[:-1])


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_keys_and_tags_of_any_length_are_answered_with_no(public: bytes, tag: bytes) -> None:
    assert not TransportKey.from_secret(b"\x05" * 32).verify_tag(public, "welcome", b"b", tag)
