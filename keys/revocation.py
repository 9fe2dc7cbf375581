"""A revocation list: which certificates its signer takes back, all of them in one signed object.

Every signer of certificates has a list of its own, like a CRL of X.509 (RFC 5280, section 5): an
issuer's can only mean what that issuer signed, the root's can mean every certificate below it. A
list replaces the one before it as a whole and has a greater sequence. `[body, signature]` in
canonical msgpack (FORMAT.md); the received bytes are kept.

An entry names a serial, or a key (for ever, or its certificates issued before a time), or
everything that was issued before a time. It says until when it is needed: when every certificate
that it could mean has ended, and none can be made any more by an issuer that does not know, the
next list goes without it.

What this module does not know: who may sign a list (`keys.revoking`), what follows from one
(`keys.revocations`), which list came before, files, time.

Invariant: what `decode` returns is well formed in itself; the signature is not yet checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import Final, Protocol

from keys.canonical import MAX_INTEGER, Fields, NotCanonical, decode, encode, pair
from keys.certificate import SERIAL_BYTES
from keys.errors import InvalidValue
from keys.identity import FINGERPRINT_BYTES, NetworkId, decode_id, encode_id, fingerprint
from keys.revocation_refusals import (
    RevocationListFull,
    RevocationListMalformed,
    RevocationListTooLarge,
)
from keys.rootquorum import MAX_SIGNATURE_BYTES

VERSION: Final = 1
DOMAIN: Final = "revocations"
MAX_LIST_BYTES: Final = 64 * 1024
MAX_ENTRIES: Final = 1000
MAX_REASON_CHARS: Final = 40


class EntryKind(IntEnum):
    SERIAL = 1  # one certificate
    KEY = 2  # the certificates of a key
    ALL = 3  # everything that the signer may revoke


_ID_BYTES: Final = {
    EntryKind.SERIAL: SERIAL_BYTES,
    EntryKind.KEY: FINGERPRINT_BYTES,
    EntryKind.ALL: 0,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing taken back.

    Attributes:
        ident: the serial, the key id, or nothing.
        before_ms: only what was issued before this time; 0 for whatever time.
        revoked_ms: when it was taken back.
        until_ms: when everything that it could mean has ended.
        reason: for people; may be empty.
    """

    kind: EntryKind
    ident: bytes
    before_ms: int
    revoked_ms: int
    until_ms: int
    reason: str = ""

    @property
    def place(self) -> tuple[int, bytes]:
        """A list has one entry at each place, in the order of places."""
        return int(self.kind), self.ident

    @property
    def is_for_ever(self) -> bool:
        return self.before_ms == 0

    def merged(self, other: Entry) -> Entry:
        """What means as much as both, which are at one place."""
        assert self.place == other.place
        if self == other:
            return self
        wider = self if self.is_for_ever or not other.is_for_ever else other
        before_ms = 0 if wider.is_for_ever else max(self.before_ms, other.before_ms)
        return Entry(
            self.kind,
            self.ident,
            before_ms,
            min(self.revoked_ms, other.revoked_ms),
            max(self.until_ms, other.until_ms),
            wider.reason or self.reason or other.reason,
        )


