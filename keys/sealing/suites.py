"""The two ways to seal a short secret for one key: X25519, and X25519 with ML-KEM-768 (X-Wing).

Both are HPKE (RFC 9180) in base mode. The hybrid is that of `cryptography` 48 or later, which
combines the two keys as X-Wing does (draft-connolly-cfrg-xwing-kem): it stays closed while either
of the two problems stays hard. It is imported when it is first wanted and probed before it is
believed, since there are builds with the names and without the mathematics.

What this module does not know: files, peers, signatures, what is sealed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from nacl.utils import random as random_bytes

from keys.sealing import hpke
from keys.sealing.refusals import HybridUnavailable
from keys.secret import Unpicklable

if TYPE_CHECKING:
    from types import ModuleType

SECRET_BYTES: Final = 32


class Suite(IntEnum):
    """How a key is sealed for. Numbers travel and are never used again."""

    X25519 = 1
    HYBRID = 2


PUBLIC_BYTES: Final = {Suite.X25519: 32, Suite.HYBRID: 1216}
OVERHEAD_BYTES: Final = {Suite.X25519: 48, Suite.HYBRID: 1136}
NAMES: Final = {"x25519": Suite.X25519, "hybrid": Suite.HYBRID}

_MLKEM_PUBLIC_BYTES: Final = 1184

Entropy = Callable[[int], bytes]


class SealFailed(Exception):
    """It cannot be sealed for this key, or does not open with this one."""


class SealingSecret(Unpicklable):
    """A secret sealing key. For both suites it is 32 bytes; X-Wing expands them."""

    __slots__ = ("_secret", "public", "suite")

    def __init__(self, suite: Suite, secret: bytes) -> None:
        assert len(secret) == SECRET_BYTES
        self.suite = suite
        self._secret = secret
        self.public: bytes = (
            hpke.public_of(secret) if suite is Suite.X25519 else _hybrid_public(secret)
        )

    @classmethod
    def generate(cls, suite: Suite) -> SealingSecret:
        """
        Raises:
            HybridUnavailable.
        """
        return cls(suite, random_bytes(SECRET_BYTES))

    def unseal(self, info: bytes, sealed: bytes) -> bytes:
        """
        Raises:
            SealFailed: it was not sealed for this key and `info`, or was changed.
        """
        if self.suite is Suite.X25519:
            try:
                return hpke.unseal(self._secret, info, sealed)
            except hpke.HpkeFailed as error:
                raise SealFailed(str(error)) from error
        return _hybrid_unseal(self._secret, info, sealed)

    def export_secret(self) -> bytes:
        return self._secret

    def __repr__(self) -> str:
        return f"SealingSecret({self.suite.name}, {self.public.hex()[:16]}, secret=***)"


def seal_for(
    suite: Suite,
    public: bytes,
    info: bytes,
    plaintext: bytes,
    *,
    entropy: Entropy = random_bytes,
) -> bytes:
    """Seal something short so that only the holder of the secret key opens it, for this `info`.

    Args:
        entropy: gives so many random bytes; the hybrid draws its own.

    Raises:
        SealFailed: no secret can be agreed with this public key.
        HybridUnavailable.
    """
    if len(public) != PUBLIC_BYTES[suite]:
        raise SealFailed(f"a public key of {suite.name} has {PUBLIC_BYTES[suite]} bytes")
    if suite is Suite.X25519:
        try:
            return hpke.seal(public, info, plaintext, ephemeral=entropy(SECRET_BYTES))
        except hpke.HpkeFailed as error:
            raise SealFailed(str(error)) from error
    return _hybrid_seal(public, info, plaintext)


# -- X-Wing ------------------------------------------------------------------------------------


@cache
def hybrid_problem() -> str | None:
    """Why the hybrid cannot be used here, by trying it once; None where it can."""
    try:
        public = _hybrid_key(bytes(SECRET_BYTES)).public_key()
        suite = _hybrid_suite()
        sealed = suite.encrypt(b"probe", public, info=b"probe")
        opened = suite.decrypt(sealed, _hybrid_key(bytes(SECRET_BYTES)), info=b"probe")
    except ImportError:
        return "the package `cryptography` 48 or later is not installed"
    except Exception as error:  # noqa: BLE001 - of the library's own kind, which differs by version
        return f"`cryptography` is here and cannot do it ({type(error).__name__})"
    return None if opened == b"probe" else "`cryptography` does not open what it has sealed"


def check_hybrid() -> None:
    """
    Raises:
        HybridUnavailable: and why.
    """
    problem = hybrid_problem()
    if problem is not None:
        raise HybridUnavailable(problem)


def _modules() -> tuple[ModuleType, ModuleType, ModuleType]:
    from cryptography.hazmat.primitives import hpke as library
    from cryptography.hazmat.primitives.asymmetric import mlkem, x25519

    return library, mlkem, x25519


def _hybrid_suite() -> Any:
    library, _, _ = _modules()
    return library.Suite(
        library.KEM.MLKEM768_X25519, library.KDF.HKDF_SHA256, library.AEAD.CHACHA20_POLY1305
    )


def _hybrid_key(secret: bytes) -> Any:
    """The decapsulation key, expanded from 32 bytes as X-Wing has it."""
    library, mlkem, x25519 = _modules()
    expanded = hashlib.shake_256(secret).digest(96)
    return library.MLKEM768X25519PrivateKey(
        mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
        x25519.X25519PrivateKey.from_private_bytes(expanded[64:]),
    )


def _hybrid_public(secret: bytes) -> bytes:
    check_hybrid()
    _, mlkem, _ = _modules()
    expanded = hashlib.shake_256(secret).digest(96)
    lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64]).public_key()
    return bytes(lattice.public_bytes_raw()) + hpke.public_of(expanded[64:])


def _hybrid_seal(public: bytes, info: bytes, plaintext: bytes) -> bytes:
    check_hybrid()
    library, mlkem, x25519 = _modules()
    try:
        key = library.MLKEM768X25519PublicKey(
            mlkem.MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC_BYTES]),
            x25519.X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC_BYTES:]),
        )
        return bytes(_hybrid_suite().encrypt(plaintext, key, info=info))
    except Exception as error:
        raise SealFailed("the hybrid public key is none that can be sealed for") from error


def _hybrid_unseal(secret: bytes, info: bytes, sealed: bytes) -> bytes:
    check_hybrid()
    try:
        return bytes(_hybrid_suite().decrypt(sealed, _hybrid_key(secret), info=info))
    except Exception as error:
        raise SealFailed("it was not sealed for this key, or was changed") from error
