"""What a vote needs of a signature library, and the strictness that is asked of any of them.

Signatures are Ed25519 over `b"conclave/<domain>/v1\\0" + body`, by whoever implements `Signer` and
`SignatureCheck`; the package `keys` does, with libsodium. All nodes use one library: verifiers that
are all correct by RFC 8032 may still disagree on points of mixed order (V6).

`is_strict` looks at the encodings alone, before any library does: S below the group's order, R and
the key with y below the field's prime and none of the eight points of small order. A key of small
order verifies signatures that nobody made; S + L is a second signature that anyone can make.

What this module does not know: curves beyond these constants, hashing, who holds which key.
Source: RFC 8032, 5.1.3 and 5.1.7; "Taming the many EdDSAs" (2020), section 4.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Final, Protocol

from consensus.votes.wire import DIGEST_BYTES, digest

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
ID_BYTES: Final = DIGEST_BYTES

_PRIME: Final = 2**255 - 19
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_Y_MASK: Final = 2**255 - 1
# The y of the points of order 8; with 0 (order 4), 1 (order 1) and -1 (order 2) these are all.
_Y_OF_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER: Final = frozenset({0, 1, _PRIME - 1, _Y_OF_ORDER_8, _PRIME - _Y_OF_ORDER_8})

# (public key, domain, body, signature) -> whether that key signed this body for this domain. It
# answers False, and does not raise, on whatever a peer sent.
SignatureCheck = Callable[[bytes, str, bytes, bytes], bool]


class Signer(Protocol):
    """Whoever holds a signing key."""

    @property
    def public_key(self) -> bytes: ...

    def sign(self, domain: str, body: bytes) -> bytes:
        """64 bytes that a `SignatureCheck` accepts for this domain and body only."""


def is_strict_point(encoded: bytes) -> bool:
    """Whether 32 bytes are the one encoding of a y that is on no point of small order."""
    if len(encoded) != KEY_BYTES:
        return False
    y = int.from_bytes(encoded, "little") & _Y_MASK
    return y < _PRIME and y not in _SMALL_ORDER


def is_strict(public_key: bytes, signature: bytes) -> bool:
    """Whether key and signature are encodings that nobody else could have made in another form."""
    return (
        len(signature) == SIGNATURE_BYTES
        and is_strict_point(public_key)
        and is_strict_point(signature[:32])
        and int.from_bytes(signature[32:], "little") < _ORDER
    )


def is_signed(
    check: SignatureCheck, public_key: bytes, domain: str, body: bytes, signature: bytes
) -> bool:
    """Whether the key signed the body for this domain, in strict encodings."""
    return is_strict(public_key, signature) and check(public_key, domain, body, signature)


def peer_id_of(public_key: bytes) -> str:
    """52 characters: lowercase base32 of the key's BLAKE2b-256, as a peer id of `keys` is."""
    return id_text(digest(public_key))


def id_text(raw: bytes) -> str:
    """How 32 bytes of a peer id are written."""
    return base64.b32encode(raw).decode().rstrip("=").lower()


def id_bytes(text: str) -> bytes | None:
    """The 32 bytes of a peer id, or None if this is not the one way to write them."""
    try:
        raw = base64.b32decode(text.upper() + "====")
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == ID_BYTES and id_text(raw) == text else None
