"""A node's identity in one file: its keys, papers and lists, sealed, to be put into a new home.

A backup is sealed with a passphrase or for the key of somebody who is offline, never open. Key
files are in it as they lie in the home: one that has a passphrase there needs the same in its new
home. Not in it: tickets, which would work a second time; sealing keys, whose renewal would be worth
nothing if old ones were kept for good; the log of a voter, whose votes must not be cast twice; the
audit log.

What this module does not know: prompts, the voters' log, where the file goes.

Invariant: `FORMAT` is written last, so a home that was restored in part is no home.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id
from nacl.utils import random as random_bytes

from keys.backups.refusals import BackupClosed, BackupMalformed, BackupNeedsKey, TooEarlyForBackup
from keys.canonical import MAX_ITEMS, Fields, NotCanonical, decode, encode
from keys.errors import HomeDamaged, InvalidValue
from keys.files import (
    check_private_directory,
    create_exclusive,
    make_private_directory,
    names_in,
    read_file,
    read_private,
    write_atomic,
)
from keys.home import (
    FORMAT_VERSION,
    check_format,
    check_free,
    read_chain,
    read_genesis,
    read_issuer_chain,
)
from keys.identity import PeerId, decode_id, encode_id
from keys.lock import hold_lock
from keys.rekeying import KEY_FILES, finish
from keys.sealed import DEFAULT_COST, MAX_MEMORY_BYTES, MAX_OPERATIONS, Cost, derive_key
from keys.sealing.suites import SealFailed, SealingSecret, Suite, seal_for
from keys.secret import Unpicklable
from keys.trust import Chain

VERSION: Final = 1
MAX_BYTES: Final = 32 * 1024 * 1024
MAX_HEADER_BYTES: Final = 1024
PUBLIC_BYTES: Final = 32
KEY_PREFIX: Final = "conclave-backup1-"

_INFO: Final = b"conclave/backup/v1\0"
_NONCE: Final = bytes(
    bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
)  # each key is used once
_MAX_FILE: Final = 1024 * 1024
_PAPERS: Final = (
    *("chain", "genesis", "roster", "roots", "voters", "issuer.chain", "incarnation"),
    *("policy.toml", "policy.replicated"),
)
_FOLDERS: Final = {
    "issued": re.compile(r"[a-z2-7]{52}"),
    "revocations": re.compile(r"[a-z2-7]{52}\.list"),
}
_NUMBER: Final = re.compile(rb"[0-9]{1,16}\n")


@dataclass(frozen=True, slots=True)
class BackupHead:
    """What a backup says openly. Not believed until it was opened.

    Attributes:
        recipient: the public key that it was sealed for; empty where it has a passphrase.
    """

    network_id: str
    network_name: str
    peer_id: PeerId
    node_name: str
    made_ms: int
    salt: bytes
    cost: Cost
    recipient: bytes

    def encode(self) -> bytes:
        return encode(
            {
                1: VERSION,
                2: decode_id(self.network_id),
                3: self.network_name,
                4: decode_id(self.peer_id),
                5: self.node_name,
                6: self.made_ms,
                7: self.salt,
                8: self.cost.operations,
                9: self.cost.memory_bytes,
                10: self.recipient,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> BackupHead:
        """
        Raises:
            NotCanonical
        """
        fields = Fields(decode(data, MAX_HEADER_BYTES))
        fields.integer(1, VERSION, VERSION)
        network, name = encode_id(fields.binary(2, 32)), fields.text(3, 63)
        peer, node, made_ms = encode_id(fields.binary(4, 32)), fields.text(5, 63), fields.integer(6)
        salt, recipient = fields.blob(7, argon2id.SALTBYTES), fields.blob(10, PUBLIC_BYTES)
        # Bounded before anything is allocated: a hostile file costs a refusal.
        if salt:
            operations = fields.integer(8, argon2id.OPSLIMIT_MIN, MAX_OPERATIONS)
            memory = fields.integer(9, argon2id.MEMLIMIT_MIN, MAX_MEMORY_BYTES)
        else:
            operations, memory = fields.integer(8, 0, 0), fields.integer(9, 0, 0)
        fields.finish()
        sizes = (len(salt), len(recipient))
        if sizes not in ((argon2id.SALTBYTES, 0), (0, PUBLIC_BYTES)):
            raise NotCanonical("it has neither a passphrase nor a key, or both")
        cost = Cost(operations, memory)
        return cls(network, name, PeerId(peer), node, made_ms, salt, cost, recipient)


@dataclass(frozen=True, slots=True)
class Opened(Unpicklable):
    """A backup that was opened: files by their names in the home."""

    head: BackupHead
    files: Mapping[str, bytes] = field(repr=False)


def public_text(public: bytes) -> str:
    """The public key of somebody who keeps backups, as one word."""
    return KEY_PREFIX + base64.urlsafe_b64encode(public).decode().rstrip("=")


def parse_public(text: str) -> bytes:
    """
    Raises:
        InvalidValue: it is not what `public_text` gives.
    """
    try:
        public = base64.b64decode(text.removeprefix(KEY_PREFIX) + "=", b"-_", validate=True)
    except (binascii.Error, ValueError):
        public = b""
    if len(public) != PUBLIC_BYTES or public_text(public) != text:
        raise InvalidValue(f"{text[:80]!r}", f"is no public key that begins with {KEY_PREFIX}")
    return public


def back_up(
    home: Path,
    now_ms: int,
    *,
    passphrase: str | None = None,
    recipient: bytes | None = None,
    cost: Cost = DEFAULT_COST,
) -> bytes:
    """The backup of a home, sealed with a passphrase or for the holder of a key.

    Raises:
        TooEarlyForBackup, KeystoreError.
        InvalidValue: the passphrase is empty, or the key is none.
    """
    if (passphrase is None) == (recipient is None) or passphrase == "":
        raise InvalidValue(
            "a backup", "is sealed with a passphrase, or for a key; it is never open"
        )
    chain = _checked(home)
    head = BackupHead(
        chain.leaf.network_id,
        chain.leaf.network_name,
        chain.leaf.peer_id,
        chain.leaf.name,
        now_ms,
        b"" if passphrase is None else random_bytes(argon2id.SALTBYTES),
        Cost(0, 0) if passphrase is None else cost,
        recipient or b"",
    )
    header, wrapped = head.encode(), b""
    if passphrase is not None:
        key = derive_key(passphrase, head.salt, cost)
    else:
        key = random_bytes(32)
        try:
            wrapped = seal_for(Suite.X25519, head.recipient, _INFO + header, key)
        except SealFailed as error:
            raise InvalidValue("the key of the backup", str(error)) from error
    box = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        _pack(_collect(home)), header + wrapped, _NONCE, key
    )
    packed = encode([header, wrapped, box])
    if len(packed) > MAX_BYTES:
        raise InvalidValue("a backup", f"of {len(packed):,} bytes is over {MAX_BYTES:,}")
    return packed


def keep_backup(path: Path, data: bytes) -> None:
    """Write a backup, durably, with mode 0600; never over another file.

    Raises:
        InvalidValue: there is a file of this name.
        HomeUnreadable.
    """
    if not create_exclusive(path, data):
        raise InvalidValue(
            f"{path}", "is there already; a backup is never written over another file"
        )


def backup_in(path: Path) -> bytes:
    """
    Raises:
        BackupMalformed: there is no such file, or it is too large to be a backup.
        HomeUnreadable.
    """
    try:
        data = read_file(path, MAX_BYTES)
    except HomeDamaged as error:
        raise BackupMalformed(error.problem) from error
    if data is None:
        raise BackupMalformed(f"there is no file {path}")
    return data


def read_head(data: bytes) -> BackupHead:
    """What a backup says openly.

    Raises:
        BackupMalformed
    """
    return _split(data)[0]


def open_backup(
    data: bytes, *, passphrase: str | None = None, key: SealingSecret | None = None
) -> Opened:
    """
    Raises:
        BackupMalformed, BackupNeedsKey, BackupClosed.
    """
    head, header, wrapped, box = _split(data)
    if head.recipient:
        if key is None:
            raise BackupNeedsKey(public_text(head.recipient))
        try:
            content_key = key.unseal(_INFO + header, wrapped)
        except SealFailed as error:
            raise BackupClosed from error
    else:
        if passphrase is None:
            raise BackupNeedsKey("")
        try:
            content_key = derive_key(passphrase, head.salt, head.cost)
        except (CryptoError, MemoryError) as error:
            raise BackupMalformed("there is no memory for what its passphrase costs") from error
    try:
        body = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            box, header + wrapped, _NONCE, content_key
        )
    except (CryptoError, ValueError, TypeError) as error:
        raise BackupClosed from error
    return Opened(head, _unpack(body))


def restore(home: Path, opened: Opened, also: Mapping[str, bytes], now_ms: int) -> None:
    """Put a backup into a directory that is empty or not there yet.

    `also` is written with it, before it becomes a home.

    Raises:
        HomeInUse, HomeExists, ForeignDirectory, HomeIncomplete: it is not empty.
        BackupMalformed: what is in the backup does not make a home.
    """
    files = dict(opened.files)
    for name in ("identity.key", "chain", "genesis", "incarnation"):
        if name not in files:
            raise BackupMalformed(f"{name!r} is not in it")
    number = files["incarnation"]
    if not _NUMBER.fullmatch(number):
        raise BackupMalformed("its incarnation is no number")
    # The original may have gone on since: what we say must be newer than what it said.
    files["incarnation"] = b"%d\n" % max(int(number), now_ms)
    check_free(home, frozenset())
    make_private_directory(home)
    with hold_lock(home / "lock", home):
        check_free(home, frozenset())
        make_private_directory(home / "tickets")
        for name, data in {**also, **files}.items():
            make_private_directory((home / name).parent)
            write_atomic(home / name, data)
        write_atomic(home / "FORMAT", b"conclave-home %d\n" % FORMAT_VERSION)


def _checked(home: Path) -> Chain:
    """The chain of a home that is whole, and that may have a copy."""
    check_format(home)
    check_private_directory(home)
    finish(home)
    chain, genesis, issuing = read_chain(home), read_genesis(home), read_issuer_chain(home)
    if read_private(home / "identity.key", _MAX_FILE) is None:
        raise HomeDamaged(home / "identity.key", "it is missing")
    above = issuing.certificates if issuing is not None else chain.certificates[1:]
    names_voters = any(each.public_key == genesis.issuer_public_key for each in above[:1])
    is_issuer = read_private(home / "issuer.key", _MAX_FILE) is not None
    if is_issuer and names_voters and read_file(home / "roster", _MAX_FILE) is None:
        raise TooEarlyForBackup(home)
    return chain


def _collect(home: Path) -> dict[str, bytes]:
    found = {name: read_private(home / name, _MAX_FILE) for name in KEY_FILES}
    found |= {name: read_file(home / name, _MAX_FILE) for name in _PAPERS}
    for folder, pattern in _FOLDERS.items():
        for name in sorted(names_in(home / folder)):
            if pattern.fullmatch(name):
                found[f"{folder}/{name}"] = read_file(home / folder / name, _MAX_FILE)
    return {name: data for name, data in found.items() if data is not None}


def _pack(files: Mapping[str, bytes]) -> bytes:
    rows = [[name, data] for name, data in sorted(files.items())]
    pages = [rows[start : start + MAX_ITEMS] for start in range(0, len(rows), MAX_ITEMS)]
    return encode({1: VERSION, 2: pages})


def _unpack(body: bytes) -> dict[str, bytes]:
    try:
        fields = Fields(decode(body, MAX_BYTES))
        fields.integer(1, VERSION, VERSION)
        pages = fields.items(2, MAX_ITEMS)
        fields.finish()
    except NotCanonical as error:
        raise BackupMalformed(f"its contents are {error}") from error
    files: dict[str, bytes] = {}
    for row in (row for page in pages if isinstance(page, list) for row in page):
        if not (isinstance(row, list) and [type(part) for part in row] == [str, bytes]):
            raise BackupMalformed("its contents are no files")
        name, data = row
        folder, _, rest = name.partition("/")
        is_ours = name in KEY_FILES or name in _PAPERS
        if not (is_ours or (folder in _FOLDERS and _FOLDERS[folder].fullmatch(rest))):
            raise BackupMalformed(f"it holds {name[:60]!r}, which no backup has")
        files[name] = data
    return files


def _split(data: bytes) -> tuple[BackupHead, bytes, bytes, bytes]:
    try:
        parts = decode(data, MAX_BYTES)
        if not isinstance(parts, list) or [type(part) for part in parts] != [bytes] * 3:
            raise NotCanonical("not a header, a key and a box")
        header, wrapped, box = parts
        return BackupHead.decode(header), header, wrapped, box
    except NotCanonical as error:
        raise BackupMalformed(f"it is {error}") from error
