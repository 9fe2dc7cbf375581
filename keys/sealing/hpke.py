"""HPKE (RFC 9180) in base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.

One message for each context, so that the nonce is the schedule's base nonce and whatever has to be
bound goes into `info`. libsodium does the curve and the cipher; what is here is the schedule of
hashes between them, checked against the RFC's vector (appendix A.2) and another implementation.

What this module does not know: who the keys belong to, what is sealed and why.
"""

from __future__ import annotations

import hmac
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

ENC_BYTES: Final = 32
TAG_BYTES: Final = 16

_KEM: Final = b"KEM\x00\x20"
_SUITE: Final = b"HPKE\x00\x20\x00\x01\x00\x03"
_ZEROS: Final = bytes(32)


class HpkeFailed(Exception):
    """It does not open, or the other side's key is no point that a secret can be agreed with."""


def public_of(secret: bytes) -> bytes:
    """The public key of an X25519 secret."""
    public: bytes = bindings.crypto_scalarmult_base(secret)
    return public


def seal(public: bytes, info: bytes, plaintext: bytes, *, ephemeral: bytes) -> bytes:
    """`enc` and the ciphertext. `ephemeral` is 32 fresh random bytes and is never used again.

    Raises:
        HpkeFailed: `public` is one of the points of small order.
    """
    enc = public_of(ephemeral)
    shared = _shared(_agreed(ephemeral, public), enc, public)
    key, nonce = _schedule(shared, info)
    box: bytes = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plaintext, b"", nonce, key)
    return enc + box


def unseal(secret: bytes, info: bytes, sealed: bytes) -> bytes:
    """
    Raises:
        HpkeFailed: it was not sealed for this key and `info`, or was changed or cut off.
    """
    if len(sealed) < ENC_BYTES + TAG_BYTES:
        raise HpkeFailed("it is cut off")
    enc, box = sealed[:ENC_BYTES], sealed[ENC_BYTES:]
    key, nonce = _schedule(_shared(_agreed(secret, enc), enc, public_of(secret)), info)
    try:
        plaintext: bytes = bindings.crypto_aead_chacha20poly1305_ietf_decrypt(box, b"", nonce, key)
    except CryptoError as error:
        raise HpkeFailed("it was not sealed for this key, or was changed") from error
    return plaintext


def _agreed(secret: bytes, public: bytes) -> bytes:
    try:
        # libsodium refuses an all-zero result (RFC 7748, section 6.1), which every point of small
        # order gives; PyNaCl tells it by raising.
        agreed: bytes = bindings.crypto_scalarmult(secret, public)
    except (CryptoError, RuntimeError, ValueError) as error:
        raise HpkeFailed("the public key is no point to agree a secret with") from error
    if agreed == _ZEROS:
        raise HpkeFailed("the public key is a point of small order")
    return agreed


def _shared(agreed: bytes, enc: bytes, public: bytes) -> bytes:
    extracted = _extract(_KEM, b"", b"eae_prk", agreed)
    return _expand(_KEM, extracted, b"shared_secret", enc + public, 32)


def _schedule(shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    context = b"\0" + _PSK_ID_HASH + _extract(_SUITE, b"", b"info_hash", info)
    secret = _extract(_SUITE, shared, b"secret", b"")
    key = _expand(_SUITE, secret, b"key", context, 32)
    return key, _expand(_SUITE, secret, b"base_nonce", context, 12)


def _extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
    return hmac.digest(salt or _ZEROS, b"HPKE-v1" + suite + label + material, "sha256")


def _expand(suite: bytes, secret: bytes, label: bytes, info: bytes, length: int) -> bytes:
    assert length <= 32  # one block of HKDF
    labeled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(secret, labeled + b"\x01", "sha256")[:length]


_PSK_ID_HASH: Final = _extract(_SUITE, b"", b"psk_id_hash", b"")