class ListSigner(Protocol):
    """The key of an issuer, or what signs for the root."""

    def sign(self, domain: str, body: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class RevocationList:
    """Make one with `make`, read one with `decode`."""

    network_id: NetworkId
    signer_key_id: bytes
    sequence: int
    issued_ms: int
    next_update_ms: int
    entries: tuple[Entry, ...]
    body: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    raw: bytes = field(repr=False)

    @property
    def digest(self) -> bytes:
        """Fingerprint of the body."""
        return fingerprint(self.body)

    @classmethod
    def make(
        cls,
        signer: ListSigner,
        signer_key_id: bytes,
        network_id: NetworkId,
        *,
        sequence: int,
        entries: Iterable[Entry],
        now_ms: int,
        lives_ms: int,
    ) -> RevocationList:
        """Sign these entries; two at one place become one.

        Raises:
            RevocationListFull: more than a list holds.
            InvalidValue: a field is out of its bounds.
        """
        ordered = merged_entries(entries)
        if len(ordered) > MAX_ENTRIES:
            raise RevocationListFull(f"{len(ordered):,} entries", f"{MAX_ENTRIES:,}")
        fields = {
            1: VERSION,
            2: decode_id(network_id),
            3: signer_key_id,
            4: sequence,
            5: now_ms,
            6: now_ms + lives_ms,
            7: [_plain(entry) for entry in ordered],
        }
        body = encode(fields)
        raw = encode([body, signer.sign(DOMAIN, body)])
        if len(raw) > MAX_LIST_BYTES:
            raise RevocationListFull(f"{len(raw):,} bytes", f"{MAX_LIST_BYTES:,}")
        try:
            return cls.decode(raw)
        except RevocationListMalformed as error:
            raise InvalidValue("a revocation list", str(error)) from error

    @classmethod
    def decode(cls, raw: bytes) -> RevocationList:
        """
        Raises:
            RevocationListTooLarge, RevocationListMalformed.
        """
        if len(raw) > MAX_LIST_BYTES:
            raise RevocationListTooLarge(len(raw), MAX_LIST_BYTES)
        try:
            body, signature = pair(
                decode(raw, MAX_LIST_BYTES), MAX_LIST_BYTES, longest=MAX_SIGNATURE_BYTES
            )
            fields = Fields(decode(body, MAX_LIST_BYTES, max_items=MAX_ENTRIES))
            fields.integer(1, VERSION, VERSION)
            made = cls(
                network_id=NetworkId(encode_id(fields.binary(2, FINGERPRINT_BYTES))),
                signer_key_id=fields.binary(3, FINGERPRINT_BYTES),
                sequence=fields.integer(4, 1, MAX_INTEGER),
                issued_ms=fields.integer(5),
                next_update_ms=fields.integer(6),
                entries=_entries(fields.items(7, MAX_ENTRIES)),
                body=body,
                signature=signature,
                raw=raw,
            )
            fields.finish()
        except NotCanonical as error:
            raise RevocationListMalformed(str(error)) from error
        if made.next_update_ms <= made.issued_ms:
            raise RevocationListMalformed("its next update is not after its making")
        return made


def merged_entries(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """In the order of a list, one at each place."""
    found: dict[tuple[int, bytes], Entry] = {}
    for entry in entries:
        before = found.get(entry.place)
        found[entry.place] = entry if before is None else before.merged(entry)
    return tuple(found[place] for place in sorted(found))


def _plain(entry: Entry) -> list[object]:
    return [
        int(entry.kind),
        entry.ident,
        entry.before_ms,
        entry.revoked_ms,
        entry.until_ms,
        entry.reason,
    ]


def _entries(items: list[object]) -> tuple[Entry, ...]:
    found = tuple(_entry(item) for item in items)
    places = [entry.place for entry in found]
    if any(later <= earlier for earlier, later in pairwise(places)):
        raise NotCanonical("the entries are not in order, each once")
    return found


def _entry(item: object) -> Entry:
    if not isinstance(item, list) or len(item) != 6:
        raise NotCanonical("an entry does not have six fields")
    fields = Fields(dict(enumerate(item)))
    kind = EntryKind(fields.integer(0, min(EntryKind), max(EntryKind)))
    entry = Entry(
        kind,
        fields.binary(1, _ID_BYTES[kind]),
        fields.integer(2),
        fields.integer(3),
        fields.integer(4),
        fields.text(5, MAX_REASON_CHARS),
    )
    if kind is EntryKind.SERIAL and entry.before_ms:
        raise NotCanonical("an entry of one certificate has a time that it does not need")
    if kind is EntryKind.ALL and not entry.before_ms:
        raise NotCanonical("an entry of all certificates lacks its time")
    if not entry.reason.isprintable():
        raise NotCanonical("the reason of an entry is not printable")
    return entry
