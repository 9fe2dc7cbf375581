"""Who signs for a root: one key, or several of which `threshold` must sign.

A quorum's "public key" is the fingerprint of its threshold, its keys and a nonce. So it takes the
place of a key wherever one is named, and the network id, which is the fingerprint of that, pins
them all: who knows the id can be shown no other keys and no lower threshold. The nonce makes two
networks of the same keepers two networks: what was signed for the one is worth nothing in the
other. Its signature is the canonical list of `[index, signature]`, indexes rising, each of them
valid and at least `threshold` of them.

`Authority.has_signed` is the one function that says whether a root or an issuer signed something.

What this module does not know: certificates, files, who the custodians are, time.

Invariant: a quorum has 2 to `MAX_CUSTODIANS` keys, sorted, each once; 1 <= threshold <= keys.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from nacl.utils import random as random_bytes

from keys.canonical import Fields, NotCanonical, decode, encode
from keys.errors import InvalidValue
from keys.identity import KEY_BYTES, SIGNATURE_BYTES, Identity, fingerprint, verify_signature
from keys.proven import Proven, digest_of

VERSION: Final = 1
NONCE_BYTES: Final = 16
MAX_CUSTODIANS: Final = 5  # so that a chain with every rotation still fits a message of the door
MAX_QUORUM_BYTES: Final = 256
MAX_SIGNATURE_BYTES: Final = 1 + MAX_CUSTODIANS * (SIGNATURE_BYTES + 4)

_CONTEXT: Final = b"conclave/root-quorum/v1\0"
_TEXT_PREFIX: Final = "root-"
_CHECKSUM_BYTES: Final = 3


_PROVEN: Final = Proven()


@dataclass(frozen=True, slots=True)
class RootQuorum:
    """Make one with `make`, read one with `decode`."""

    threshold: int
    public_keys: tuple[bytes, ...]
    nonce: bytes

    @classmethod
    def make(
        cls, threshold: int, public_keys: Iterable[bytes], *, nonce: bytes | None = None
    ) -> RootQuorum:
        """Another one each time, unless the nonce is given.

        Raises:
            InvalidValue: too few or too many keys, one twice, or a threshold beyond them.
        """
        given = tuple(sorted(public_keys))
        problem = _problem(threshold, given)
        if problem:
            raise InvalidValue("the root quorum", problem)
        return cls(threshold, given, random_bytes(NONCE_BYTES) if nonce is None else nonce)

    @property
    def commitment(self) -> bytes:
        """What stands where a single root has its public key."""
        return fingerprint(_CONTEXT + self.encode())

    def encode(self) -> bytes:
        return encode({1: VERSION, 2: self.threshold, 3: list(self.public_keys), 4: self.nonce})

    @classmethod
    def decode(cls, data: bytes) -> RootQuorum:
        """
        Raises:
            NotCanonical: these bytes are not one.
        """
        fields = Fields(decode(data, MAX_QUORUM_BYTES))
        fields.integer(1, VERSION, VERSION)
        threshold = fields.integer(2, 1, MAX_CUSTODIANS)
        public_keys = fields.binaries(3, MAX_CUSTODIANS, KEY_BYTES)
        nonce = fields.binary(4, NONCE_BYTES)
        fields.finish()
        problem = _problem(threshold, public_keys)
        if problem:
            raise NotCanonical(f"the root quorum {problem}")
        return cls(threshold, public_keys, nonce)


@dataclass(frozen=True, slots=True)
class Authority:
    """Whose word counts: the holder of one key, or of enough keys of a quorum."""

    public_key: bytes  # of a quorum: its commitment
    quorum: RootQuorum | None = None

    @classmethod
    def of(cls, signer: RootQuorum | bytes) -> Authority:
        if isinstance(signer, bytes):
            return cls(signer)
        return cls(signer.commitment, signer)

    @property
    def key_id(self) -> bytes:
        return fingerprint(self.public_key)

    @property
    def signers(self) -> tuple[bytes, ...]:
        """The keys that may sign for it."""
        return self.quorum.public_keys if self.quorum is not None else (self.public_key,)

    @property
    def threshold(self) -> int:
        return self.quorum.threshold if self.quorum is not None else 1

    def has_signed(self, domain: str, body: bytes, signature: bytes) -> bool:
        """Whether this is its signature. Never raises on what a peer sent."""
        seal = digest_of(
            self.threshold.to_bytes(1, "big"), *self.signers, domain.encode(), body, signature
        )
        if seal in _PROVEN:
            return True
        is_good = self._has_signed(domain, body, signature)
        if is_good:
            _PROVEN.add(seal)
        return is_good

    def _has_signed(self, domain: str, body: bytes, signature: bytes) -> bool:
        if self.quorum is None:
            return verify_signature(self.public_key, domain, body, signature)
        try:
            found = _read(decode(signature, MAX_SIGNATURE_BYTES), len(self.signers))
        except NotCanonical:
            return False
        return len(found) >= self.threshold and all(
            verify_signature(self.signers[index], domain, body, each) for index, each in found
        )

    def joined(self, signatures: Mapping[bytes, bytes]) -> bytes | None:
        """Its signature, made of those of its keys (by public key); None while too few signed."""
        given = [
            [index, signatures[key]] for index, key in enumerate(self.signers) if key in signatures
        ]
        if len(given) < self.threshold:
            return None
        if self.quorum is None:
            return signatures[self.public_key]
        return encode(given[: self.threshold])  # more would only make chains longer


@dataclass(frozen=True, slots=True)
class Custodians:
    """Keys of an authority that are at hand together; signs as `Identity` does."""

    authority: Authority
    keys: tuple[Identity, ...]

    @property
    def public_key(self) -> bytes:
        return self.authority.public_key

    def sign(self, domain: str, body: bytes) -> bytes:
        """
        Raises:
            InvalidValue: too few of the keys are here.
        """
        joined = self.authority.joined({k.public_key: k.sign(domain, body) for k in self.keys})
        if joined is None:
            raise InvalidValue(
                "the root quorum", f"{self.authority.threshold} keys must sign, fewer are here"
            )
        return joined


def custodian_text(public_key: bytes) -> str:
    """A custodian's public key as one word, with a checksum against typing errors."""
    whole = public_key + _checksum(public_key)
    return _TEXT_PREFIX + base64.b32encode(whole).decode().lower()


