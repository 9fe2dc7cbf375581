"""A sealing key as its holder shows it: which key, in which suite, from when to when; signed.

The identity key signs it, so it proves whose key it is wherever it comes from. A later number
replaces an earlier one. A key is sealed for while its statement holds, two days at most; what was
sealed for it may be opened for `MAX_AGE_MS` longer, and then its secret is thrown away.

What this module does not know: secret keys, files, who was shown which statement before.

Invariant: what `decode` returns is well formed; who signed it is checked by `verify`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from keys.canonical import MAX_INTEGER, Fields, NotCanonical, decode, encode, pair
from keys.certificate import BACKDATE_MS
from keys.identity import (
    FINGERPRINT_BYTES,
    Identity,
    PeerId,
    decode_id,
    encode_id,
    verify_signature,
)
from keys.sealing.refusals import SealingKeyRefused
from keys.sealing.suites import PUBLIC_BYTES, Suite
from keys.trust import DAY_MS, SKEW_MS

VERSION: Final = 1
DOMAIN: Final = "sealing-key"
MAX_STATEMENT_BYTES: Final = 2048
ROTATE_MS: Final = DAY_MS
LIFETIME_MS: Final = 2 * DAY_MS  # a sender may go on with what it has heard while we are away
MAX_LIFETIME_MS: Final = 3 * DAY_MS
MAX_AGE_MS: Final = 7 * DAY_MS


@dataclass(frozen=True, slots=True)
class SealingStatement:
    """Make one with `make`, read one with `decode`."""

    peer_id: PeerId
    suite: Suite
    public: bytes
    number: int
    not_before_ms: int
    not_after_ms: int
    body: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    raw: bytes = field(repr=False)

    @classmethod
    def make(
        cls, identity: Identity, suite: Suite, public: bytes, number: int, now_ms: int
    ) -> SealingStatement:
        body = encode(
            {
                1: VERSION,
                2: decode_id(identity.peer_id),
                3: int(suite),
                4: public,
                5: number,
                6: max(0, now_ms - BACKDATE_MS),
                7: now_ms + LIFETIME_MS,
            }
        )
        return cls.decode(encode([body, identity.sign(DOMAIN, body)]))

    @classmethod
    def decode(cls, raw: bytes) -> SealingStatement:
        """
        Raises:
            SealingKeyRefused: it is not well formed, or of a suite that we do not know.
        """
        try:
            return cls._read(raw)
        except NotCanonical as error:
            raise SealingKeyRefused("a peer", f"it cannot be read: {error}") from error

    @classmethod
    def _read(cls, raw: bytes) -> SealingStatement:
        body, signature = pair(decode(raw, MAX_STATEMENT_BYTES), MAX_STATEMENT_BYTES)
        fields = Fields(decode(body, MAX_STATEMENT_BYTES))
        fields.integer(1, VERSION, VERSION)
        peer_id = PeerId(encode_id(fields.binary(2, FINGERPRINT_BYTES)))
        number_of_suite = fields.integer(3)
        if number_of_suite not in set(Suite):
            raise NotCanonical(f"suite {number_of_suite} is unknown here; upgrade this program")
        suite = Suite(number_of_suite)
        statement = cls(
            peer_id=peer_id,
            suite=suite,
            public=fields.binary(4, PUBLIC_BYTES[suite]),
            number=fields.integer(5, 1, MAX_INTEGER),
            not_before_ms=fields.integer(6),
            not_after_ms=fields.integer(7),
            body=body,
            signature=signature,
            raw=raw,
        )
        fields.finish()
        if statement.not_before_ms >= statement.not_after_ms:
            raise NotCanonical("it ends before it begins")
        return statement

    def holds_at(self, now_ms: int) -> bool:
        """Whether something may be sealed for it now."""
        return self.not_before_ms - SKEW_MS <= now_ms <= self.not_after_ms + SKEW_MS

    def is_of(self, peer_id: PeerId, public_key: bytes) -> bool:
        """Whether this peer, with this identity key, says or once said so."""
        return self.peer_id == peer_id and verify_signature(
            public_key, DOMAIN, self.body, self.signature
        )

    def verify(self, peer_id: PeerId, public_key: bytes, now_ms: int) -> None:
        """Whether this peer, with this identity key, says so, and it holds now.

        Raises:
            SealingKeyRefused: the first of these that fails.
        """
        if self.peer_id != peer_id:
            raise SealingKeyRefused(peer_id, f"it is one of {self.peer_id}")
        if not verify_signature(public_key, DOMAIN, self.body, self.signature):
            raise SealingKeyRefused(peer_id, "it is not signed by that peer's key")
        if self.not_after_ms - self.not_before_ms > MAX_LIFETIME_MS:
            raise SealingKeyRefused(peer_id, "it would be sealed for longer than three days")
        if not self.holds_at(now_ms):
            raise SealingKeyRefused(
                peer_id, "its time is over or has not begun; check the clocks of both machines"
            )
