"""HPKE as the RFC has it, X-Wing, and what the libraries do with values at the edge."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keys_lab import DAY_MS
from nacl import bindings
from nacl.exceptions import CryptoError
from sealing_lab import ADA, BOB, EPOCH, NOW_MS, Member

from keys import Identity, InvalidValue, verify_signature
from keys.canonical import decode, encode
from keys.sealing import (
    HybridUnavailable,
    SealingKeyRefused,
    SealingSecret,
    SealingStatement,
    Stamp,
    Suite,
    hpke,
    hybrid_problem,
    seal_message,
    suites,
)
from keys.sealing.suites import OVERHEAD_BYTES, PUBLIC_BYTES, SealFailed, seal_for

needs_hybrid = pytest.mark.skipif(
    hybrid_problem() is not None, reason=f"no hybrid here: {hybrid_problem()}"
)
SUITES = [Suite.X25519, pytest.param(Suite.HYBRID, marks=needs_hybrid)]
h = bytes.fromhex

# The points of small order of Curve25519 and the encodings that reduce to one of them, as
# https://cr.yp.to/ecdh.html and libsodium's blocklist have them.
P = 2**255 - 19
E8 = h("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
F8 = h("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157")
SMALL_X25519 = [
    bytes(32),
    (1).to_bytes(32, "little"),
    E8,
    F8,
    (P - 1).to_bytes(32, "little"),
    P.to_bytes(32, "little"),
    (P + 1).to_bytes(32, "little"),
    (2**255).to_bytes(32, "little"),  # 0 with the highest bit, which is ignored
]
# The eight points of small order of edwards25519 in their encodings.
Y8 = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03"
SMALL_ED25519 = [
    (1).to_bytes(32, "little"),
    (P - 1).to_bytes(32, "little"),
    bytes(32),
    bytes(31) + b"\x80",
    h(Y8 + "7a"),
    h(Y8 + "fa"),
    h("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    h("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
]
ORDER = 2**252 + 27742317777372353535851937790883648493


# -- HPKE --------------------------------------------------------------------------------------

INFO = h("4f6465206f6e2061204772656369616e2055726e")
EPHEMERAL = h("f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600")
READER = h("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb")
READER_PUBLIC = h("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a")


def test_the_key_schedule_is_that_of_rfc_9180() -> None:
    """Appendix A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base mode."""
    enc = hpke.seal(READER_PUBLIC, INFO, b"", ephemeral=EPHEMERAL)[:32]
    assert enc == h("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a")
    assert hpke.public_of(READER) == READER_PUBLIC
    shared = hpke._shared(hpke._agreed(READER, enc), enc, READER_PUBLIC)
    assert shared == h("0bbe78490412b4bbea4812666f7916932b828bba79942424abb65244930d69a7")
    key, nonce = hpke._schedule(shared, INFO)
    assert key == h("ad2744de8e17f4ebba575b3f5f5a8fa1f69c2a07f6e7500bc60ca6e3e3ec1c91")
    assert nonce == h("5c4d98150661b848853b547f")
    text = h("4265617574792069732074727574682c20747275746820626561757479")
    box = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(text, h("436f756e742d30"), nonce, key)
    assert box == h(
        "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"
    )


def test_another_implementation_opens_ours_and_we_open_its() -> None:
    library = pytest.importorskip("cryptography.hazmat.primitives.hpke")
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    suite = library.Suite(
        library.KEM.X25519, library.KDF.HKDF_SHA256, library.AEAD.CHACHA20_POLY1305
    )
    secret = X25519PrivateKey.from_private_bytes(READER)
    ours = hpke.seal(READER_PUBLIC, b"info", b"text", ephemeral=os.urandom(32))
    assert suite.decrypt(ours, secret, info=b"info") == b"text"
    theirs = suite.encrypt(b"text", secret.public_key(), info=b"info")
    assert hpke.unseal(READER, b"info", theirs) == b"text"


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_seals_for_one_key_and_one_info(suite: Suite) -> None:
    mine, other = SealingSecret.generate(suite), SealingSecret.generate(suite)
    sealed = seal_for(suite, mine.public, b"info", b"text")
    assert mine.unseal(b"info", sealed) == b"text"
    assert len(sealed) == 4 + OVERHEAD_BYTES[suite]
    assert len(mine.public) == PUBLIC_BYTES[suite]
    for secret, info in ((other, b"info"), (mine, b"other"), (mine, b"")):
        with pytest.raises(SealFailed):
            secret.unseal(info, sealed)


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_refuses_every_bit_that_flips_and_every_cut(suite: Suite) -> None:
    secret = SealingSecret.generate(suite)
    sealed = seal_for(suite, secret.public, b"info", b"text")
    step = 1 if suite is Suite.X25519 else 97
    for bit in range(0, len(sealed) * 8, step):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealFailed):
            secret.unseal(b"info", bytes(changed))
    for length in range(0, len(sealed), step):
        with pytest.raises(SealFailed):
            secret.unseal(b"info", sealed[:length])


@needs_hybrid
def test_the_hybrid_expands_its_secret_as_x_wing_does() -> None:
    """The seed of the first vector of draft-connolly-cfrg-xwing-kem, and how its key begins."""
    seed = h("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26")
    secret = SealingSecret(Suite.HYBRID, seed)
    begins = "e2236b35a8c24b39b10aa1323a96a919a2ced88400633a7b07131713fc14b2b5"
    assert secret.public.hex().startswith(begins)
    assert seed.hex() not in repr(secret)


@needs_hybrid
def test_members_with_different_suites_read_one_message() -> None:
    reader = Member(30, Suite.HYBRID)
    data = ADA.seal(BOB, reader)
    assert BOB.open(data).payload == reader.open(data).payload == b"hello"


def test_without_the_library_the_hybrid_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent() -> None:
        raise ImportError

    monkeypatch.setattr(suites, "_modules", absent)
    hybrid_problem.cache_clear()
    try:
        with pytest.raises(HybridUnavailable, match=r"conclave-mesh\[pq\]"):
            SealingSecret.generate(Suite.HYBRID)
    finally:
        hybrid_problem.cache_clear()


def test_a_library_with_the_names_and_not_the_mathematics_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unsupported(secret: bytes) -> None:
        raise NotImplementedError("this build has no ML-KEM")

    monkeypatch.setattr(suites, "_hybrid_key", unsupported)
    hybrid_problem.cache_clear()
    try:
        problem = hybrid_problem()
        assert problem is not None
        assert "NotImplementedError" in problem or "not installed" in problem
    finally:
        hybrid_problem.cache_clear()


# -- values at the edge ------------------------------------------------------------------------


@pytest.mark.parametrize("point", SMALL_X25519, ids=lambda p: p.hex()[:8])
def test_points_of_small_order_agree_no_secret(point: bytes) -> None:
    with pytest.raises((CryptoError, RuntimeError)):  # what PyNaCl does: the result is all zeros
        bindings.crypto_scalarmult(bytes([9]) * 32, point)
    with pytest.raises(SealFailed):
        seal_for(Suite.X25519, point, b"", b"text")
    with pytest.raises(SealFailed):
        SealingSecret(Suite.X25519, bytes([9]) * 32).unseal(b"", point + bytes(20))
    statement = SealingStatement.make(BOB.identity, Suite.X25519, point, 1, NOW_MS)
    with pytest.raises(InvalidValue, match="sealing key"):
        seal_message(ADA.identity, [statement], "t", b"x", Stamp(EPOCH, 1, NOW_MS))


@pytest.mark.parametrize("point", SMALL_ED25519, ids=lambda p: p.hex()[:8])
def test_keys_of_small_order_sign_nothing(point: bytes) -> None:
    """With such a key R = A, S = 0 would be good for every eighth message at least."""
    for r in SMALL_ED25519:
        for number in range(8):
            assert not verify_signature(point, "test", bytes([number]), r + bytes(32))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=40))
def test_a_malleable_signature_is_refused(body: bytes) -> None:
    """S + L is the same number modulo the order; libsodium demands S < L."""
    identity = Identity.from_secret(bytes([5]) * 32)
    signature = identity.sign("test", body)
    assert verify_signature(identity.public_key, "test", body, signature)
    number = int.from_bytes(signature[32:], "little") + ORDER
    twin = signature[:32] + number.to_bytes(32, "little")
    assert not verify_signature(identity.public_key, "test", body, twin)


def test_keys_and_points_that_are_not_canonical_are_refused() -> None:
    identity = Identity.from_secret(bytes([5]) * 32)
    signature = identity.sign("test", b"x")
    for encoding in (P, P + 1, 2**255 - 1, 2**256 - 1):
        point = encoding.to_bytes(32, "little")
        assert not verify_signature(point, "test", b"x", signature)
        assert not verify_signature(identity.public_key, "test", b"x", point + signature[32:])


def test_a_statement_proves_whose_key_it_is() -> None:
    statement = BOB.statement
    again = SealingStatement.decode(statement.raw)
    again.verify(BOB.peer_id, BOB.identity.public_key, NOW_MS)
    assert again == statement
    with pytest.raises(SealingKeyRefused, match="is one of"):
        again.verify(ADA.peer_id, ADA.identity.public_key, NOW_MS)
    with pytest.raises(SealingKeyRefused, match="not signed"):
        again.verify(BOB.peer_id, ADA.identity.public_key, NOW_MS)
    day_ms = 86_400_000
    for now_ms in (NOW_MS - day_ms, NOW_MS + 3 * day_ms):
        with pytest.raises(SealingKeyRefused, match="clocks"):
            again.verify(BOB.peer_id, BOB.identity.public_key, now_ms)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(BOB.statement.raw) * 8 - 1))
def test_a_statement_with_a_changed_bit_is_refused(bit: int) -> None:
    changed = bytearray(BOB.statement.raw)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealingKeyRefused):
        SealingStatement.decode(bytes(changed)).verify(BOB.peer_id, BOB.identity.public_key, NOW_MS)


def test_a_statement_that_would_hold_for_longer_than_three_days_is_refused() -> None:
    """Its secret would be kept, or be gone, while others still seal for it."""
    fields = decode(BOB.statement.body, 2048)
    assert isinstance(fields, dict)
    for lifetime_ms, holds in ((3 * DAY_MS, True), (3 * DAY_MS + 1, False)):
        body = encode({**fields, 6: NOW_MS, 7: NOW_MS + lifetime_ms})
        raw = encode([body, BOB.identity.sign("sealing-key", body)])
        statement = SealingStatement.decode(raw)
        if holds:
            statement.verify(BOB.peer_id, BOB.identity.public_key, NOW_MS)
            continue
        with pytest.raises(SealingKeyRefused, match="three days"):
            statement.verify(BOB.peer_id, BOB.identity.public_key, NOW_MS)
