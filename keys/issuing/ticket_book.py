"""What an issuer remembers of its tickets, on disk: the note of each, and who used it.

`<id>.ticket` is written by `invite`; `<id>.used` is created at most once, whole and durable, before
any certificate for it exists. The used mark holds all that the grant is made of, so that the same
newcomer asking again gets the same bytes, also after a crash between mark and answer.

What this module does not know: certificates, requests, secrets. A note holds the HMAC key that is
derived from a ticket's secret, not the secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from keys.canonical import Fields, NotCanonical, decode, encode
from keys.certificate import SERIAL_BYTES
from keys.errors import HomeDamaged, InsecurePermissions, InvalidValue
from keys.files import create_exclusive, names_in, read_private, remove_file
from keys.identity import KEY_BYTES
from keys.names import MAX_NAME_CHARS, MAX_NAMESPACES
from keys.roles import ALL_ROLES, Role
from keys.secret import Unpicklable

VERSION: Final = 1
MAX_TICKETS: Final = 1000
FORGET_AFTER_MS: Final = 30 * 86_400_000

_MAX_NOTE_BYTES: Final = 2048
_MAC_KEY_BYTES: Final = 32
_T = TypeVar("_T")
_NOTE_NAME = re.compile(r"([0-9a-f]{16})\.ticket")


@dataclass(frozen=True, slots=True)
class TicketNote(Unpicklable):
    """What the issuer goes by; the line that the bearer holds decides nothing."""

    ticket_id: bytes
    mac_key: bytes = field(repr=False)
    expires_ms: int
    roles: Role
    namespaces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UsedMark:
    """Who used a ticket and everything that their certificate is made of."""

    public_key: bytes
    name: str
    serial: bytes
    issued_ms: int


class TicketBook:
    """The directory of tickets. Safe to use from several processes at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, note: TicketNote) -> None:
        """
        Raises:
            InvalidValue: so many tickets are outstanding that something is wrong.
        """
        if len(self._ids()) >= MAX_TICKETS:
            raise InvalidValue("tickets", f"{MAX_TICKETS} are kept already; let old ones expire")
        data = encode(
            {
                1: VERSION,
                2: note.mac_key,
                3: note.expires_ms,
                4: int(note.roles),
                5: list(note.namespaces),
            }
        )
        created = create_exclusive(self._note_path(note.ticket_id), data)
        assert created, "64 random bits came twice"

    def find(self, ticket_id: bytes) -> TicketNote | None:
        """
        Raises:
            HomeDamaged, HomeUnreadable, InsecurePermissions.
        """
        return _read(
            self._note_path(ticket_id),
            lambda fields: TicketNote(
                ticket_id=ticket_id,
                mac_key=fields.binary(2, _MAC_KEY_BYTES),
                expires_ms=fields.integer(3),
                roles=Role(fields.integer(4, 0, ALL_ROLES)),
                namespaces=fields.texts(5, MAX_NAMESPACES, MAX_NAME_CHARS),
            ),
        )

    def used_by(self, ticket_id: bytes) -> UsedMark | None:
        """
        Raises:
            HomeDamaged, HomeUnreadable, InsecurePermissions.
        """
        return _read(
            self._mark_path(ticket_id),
            lambda fields: UsedMark(
                public_key=fields.binary(2, KEY_BYTES),
                name=fields.text(3, MAX_NAME_CHARS),
                serial=fields.binary(4, SERIAL_BYTES),
                issued_ms=fields.integer(5),
            ),
        )

    def claim(self, ticket_id: bytes, mark: UsedMark) -> UsedMark:
        """Mark the ticket used, durably. Returns the mark that holds: another's if it was first."""
        data = encode(
            {1: VERSION, 2: mark.public_key, 3: mark.name, 4: mark.serial, 5: mark.issued_ms}
        )
        if create_exclusive(self._mark_path(ticket_id), data):
            return mark
        first = self.used_by(ticket_id)
        assert first is not None
        return first

    def forget_old(self, now_ms: int) -> int:
        """Remove what expired long ago, and say how many. The note goes before its mark."""
        removed = 0
        for ticket_id in self._ids():
            try:
                note = self.find(ticket_id)
            except (HomeDamaged, InsecurePermissions):
                continue  # it lets nobody in, and must not keep others from being invited
            if note is not None and note.expires_ms + FORGET_AFTER_MS < now_ms:
                remove_file(self._note_path(ticket_id))
                remove_file(self._mark_path(ticket_id))
                removed += 1
        return removed

    def _ids(self) -> list[bytes]:
        matches = (_NOTE_NAME.fullmatch(name) for name in sorted(names_in(self._directory)))
        return [bytes.fromhex(match[1]) for match in matches if match]

    def _note_path(self, ticket_id: bytes) -> Path:
        return self._directory / f"{ticket_id.hex()}.ticket"

    def _mark_path(self, ticket_id: bytes) -> Path:
        return self._directory / f"{ticket_id.hex()}.used"


def _read(path: Path, of: Callable[[Fields], _T]) -> _T | None:
    """What a file of the book says, of which `of` takes every field; None if there is no file.

    Raises:
        HomeDamaged, HomeUnreadable, InsecurePermissions.
    """
    data = read_private(path, _MAX_NOTE_BYTES)
    if data is None:
        return None
    try:
        fields = Fields(decode(data, _MAX_NOTE_BYTES))
        fields.integer(1, VERSION, VERSION)
        found = of(fields)
        fields.finish()
    except NotCanonical as error:
        raise HomeDamaged(path, str(error)) from error
    return found
