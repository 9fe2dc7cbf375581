"""Signatures as ballots need them: who signs, who checks, and what is refused before checking.

The elliptic curve's arithmetic for signing and verifying is a library's, handed in as `Scheme`, one
and the same on all nodes (V6). Which *encodings* are accepted is decided here, so that it does not
depend on that library's version or build: a reduced S, canonical R and key, neither of small order,
and a key that lies in the group of prime order. The last is what libsodium lets pass; for such keys
single, batch and cofactored verification disagree (Chalkias et al., "Taming the many EdDSAs",
2020). With the key in the group an accepted R lies in it too, so it needs no such check.

What this module does not know: what is signed, who may vote. Nothing here is secret, so nothing
runs in constant time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

from consensus.ballots.curve import SMALL_ORDER_Y, L, P, point_of, times
from consensus.ballots.errors import SignatureFault

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_KEYS_REMEMBERED: Final = 4096


class Signer(Protocol):
    """Whoever holds a signing key."""

    @property
    def public_key(self) -> bytes: ...

    @property
    def peer_id(self) -> str: ...

    def sign(self, domain: str, body: bytes) -> bytes:
        """64 bytes that hold for this domain and body only."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """The library in use.

    `verify(public_key, domain, body, signature)` never raises on a peer's bytes;
    `peer_id_of(public_key)` is the one name that a key has.
    """

    verify: Callable[[bytes, str, bytes, bytes], bool]
    peer_id_of: Callable[[bytes], str]

    def fault(
        self, public_key: bytes, domain: str, body: bytes, signature: bytes
    ) -> SignatureFault | None:
        """Why this is no signature of that key, or None if it is one."""
        found = encoding_fault(public_key, signature)
        if found is None and not self.verify(public_key, domain, body, signature):
            found = SignatureFault.WRONG
        return found


def encoding_fault(public_key: bytes, signature: bytes) -> SignatureFault | None:
    """What is wrong with the form of a signature, whatever was signed."""
    if len(public_key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return SignatureFault.LENGTH
    if int.from_bytes(signature[32:], "little") >= L:
        return SignatureFault.S_NOT_REDUCED
    y = int.from_bytes(signature[:32], "little") & (2**255 - 1)
    if y >= P:
        return SignatureFault.R_NOT_CANONICAL
    if y in SMALL_ORDER_Y:
        return SignatureFault.R_SMALL_ORDER
    return key_fault(public_key)


@lru_cache(maxsize=_KEYS_REMEMBERED)
def key_fault(public_key: bytes) -> SignatureFault | None:
    """Why no signature of this key is ever accepted, or None. A few milliseconds a new key."""
    if len(public_key) != KEY_BYTES:
        return SignatureFault.LENGTH
    number = int.from_bytes(public_key, "little")
    y, sign = number & (2**255 - 1), number >> 255
    if y % P in SMALL_ORDER_Y:
        return SignatureFault.KEY_SMALL_ORDER
    if y >= P:
        return SignatureFault.KEY_NOT_CANONICAL
    point = point_of(y, sign)
    if point is None:
        return SignatureFault.KEY_NOT_A_POINT
    x, y, z, _ = times(L, point)
    if x != 0 or y != z:
        return SignatureFault.KEY_MIXED_ORDER
    return None
