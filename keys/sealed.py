"""A file with one secret of 32 bytes in it, open to the owner only or sealed with a passphrase.

Sealing is Argon2id (RFC 9106) into XChaCha20-Poly1305, with everything else that the file says as
associated data, so that no field can be changed. The work factors are read from the file and
capped, so that a hostile file costs a refusal and not the machine's memory.

What this module does not know: where files are, which key a secret is. Python cannot be made to
forget a secret reliably: what was opened may stay in this process's memory until it ends.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id
from nacl.utils import random as random_bytes

from keys.canonical import Fields, NotCanonical, decode, encode
from keys.errors import InvalidValue, PassphraseNeeded, PassphraseWrong, SecretUnreadable

VERSION: Final = 1
SECRET_BYTES: Final = 32
MAX_FILE_BYTES: Final = 512
MEBIBYTE: Final = 1 << 20
MAX_OPERATIONS: Final = 6
MAX_MEMORY_BYTES: Final = 512 * MEBIBYTE

_NONE: Final = "none"
_ARGON2ID: Final = "argon2id"
_KEY_BYTES: Final = bindings.crypto_aead_xchacha20poly1305_ietf_KEYBYTES
_NONCE_BYTES: Final = bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES


@dataclass(frozen=True, slots=True)
class Cost:
    """Work factors of Argon2id. The default takes about a quarter of a second."""

    operations: int = 3
    memory_bytes: int = 128 * MEBIBYTE


DEFAULT_COST: Final = Cost()


def seal(
    purpose: str,
    secret: bytes,
    passphrase: str | None,
    *,
    cost: Cost = DEFAULT_COST,
    salt: bytes | None = None,
    nonce: bytes | None = None,
) -> bytes:
    """The bytes of the file. Without a passphrase the secret stands in it as it is.

    `salt` and `nonce` are drawn at random unless given (test vectors).
    """
    assert len(secret) == SECRET_BYTES
    if passphrase is None:
        return encode({**_header(purpose, _NONE, b"", Cost(0, 0), b""), 8: secret})
    if not passphrase:
        raise InvalidValue("the passphrase", "is empty; give none to store keys without one")
    salt = salt if salt is not None else random_bytes(argon2id.SALTBYTES)
    nonce = nonce if nonce is not None else random_bytes(_NONCE_BYTES)
    header = _header(purpose, _ARGON2ID, salt, cost, nonce)
    ciphertext = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        secret, encode(header), nonce, derive_key(passphrase, salt, cost)
    )
    return encode({**header, 8: ciphertext})


def unseal(path: Path, purpose: str, data: bytes, passphrase: str | None) -> bytes:
    """The secret in `data`, which was read from `path`.

    Raises:
        SecretUnreadable: not such a file, of another purpose, or it demands absurd work.
        PassphraseNeeded, PassphraseWrong.
    """
    try:
        header, body = _read(data)
    except NotCanonical as error:
        raise SecretUnreadable(path, str(error)) from error
    if header[2] != purpose:
        raise SecretUnreadable(path, f"it holds the key {header[2]!r} in place of {purpose!r}")
    if header[3] == _NONE:
        return body
    if passphrase is None:
        raise PassphraseNeeded(path)
    salt, nonce = header[4], header[7]
    operations, memory_bytes = header[5], header[6]
    assert isinstance(salt, bytes)
    assert isinstance(nonce, bytes)
    assert isinstance(operations, int)
    assert isinstance(memory_bytes, int)
    try:
        key = derive_key(passphrase, salt, Cost(operations, memory_bytes))
    except (CryptoError, MemoryError) as error:
        raise SecretUnreadable(path, f"no memory for {memory_bytes:,} bytes of Argon2id") from error
    try:
        return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(body, encode(header), nonce, key)
    except CryptoError as error:
        raise PassphraseWrong(path) from error


def is_sealed(path: Path, data: bytes) -> bool:
    """Whether the secret in `data`, which was read from `path`, needs a passphrase.

    Raises:
        SecretUnreadable: it is not such a file.
    """
    try:
        header, _ = _read(data)
    except NotCanonical as error:
        raise SecretUnreadable(path, str(error)) from error
    return header[3] != _NONE


def _header(purpose: str, kdf: str, salt: bytes, cost: Cost, nonce: bytes) -> dict[int, object]:
    return {
        1: VERSION,
        2: purpose,
        3: kdf,
        4: salt,
        5: cost.operations,
        6: cost.memory_bytes,
        7: nonce,
    }


def _read(data: bytes) -> tuple[dict[int, object], bytes]:
    fields = Fields(decode(data, MAX_FILE_BYTES))
    version = fields.integer(1)
    if version != VERSION:
        raise NotCanonical(f"it has version {version}, this program knows {VERSION}")
    purpose, kdf = fields.text(2, 16), fields.text(3, 16)
    if kdf == _NONE:
        header = _header(purpose, kdf, fields.binary(4, 0), Cost(0, 0), b"")
        fields.integer(5, 0, 0)
        fields.integer(6, 0, 0)
        fields.binary(7, 0)
        body = fields.binary(8, SECRET_BYTES)
    elif kdf == _ARGON2ID:
        salt = fields.binary(4, argon2id.SALTBYTES)
        cost = Cost(
            fields.integer(5, argon2id.OPSLIMIT_MIN, MAX_OPERATIONS),
            fields.integer(6, argon2id.MEMLIMIT_MIN, MAX_MEMORY_BYTES),
        )
        header = _header(purpose, kdf, salt, cost, fields.binary(7, _NONCE_BYTES))
        body = fields.binary(8, SECRET_BYTES + bindings.crypto_aead_xchacha20poly1305_ietf_ABYTES)
    else:
        raise NotCanonical(f"unknown way {kdf!r} to make a key of a passphrase")
    fields.finish()
    return header, body


def derive_key(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    """32 bytes by Argon2id. May raise CryptoError or MemoryError, where there is no room for it."""
    # One spelling of the same letters, whatever keyboard they were typed on.
    typed = unicodedata.normalize("NFC", passphrase).encode()
    return argon2id.kdf(_KEY_BYTES, typed, salt, cost.operations, cost.memory_bytes)
