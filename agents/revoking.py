"""Whom a person means who wants to revoke somebody, and the entry that says so.

A name, a peer id or the start of one means a key, for ever: who holds it gets no other certificate
for it. A serial means one certificate. Who is known: what this issuer has issued, and who has a
session with this node.

What this module does not know: who may revoke, how a list spreads, command lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from agents.errors import NotRevoked
from keys import (
    Certificate,
    Entry,
    EntryKind,
    PeerId,
    Role,
    decode_id,
    encode_id,
    entry_of_all,
    entry_of_key,
    entry_of_serial,
    peer_id_of,
)

if TYPE_CHECKING:
    from keys.issuing import Issued

MIN_START_CHARS: Final = 6  # a shorter start may be a name
_SERIAL = re.compile(r"[0-9a-f]{32}")
_PEER_ID = re.compile(r"[a-z2-7]{52}")


@dataclass(frozen=True, slots=True)
class Known:
    """Somebody who could be meant.

    Attributes:
        roles: those that it has been given, together.
        serials: of the certificates that we know of.
    """

    peer_id: PeerId
    name: str
    roles: Role
    namespaces: tuple[str, ...]
    serials: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be revoked, before a signer makes an entry of it.

    Attributes:
        ident: the serial, the key id, or nothing.
        before_ms: only what was issued before this time; 0 for whatever time.
        whom: who that is, as far as is known.
    """

    kind: EntryKind
    ident: bytes
    before_ms: int
    reason: str
    whom: Known | None = None

    def entry(self, signer: Certificate, now_ms: int) -> Entry:
        """
        Raises:
            InvalidValue: the reason or the time does not do.
        """
        match self.kind:
            case EntryKind.SERIAL:
                return entry_of_serial(self.ident, signer, now_ms, self.reason)
            case EntryKind.KEY:
                return entry_of_key(
                    self.ident, signer, now_ms, before_ms=self.before_ms, reason=self.reason
                )
            case _:
                return entry_of_all(self.before_ms, signer, now_ms, self.reason)

    def to_wire(self) -> list[object]:
        return [int(self.kind), self.ident, self.before_ms, self.reason]

    @classmethod
    def from_wire(cls, fields: object) -> Wish | None:
        """Read what a peer sent; None when it is none. A signer checks it again."""
        match fields:
            case [int() as kind, bytes() as ident, int() as before_ms, str() as reason, *_]:
                lengths = {EntryKind.SERIAL: 16, EntryKind.KEY: 32}
                if kind not in lengths or len(ident) != lengths[EntryKind(kind)] or before_ms < 0:
                    return None
                return cls(EntryKind(kind), ident, before_ms, reason)
        return None


def known_of(issued: Iterable[Issued]) -> list[Known]:
    """Who was issued certificates, each key once."""
    found: dict[bytes, Known] = {}
    for each in issued:
        before = found.get(each.public_key)
        roles = each.roles | before.roles if before is not None else each.roles
        serials = (before.serials if before is not None else frozenset()) | {each.serial}
        peer_id = peer_id_of(each.public_key)
        found[each.public_key] = Known(peer_id, each.name, roles, each.namespaces, serials)
    return list(found.values())


def together(*groups: Iterable[Known]) -> list[Known]:
    """Each peer once."""
    found: dict[PeerId, Known] = {}
    for each in (each for group in groups for each in group):
        before = found.get(each.peer_id)
        serials = each.serials | (before.serials if before is not None else frozenset())
        roles = each.roles | (before.roles if before is not None else Role(0))
        found[each.peer_id] = Known(each.peer_id, each.name, roles, each.namespaces, serials)
    return list(found.values())


def wish_of(word: str, known: Iterable[Known], *, before_ms: int = 0, reason: str = "") -> Wish:
    """What this word of a person means.

    Raises:
        NotRevoked: nobody is called so, or several are.
    """
    everybody = list(known)
    if _SERIAL.fullmatch(word):
        serial = bytes.fromhex(word)
        whom = next((each for each in everybody if serial in each.serials), None)
        if before_ms:
            raise NotRevoked(word, ("a serial is one certificate; leave the time out",))
        return Wish(EntryKind.SERIAL, serial, 0, reason, whom)
    meant = [each for each in everybody if word in (each.peer_id, each.name)]
    if not meant and len(word) >= MIN_START_CHARS:
        meant = [each for each in everybody if each.peer_id.startswith(word)]
    if len(meant) > 1:
        ids = ", ".join(each.peer_id for each in meant)
        raise NotRevoked(word, (f"several are called so: {ids}; say which, by its id",))
    if meant:
        ident = decode_id(meant[0].peer_id)
        return Wish(EntryKind.KEY, ident, before_ms, reason, meant[0])
    if _PEER_ID.fullmatch(word):
        return Wish(EntryKind.KEY, decode_id(word), before_ms, reason)
    names = sorted({each.name for each in everybody})
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "") if names else "nobody"
    raise NotRevoked(
        word,
        (
            f"nobody of that name, id or serial is known here; known: {shown}. "
            "A whole id or serial is taken also of somebody unknown",
        ),
    )


def wish_of_all(before_ms: int, reason: str = "") -> Wish:
    """Everything that was issued before a time."""
    return Wish(EntryKind.ALL, b"", before_ms, reason)


def words_of(entry: Entry, names: dict[bytes, str]) -> str:
    """An entry for people, with the name of who is meant where that is known."""
    match entry.kind:
        case EntryKind.SERIAL:
            what = f"certificate {entry.ident.hex()}"
        case EntryKind.KEY:
            what = f"key {encode_id(entry.ident)}"
        case _:
            what = "everything"
    name = names.get(entry.ident)
    return f"{what} ({name})" if name else what