def parse_custodian(text: str) -> bytes:
    """
    Raises:
        InvalidValue: mistyped, cut off, or something else.
    """
    word = text.strip()
    try:
        whole = base64.b32decode(word.removeprefix(_TEXT_PREFIX).upper())
    except (binascii.Error, ValueError):
        whole = b""
    public_key = whole[:KEY_BYTES]
    if len(public_key) != KEY_BYTES or custodian_text(public_key) != word:
        raise InvalidValue(
            f"{word[:70]!r}",
            "not the public key of a custodian; copy the word that `conclave root key` printed",
        )
    return public_key


def _problem(threshold: int, public_keys: tuple[bytes, ...]) -> str | None:
    if not 2 <= len(public_keys) <= MAX_CUSTODIANS:
        return f"has {len(public_keys)} keys, and may have 2 to {MAX_CUSTODIANS}"
    if list(public_keys) != sorted(set(public_keys)):
        return "has a key twice, or its keys are not sorted"
    if any(len(key) != KEY_BYTES for key in public_keys):
        return f"has a key that is not {KEY_BYTES} bytes"
    if not 1 <= threshold <= len(public_keys):
        return f"asks for {threshold} signatures of {len(public_keys)} keys"
    return None


def _read(value: object, keys: int) -> list[tuple[int, bytes]]:
    if not isinstance(value, list):
        raise NotCanonical("not a list of signatures")
    found: list[tuple[int, bytes]] = []
    for item in value:
        if not isinstance(item, list) or len(item) != 2:
            raise NotCanonical("not an index and a signature")
        index, signature = item
        lowest = found[-1][0] + 1 if found else 0
        if type(index) is not int or not lowest <= index < keys or type(signature) is not bytes:
            raise NotCanonical("not an index and a signature")
        found.append((index, signature))
    return found


def _checksum(public_key: bytes) -> bytes:
    return hashlib.blake2b(public_key, digest_size=_CHECKSUM_BYTES, person=b"custodian").digest()
