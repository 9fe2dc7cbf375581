"""Who someone is: an Ed25519 key that signs, and the CURVE key that it travels under.

A peer id is the fingerprint of the signing key, so nobody can hold another's. A name is a label
and proves nothing. Every signature covers a domain, so that a signature made for one purpose never
serves another: `Ed25519(b"conclave/<domain>/v1\\0" + body)` (RFC 8032, by libsodium, which also
refuses small-order keys and malleable signatures).

What this module does not know: certificates, roles, files, time.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import re
import sys
from typing import Final, NewType

from nacl.bindings import crypto_box_beforenm
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey
from nacl.signing import SigningKey, VerifyKey

from keys.errors import InvalidValue
from keys.secret import Unpicklable

PeerId = NewType("PeerId", str)
NetworkId = NewType("NetworkId", str)

KEY_BYTES: Final = 32
FINGERPRINT_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
TAG_BYTES: Final = 32
ID_CHARS: Final = 52

_DOMAIN = re.compile(r"[a-z][a-z0-9.-]{0,39}")


class Identity(Unpicklable):
    """An Ed25519 signing key. Whoever holds it is that peer."""

    __slots__ = ("_key", "peer_id", "public_key")

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        self.public_key: bytes = bytes(key.verify_key)
        self.peer_id: PeerId = peer_id_of(self.public_key)

    @classmethod
    def generate(cls) -> Identity:
        return cls(SigningKey.generate())

    @classmethod
    def from_secret(cls, secret: bytes) -> Identity:
        """From the 32 bytes of `export_secret`."""
        if len(secret) != KEY_BYTES:
            raise InvalidValue("the secret of an identity", f"needs {KEY_BYTES} bytes")
        return cls(SigningKey(secret))

    def sign(self, domain: str, body: bytes) -> bytes:
        """64 bytes that `verify_signature` accepts for this domain and body only."""
        return self._key.sign(_message(domain, body)).signature

    def derive_secret(self, purpose: str) -> bytes:
        """32 bytes that only the holder of this key can make, another value for each purpose."""
        label = purpose.encode()
        assert len(label) <= hashlib.blake2b.PERSON_SIZE
        return hashlib.blake2b(key=bytes(self._key), digest_size=32, person=label).digest()

    def export_secret(self) -> bytes:
        return bytes(self._key)

    def __repr__(self) -> str:
        return f"Identity({self.peer_id}, secret=***)"


class TransportKey(Unpicklable):
    """An X25519 pair for CURVE, made at each start and at each rotation.

    The transport record binds it to a peer, and a tag proves that the peer holds it.
    """

    __slots__ = ("_key", "public")

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self.public: bytes = bytes(key.public_key)

    @classmethod
    def generate(cls) -> TransportKey:
        return cls(PrivateKey.generate())

    @classmethod
    def from_secret(cls, secret: bytes) -> TransportKey:
        if len(secret) != KEY_BYTES:
            raise InvalidValue("the secret of a transport key", f"needs {KEY_BYTES} bytes")
        return cls(PrivateKey(secret))

    def tag(self, other_public: bytes, domain: str, body: bytes) -> bytes | None:
        """Proof for the holder of the other key, and for nobody else, that we hold this one.

        BLAKE2b-256 over the domain and the body, under what the two keys share (crypto_box's
        precomputed key). None for a key with which every key shares the same: it proves nothing.
        """
        if len(other_public) != KEY_BYTES:
            return None
        try:
            shared = crypto_box_beforenm(other_public, bytes(self._key))
        except CryptoError:  # of small order
            return None
        message = _message(domain, body)
        return hashlib.blake2b(message, digest_size=TAG_BYTES, key=shared).digest()

    def verify_tag(self, other_public: bytes, domain: str, body: bytes, tag: bytes) -> bool:
        """Whether the holder of the other key made this tag for us. Never raises."""
        wanted = self.tag(other_public, domain, body)
        return wanted is not None and hmac.compare_digest(wanted, tag)

    def export_secret(self) -> bytes:
        return bytes(self._key)

    def __repr__(self) -> str:
        return f"TransportKey({self.public.hex()[:16]}, secret=***)"


def verify_signature(public_key: bytes, domain: str, body: bytes, signature: bytes) -> bool:
    """Whether the key signed this body for this domain. Never raises on what a peer sent."""
    if len(public_key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        VerifyKey(public_key).verify(_message(domain, body), signature)
    except CryptoError:
        return False
    return True


def fingerprint(data: bytes) -> bytes:
    """BLAKE2b-256, 32 bytes."""
    return hashlib.blake2b(data, digest_size=FINGERPRINT_BYTES).digest()


def peer_id_of(public_key: bytes) -> PeerId:
    """52 characters of lowercase base32 of the key's fingerprint."""
    return PeerId(encode_id(fingerprint(public_key)))


def network_id_of(root_public_key: bytes) -> NetworkId:
    """A network is named by its root key, in the form of a peer id."""
    return NetworkId(encode_id(fingerprint(root_public_key)))


@functools.lru_cache(maxsize=4096)  # certificates name the same few peers again and again
def encode_id(digest: bytes) -> str:
    return sys.intern(base64.b32encode(digest).decode().rstrip("=").lower())


@functools.lru_cache(maxsize=4096)  # of ids that are none nothing is held
def decode_id(text: str) -> bytes:
    """The 32 bytes of a peer or network id.

    Raises:
        InvalidValue: not the one way to write 32 bytes (case, length, alphabet, spare bits).
    """
    try:
        digest = base64.b32decode(text.upper() + "====")
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != FINGERPRINT_BYTES or encode_id(digest) != text:
        raise InvalidValue(f"{text[:60]!r}", f"not an id of {ID_CHARS} lowercase base32 characters")
    return digest


def _message(domain: str, body: bytes) -> bytes:
    assert _DOMAIN.fullmatch(domain), domain
    return b"conclave/" + domain.encode() + b"/v1\0" + body
