"""A node's sealing keys: the present one, and the older ones that messages may still be sealed for.

All of them are one file of the home, `sealing.ring`: each statement with its secret, encrypted
under a key that is derived from the identity key, so that they lie as open or as sealed as that
one does. A new key is made each day. An older secret goes when no message can be young enough for
it, nine days after it was made: that is the forward secrecy of sealed messages, and all of it.

What this module does not know: the clock, who asks for a statement, messages.

Invariants: a key is durable before its statement is shown to anybody; numbers grow, whatever the
clock does; the ring is written whole or not at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from nacl import bindings
from nacl.exceptions import CryptoError
from nacl.utils import random as random_bytes

from keys.canonical import Fields, NotCanonical, decode, encode
from keys.errors import HomeDamaged
from keys.files import read_private, write_atomic
from keys.identity import Identity
from keys.sealing.refusals import SealingKeyRefused
from keys.sealing.statement import MAX_AGE_MS, ROTATE_MS, SealingStatement
from keys.sealing.suites import SECRET_BYTES, SealingSecret, Suite
from keys.trust import SKEW_MS

VERSION: Final = 1
FILE_NAME: Final = "sealing.ring"
MAX_RING_BYTES: Final = 128 * 1024
MAX_KEYS: Final = 32  # a clock that jumps to and fro makes more than one a day

_NONCE_BYTES: Final = 24


class _Held(NamedTuple):
    statement: SealingStatement
    secret: SealingSecret


class SealingRing:
    """Get one from `open`, with the home's lock held."""

    def __init__(self, path: Path, identity: Identity, suite: Suite, held: list[_Held]) -> None:
        self._path = path
        self._identity = identity
        self._suite = suite
        self._held = held  # by number, the present one last
        self.was_new = not held

    def __repr__(self) -> str:
        return f"SealingRing({str(self._path)!r}, {len(self._held)} keys)"

    @classmethod
    def open(cls, home: Path, identity: Identity, suite: Suite, now_ms: int) -> SealingRing:
        """The ring of a home, with a present key of this suite; made where there is none.

        Raises:
            HomeDamaged: it cannot be read. Without it nothing opens that was sealed for us.
            HybridUnavailable.
            KeystoreError.
        """
        path = home / FILE_NAME
        data = read_private(path, MAX_RING_BYTES)
        try:
            held = [] if data is None else _read(data, identity)
        except (NotCanonical, SealingKeyRefused, CryptoError) as error:
            raise HomeDamaged(
                path, f"it does not hold sealing keys of this node: {error}"
            ) from error
        ring = cls(path, identity, suite, held)
        ring.renew(now_ms)
        return ring

    @property
    def statement(self) -> SealingStatement:
        """The present key, as others may see it."""
        return self._held[-1].statement

    @property
    def numbers(self) -> tuple[int, ...]:
        """The keys there are, the oldest first."""
        return tuple(one.statement.number for one in self._held)

    def secret_of(self, number: int) -> SealingSecret | None:
        """The secret key of that number, unless it is gone."""
        for one in reversed(self._held):
            if one.statement.number == number:
                return one.secret
        return None

    def renew(self, now_ms: int) -> bool:
        """Make a new key where it is time, durably; whether it was."""
        if self._held:
            present = self.statement
            age_ms = now_ms - present.not_before_ms
            # A clock that went back makes a key that nobody may use yet: that is time as well.
            if present.suite is self._suite and -SKEW_MS <= age_ms < ROTATE_MS:
                return False
        secret = SealingSecret.generate(self._suite)
        number = max(now_ms, self.numbers[-1] + 1 if self._held else 1)
        statement = SealingStatement.make(
            self._identity, self._suite, secret.public, number, now_ms
        )
        self._store([*self._held, _Held(statement, secret)][-MAX_KEYS:])
        return True

    def due(self, now_ms: int) -> bool:
        """Whether a secret is there that no message can be young enough for."""
        return any(_is_over(one.statement, now_ms) for one in self._held[:-1])

    def forget(self, now_ms: int) -> None:
        """Throw those away. For ever: ask `due` twice, some time apart, lest the clock is wrong."""
        self._store(
            [one for one in self._held[:-1] if not _is_over(one.statement, now_ms)]
            + self._held[-1:]
        )

    def _store(self, held: list[_Held]) -> None:
        key = self._identity.derive_secret(_PURPOSE)
        rows: list[object] = []
        for statement, secret in held:
            nonce = random_bytes(_NONCE_BYTES)
            box = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
                secret.export_secret(), statement.raw, nonce, key
            )
            rows.append([statement.raw, nonce, box])
        write_atomic(self._path, encode({1: VERSION, 2: rows}))
        self._held = held


_PURPOSE: Final = "sealing ring"


def _is_over(statement: SealingStatement, now_ms: int) -> bool:
    return now_ms > statement.not_after_ms + MAX_AGE_MS + 2 * SKEW_MS


def _read(data: bytes, identity: Identity) -> list[_Held]:
    key = identity.derive_secret(_PURPOSE)
    fields = Fields(decode(data, MAX_RING_BYTES))
    fields.integer(1, VERSION, VERSION)
    held = [_held(item, key) for item in fields.items(2, MAX_KEYS)]
    fields.finish()
    numbers = [one.statement.number for one in held]
    if numbers != sorted(set(numbers)):
        raise NotCanonical("its keys are not in order")
    return held


def _held(item: object, key: bytes) -> _Held:
    if not (isinstance(item, list) and len(item) == 3 and all(type(i) is bytes for i in item)):
        raise NotCanonical("a key is not a statement and a box")
    raw, nonce, box = item
    if len(nonce) != _NONCE_BYTES:
        raise NotCanonical("a nonce is none")
    statement = SealingStatement.decode(raw)
    if len(box) != SECRET_BYTES + bindings.crypto_aead_xchacha20poly1305_ietf_ABYTES:
        raise NotCanonical("a box is none")
    secret = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(box, raw, nonce, key)
    if len(secret) != SECRET_BYTES:
        raise NotCanonical("a secret is none")
    made = SealingSecret(statement.suite, secret)
    if made.public != statement.public:
        raise NotCanonical("a secret does not belong to its statement")
    return _Held(statement, made)
