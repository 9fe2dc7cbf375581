"""What an issuer remembers of the certificates that it gave: one file for each key.

A certificate's entry is durable before the certificate exists, so that everything that was ever
handed out can be named, shown and revoked. An entry holds all that its certificate is made of:
whoever asks again with the same nonce gets the same bytes, also after a crash between entry and
answer.

What this module does not know: certificates, requests, who may ask.

Bounds: the last `MAX_FOR_KEY` of a key that have not ended are kept. A key is revoked as a whole,
so that one who asks often does not escape by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keys.canonical import Fields, NotCanonical, decode, encode
from keys.certificate import MAX_RENEWED_FROM, SERIAL_BYTES
from keys.errors import HomeDamaged
from keys.files import make_private_directory, names_in, read_private, remove_file, write_atomic
from keys.identity import FINGERPRINT_BYTES, KEY_BYTES, PeerId, peer_id_of
from keys.names import MAX_NAME_CHARS, MAX_NAMESPACES
from keys.renewal import NONCE_BYTES
from keys.roles import ALL_ROLES, Role

VERSION: Final = 1
MAX_FOR_KEY: Final = 16
KEEP_AFTER_END_MS: Final = 86_400_000

_MAX_FILE_BYTES: Final = 64 * 1024
_FILE_NAME = re.compile(r"[a-z2-7]{52}")


@dataclass(frozen=True, slots=True)
class Issued:
    """One certificate that was given."""

    public_key: bytes
    serial: bytes
    name: str
    roles: Role
    namespaces: tuple[str, ...]
    issued_ms: int
    not_after_ms: int
    nonce: bytes  # of the request; for a join, the ticket's id and zeros
    issuer_key_id: bytes
    renewed_from: tuple[bytes, ...] = ()  # other issuers, on whose word it was given

    @property
    def peer_id(self) -> PeerId:
        return peer_id_of(self.public_key)


class IssuedBook:
    """The directory. One process writes at a time: the one that holds the home's lock, or a
    command while no node runs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, issued: Issued, now_ms: int) -> Issued:
        """Note it, durably. Returns the entry that holds: an earlier one of the same request.

        Raises:
            HomeDamaged, HomeUnreadable, InsecurePermissions.
        """
        before = self.of_key(issued.peer_id)
        for each in before:
            if each.nonce == issued.nonce and each.issuer_key_id == issued.issuer_key_id:
                return each
        living = [each for each in before if each.not_after_ms + KEEP_AFTER_END_MS >= now_ms]
        kept = [*living, issued][-MAX_FOR_KEY:]
        make_private_directory(self._directory)
        write_atomic(self._path(issued.peer_id), _encode(issued.public_key, kept))
        return issued

    def of_key(self, peer_id: PeerId) -> tuple[Issued, ...]:
        """What this peer's key was given, the oldest first.

        Raises:
            HomeDamaged, HomeUnreadable, InsecurePermissions.
        """
        path = self._path(peer_id)
        data = read_private(path, _MAX_FILE_BYTES)
        if data is None:
            return ()
        try:
            return _decode(data)
        except NotCanonical as error:
            raise HomeDamaged(path, str(error)) from error

    def __iter__(self) -> Iterator[Issued]:
        """Everything, key by key.

        Raises:
            HomeDamaged, HomeUnreadable, InsecurePermissions.
        """
        for name in sorted(names_in(self._directory)):
            if _FILE_NAME.fullmatch(name):
                yield from self.of_key(PeerId(name))

    def forget_old(self, now_ms: int) -> int:
        """Remove the keys whose certificates have all ended, and say how many."""
        removed = 0
        for name in sorted(names_in(self._directory)):
            if not _FILE_NAME.fullmatch(name):
                continue
            entries = self.of_key(PeerId(name))
            if all(each.not_after_ms + KEEP_AFTER_END_MS < now_ms for each in entries):
                remove_file(self._directory / name)
                removed += 1
        return removed

    def _path(self, peer_id: PeerId) -> Path:
        return self._directory / peer_id


def _encode(public_key: bytes, entries: list[Issued]) -> bytes:
    return encode(
        {
            1: VERSION,
            2: public_key,
            3: [
                encode(
                    {
                        1: each.serial,
                        2: each.name,
                        3: int(each.roles),
                        4: list(each.namespaces),
                        5: each.issued_ms,
                        6: each.not_after_ms,
                        7: each.nonce,
                        8: each.issuer_key_id,
                        **({9: list(each.renewed_from)} if each.renewed_from else {}),
                    }
                )
                for each in entries
            ],
        }
    )


def _decode(data: bytes) -> tuple[Issued, ...]:
    fields = Fields(decode(data, _MAX_FILE_BYTES))
    fields.integer(1, VERSION, VERSION)
    public_key = fields.binary(2, KEY_BYTES)
    entries = [_entry(public_key, raw) for raw in fields.blobs(3, MAX_FOR_KEY, _MAX_FILE_BYTES)]
    fields.finish()
    return tuple(entries)


def _entry(public_key: bytes, raw: bytes) -> Issued:
    plain = decode(raw, _MAX_FILE_BYTES)
    has_others = isinstance(plain, dict) and 9 in plain
    fields = Fields(plain)
    issued = Issued(
        public_key=public_key,
        serial=fields.binary(1, SERIAL_BYTES),
        name=fields.text(2, MAX_NAME_CHARS),
        roles=Role(fields.integer(3, 0, ALL_ROLES)),
        namespaces=fields.texts(4, MAX_NAMESPACES, MAX_NAME_CHARS),
        issued_ms=fields.integer(5),
        not_after_ms=fields.integer(6),
        nonce=fields.binary(7, NONCE_BYTES),
        issuer_key_id=fields.binary(8, FINGERPRINT_BYTES),
        renewed_from=fields.binaries(9, MAX_RENEWED_FROM, FINGERPRINT_BYTES) if has_others else (),
    )
    fields.finish()
    return issued
