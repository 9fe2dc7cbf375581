"""Sealed messages: who opens them, and everything that is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keys_lab import NOW_MS, key
from nacl import bindings
from sealing_lab import ADA, BOB, EPOCH, EVE, MEMBERS, Member, joined, parts

from keys import InvalidValue
from keys.canonical import decode, encode
from keys.identity import decode_id
from keys.sealing import (
    SealedBadSignature,
    SealedByStranger,
    SealedDamaged,
    SealedForOtherPurpose,
    SealedForOthers,
    SealedMalformed,
    SealedRefused,
    SealedUnknownSuite,
    SealingKeyGone,
    Stamp,
    open_message,
    seal_message,
)
from keys.sealing import message as made
from keys.sealing.suites import seal_for

ANYTHING = st.binary(max_size=300)


@settings(max_examples=25, deadline=None)
@given(ANYTHING, st.text(min_size=1, max_size=40))
def test_what_was_sealed_opens_for_its_reader(payload: bytes, purpose: str) -> None:
    opened = BOB.open(ADA.seal(BOB, payload=payload, purpose=purpose), purpose)
    assert (opened.sender, opened.payload, opened.purpose) == (ADA.peer_id, payload, purpose)
    assert opened.stamp == Stamp(EPOCH, 1, NOW_MS)


def test_each_of_several_readers_opens_the_same_message() -> None:
    data = ADA.seal(BOB, EVE, ADA)
    for reader in (ADA, BOB, EVE):
        opened = reader.open(data)
        assert opened.payload == b"hello"
        assert set(opened.readers) == {ADA.peer_id, BOB.peer_id, EVE.peer_id}


SAMPLE = ADA.seal(BOB)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(SAMPLE) * 8 - 1))
def test_any_bit_that_flips_is_refused(bit: int) -> None:
    changed = bytearray(SAMPLE)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealedRefused):
        BOB.open(bytes(changed))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(SAMPLE) - 1))
def test_what_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(SealedMalformed):
        BOB.open(SAMPLE[:length])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(SealedMalformed):
        BOB.open(data)


def test_another_peer_cannot_open_it() -> None:
    with pytest.raises(SealedForOthers, match="sealed for 1 other"):
        EVE.open(SAMPLE)


def test_it_is_not_taken_for_another_purpose() -> None:
    with pytest.raises(SealedForOtherPurpose, match="'test' and was shown as 'pay'"):
        BOB.open(SAMPLE, "pay")


def test_the_purpose_cannot_be_rewritten() -> None:
    header, lids, box = parts(SAMPLE)
    fields = decode(header, 4096)
    assert isinstance(fields, dict)
    with pytest.raises(SealedDamaged):
        BOB.open(joined(encode({**fields, 2: "pay"}), lids, box), "pay")


def test_a_suite_that_is_not_the_keys_is_refused() -> None:
    header, lids, box = parts(SAMPLE)
    fields = decode(header, 4096)
    assert isinstance(fields, dict)
    for suite in (0, 2, 77):
        other = encode({**fields, 3: [[decode_id(BOB.peer_id), suite, BOB.seed]]})
        with pytest.raises(SealedUnknownSuite):
            BOB.open(joined(other, lids, box))


def test_a_key_that_was_thrown_away_is_named() -> None:
    with pytest.raises(SealingKeyGone, match="the key 12"):
        open_message(SAMPLE, BOB.peer_id, "test", lambda n: None, lambda p, c: None)


def test_a_stranger_is_no_sender() -> None:
    with pytest.raises(SealedByStranger):
        BOB.open(Member(44).seal(BOB))


def opened_inside(data: bytes, reader: Member) -> tuple[bytes, bytes, bytes]:
    """What a reader finds: the content key, the body and the signature."""
    header, lids, box = parts(data)
    content_key = reader.secret.unseal(made._info(reader.peer_id, header), lids[0])
    inside = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
        box, header, bytes(24), content_key
    )
    value = decode(inside, 1 << 21)
    assert isinstance(value, list)
    return content_key, value[0], value[1]


CONTENT_KEY = bytes(range(32))


def header_for(purpose: str, *readers: list[object]) -> bytes:
    commitment = made._commitment(CONTENT_KEY)
    return encode({1: 1, 2: purpose, 3: sorted(readers, key=lambda r: r[0]), 4: commitment})


def test_a_suite_that_only_another_reader_knows_hinders_nobody() -> None:
    newer = [decode_id(EVE.peer_id), 9, EVE.seed]
    _, body, _ = opened_inside(SAMPLE, BOB)
    header = header_for("test", [decode_id(BOB.peer_id), 1, BOB.seed], newer)
    info = made._info(BOB.peer_id, header)
    signature = ADA.identity.sign(made.DOMAIN, encode([header, body]))
    lids = [seal_for(BOB.suite, BOB.secret.public, info, CONTENT_KEY)]
    ids = [item[0] for item in decode(header, 4096)[3]]  # type: ignore[index]
    lids.insert(ids.index(newer[0]), b"of a suite to come")
    box = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        encode([body, signature]), header, bytes(24), CONTENT_KEY
    )
    data = joined(header, lids, box)
    assert BOB.open(data).payload == b"hello"
    with pytest.raises(SealedUnknownSuite):
        EVE.open(data)


def sealed_again(reader: Member, purpose: str, body: bytes, signature: bytes) -> bytes:
    """As a member would that has got hold of a body and a signature."""
    header = header_for(purpose, [decode_id(reader.peer_id), 1, reader.seed])
    info = made._info(reader.peer_id, header)
    lid = seal_for(reader.suite, reader.secret.public, info, CONTENT_KEY)
    box = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        encode([body, signature]), header, bytes(24), CONTENT_KEY
    )
    return joined(header, [lid], box)


def test_a_reader_cannot_forward_it_as_if_it_was_meant_for_another() -> None:
    _, body, signature = opened_inside(SAMPLE, BOB)
    with pytest.raises(SealedBadSignature):
        EVE.open(sealed_again(EVE, "test", body, signature))


def test_a_reader_cannot_turn_it_to_another_purpose() -> None:
    _, body, signature = opened_inside(SAMPLE, BOB)
    with pytest.raises(SealedBadSignature):
        BOB.open(sealed_again(BOB, "pay", body, signature), "pay")


def test_it_cannot_be_reflected_to_its_sender() -> None:
    with pytest.raises(SealedForOthers):
        ADA.open(SAMPLE)
    _, body, signature = opened_inside(SAMPLE, BOB)
    with pytest.raises(SealedBadSignature):
        ADA.open(sealed_again(ADA, "test", body, signature))


def test_another_member_cannot_sign_what_ada_has_sealed() -> None:
    _, body, _ = opened_inside(SAMPLE, BOB)
    header, _, _ = parts(SAMPLE)
    by_eve = EVE.identity.sign(made.DOMAIN, encode([header, body]))
    with pytest.raises(SealedBadSignature):
        BOB.open(sealed_again(BOB, "test", body, by_eve))


def test_a_signature_for_another_domain_is_none() -> None:
    header, _, _ = parts(SAMPLE)
    _, body, _ = opened_inside(SAMPLE, BOB)
    signed = ADA.identity.sign("record", encode([header, body]))
    with pytest.raises(SealedBadSignature):
        BOB.open(sealed_again(BOB, "test", body, signed))


def test_a_content_key_that_the_header_does_not_commit_to_is_refused() -> None:
    """Else a sender could make one box that two keys open to two texts, and sign both."""
    readers = [[decode_id(BOB.peer_id), 1, BOB.seed]]
    for committed in (CONTENT_KEY, bytes(32)):
        header = encode({1: 1, 2: "test", 3: readers, 4: made._commitment(committed)})
        _, body, _ = opened_inside(SAMPLE, BOB)
        signature = ADA.identity.sign(made.DOMAIN, encode([header, body]))
        box = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
            encode([body, signature]), header, bytes(24), CONTENT_KEY
        )
        info = made._info(BOB.peer_id, header)
        lid = seal_for(BOB.suite, BOB.secret.public, info, CONTENT_KEY)
        if committed == CONTENT_KEY:
            assert BOB.open(joined(header, [lid], box)).payload == b"hello"
        else:
            with pytest.raises(SealedDamaged):
                BOB.open(joined(header, [lid], box))


def test_the_key_of_another_reader_does_not_open_ours() -> None:
    header, lids, box = parts(ADA.seal(BOB, EVE))
    with pytest.raises(SealedDamaged):
        BOB.open(joined(header, lids[::-1], box))
    with pytest.raises(SealedMalformed):
        BOB.open(joined(header, lids[:1], box))


def test_readers_are_in_order_and_each_once() -> None:
    header, lids, box = parts(ADA.seal(BOB, EVE))
    fields = decode(header, 4096)
    assert isinstance(fields, dict)
    readers = fields[3]
    for wrong in (readers[::-1], [readers[0]] * 2, []):
        with pytest.raises(SealedMalformed):
            BOB.open(joined(encode({**fields, 3: wrong}), lids[: len(wrong)], box))


def test_unknown_fields_and_versions_are_refused() -> None:
    header, lids, box = parts(SAMPLE)
    fields = decode(header, 4096)
    assert isinstance(fields, dict)
    for changed in ({**fields, 1: 2}, {**fields, 9: 0}, {k: fields[k] for k in (1, 2, 3)}):
        with pytest.raises(SealedMalformed):
            BOB.open(joined(encode(changed), lids, box))


def test_misuse_is_told_to_the_sender() -> None:
    stamp = Stamp(EPOCH, 1, NOW_MS)
    many = [Member(seed).statement for seed in range(20, 20 + 65)]
    for readers, purpose, payload in (
        ([], "test", b""),
        (many, "test", b""),
        ([BOB.statement], "", b""),
        ([BOB.statement], "x" * 301, b""),
        ([BOB.statement], "test", bytes((1 << 20) + 1)),
    ):
        with pytest.raises(InvalidValue):
            seal_message(ADA.identity, readers, purpose, payload, stamp)


def test_the_largest_message_opens() -> None:
    readers = [Member(seed) for seed in range(20, 20 + 64)]
    stamp = Stamp(EPOCH, 1, NOW_MS)
    chain = ADA.chain.encode()
    data = seal_message(
        ADA.identity, [r.statement for r in readers], "x" * 300, bytes(1 << 20), stamp, chain
    )
    assert readers[63].open(data, "x" * 300).payload == bytes(1 << 20)


def test_a_chain_in_the_message_reaches_whoever_decides_on_membership() -> None:
    seen = []

    def member(peer_id: str, chain: bytes):  # type: ignore[no-untyped-def]
        seen.append(chain)
        return MEMBERS[ADA.peer_id]

    data = seal_message(
        ADA.identity, [BOB.statement], "t", b"x", Stamp(EPOCH, 1, 2), ADA.chain.encode()
    )
    open_message(data, BOB.peer_id, "t", lambda n: BOB.secret, member)
    assert seen == [ADA.chain.encode()]


def test_a_principal_of_another_peer_is_not_the_sender() -> None:
    with pytest.raises(SealedByStranger):
        open_message(
            SAMPLE, BOB.peer_id, "test", lambda n: BOB.secret, lambda p, c: MEMBERS[EVE.peer_id]
        )


def test_the_relay_sees_no_sender_and_no_text() -> None:
    assert decode_id(ADA.peer_id) not in SAMPLE
    assert b"hello" not in SAMPLE
    assert key(11).public_key not in SAMPLE
