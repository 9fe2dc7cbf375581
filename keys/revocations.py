"""What is revoked, from all lists together: an immutable snapshot that answers in microseconds.

Of each signer the list with the greatest sequence is in force. An issuer's list means only
certificates which that key signed; a root's list means every certificate below that root and
those before it, but none below its successors: its key may be why it was replaced. When a
root's list revokes the *key* of an issuer for ever, everything which that key signed is refused
anyway, so its own list is dropped: whoever stole the key can say nothing with it. Which lists are
in force thus depends on which were ever heard, and not on the order of hearing.

When was a certificate issued? It is dated back by five minutes, or less where its issuer's own
certificate begins later; `issued_ms` is the earliest time that its dates allow, so that a cutoff
rather means too much than too little.

What this module does not know: how a list is verified (`keys.revoking`), files, who spreads lists.

Invariants: for each signer, a list is only followed by one with a greater sequence; of two with
the same number the first stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from keys.certificate import Certificate, CertificateKind
from keys.identity import fingerprint
from keys.refusals import (
    CertificateRevoked,
)
from keys.revocation import Entry, EntryKind, RevocationList
from keys.revocation_refusals import (
    RevocationConflict,
    RevocationListsTooMany,
    RevocationOlder,
    RevocationSignerRevoked,
)

MAX_LISTS: Final = 128
HEAD_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Revocable:
    """What a revocation can name a certificate by."""

    name: str
    issuer_key_id: bytes
    serial: bytes
    key_id: bytes
    issued_ms: int
    root_key_id: bytes


@dataclass(frozen=True, slots=True)
class ListInForce:
    """A verified list, and the chain of its signer, with which anybody can verify it."""

    list: RevocationList
    signer: Certificate
    chain: bytes = field(repr=False)
    roots: tuple[bytes, ...]  # key ids of the roots in that chain, the newest first

    @property
    def is_root(self) -> bool:
        return self.signer.kind is CertificateKind.ROOT

    @property
    def key_id(self) -> bytes:
        return self.list.signer_key_id

    @property
    def place(self) -> tuple[bytes, int]:
        return self.key_id, self.list.sequence


@dataclass(frozen=True, slots=True)
class Have:
    """Which list of a signer somebody has."""

    key_id: bytes
    sequence: int
    digest: bytes  # of the list's body


class _Index:
    """One list, ready to be asked."""

    __slots__ = ("before_ms", "everything", "keys", "serials", "source")

    def __init__(self, source: ListInForce) -> None:
        self.source = source
        entries = source.list.entries
        self.serials = {e.ident: e for e in entries if e.kind is EntryKind.SERIAL}
        self.keys = {e.ident: e for e in entries if e.kind is EntryKind.KEY}
        self.everything = next((e for e in entries if e.kind is EntryKind.ALL), None)

    def entry_for(self, issued: Revocable) -> Entry | None:
        found = self.serials.get(issued.serial)
        if found is not None:
            return found
        for entry in (self.keys.get(issued.key_id), self.everything):
            if entry is not None and (entry.is_for_ever or issued.issued_ms < entry.before_ms):
                return entry
        return None


class Revocations:
    """All lists in force. Make one with `Revocations()`, and a later one with `taking`."""

    __slots__ = ("_by_signer", "_lists", "_roots", "digest", "head")

    def __init__(self, lists: Mapping[bytes, ListInForce] | None = None) -> None:
        self._lists = dict(lists or {})
        indexes = {key_id: _Index(each) for key_id, each in sorted(self._lists.items())}
        self._by_signer = {k: i for k, i in indexes.items() if not i.source.is_root}
        self._roots = tuple(i for i in indexes.values() if i.source.is_root)
        self.head = self._hash(with_digests=False)
        self.digest = self._hash(with_digests=True)

    def __len__(self) -> int:
        return len(self._lists)

    def __iter__(self) -> Iterator[ListInForce]:
        """By the signer's key id."""
        return iter(self._lists[key_id] for key_id in sorted(self._lists))

    def of(self, signer_key_id: bytes) -> ListInForce | None:
        return self._lists.get(signer_key_id)

    def have(self) -> tuple[Have, ...]:
        return tuple(Have(each.key_id, each.list.sequence, each.list.digest) for each in self)

    # -- what is revoked -----------------------------------------------------------------------

    def check(self, certificates: Iterable[Revocable]) -> None:
        """
        Raises:
            CertificateRevoked: one of these is; the highest one that is, if they come root first.
        """
        if not self._lists:
            return
        for issued in certificates:
            found = self._found(issued)
            if found is not None:
                entry, source = found
                by = source.signer.name
                raise CertificateRevoked(issued.name, by, entry.revoked_ms, entry.reason)

    def against(self, certificates: Iterable[Revocable]) -> ListInForce | None:
        """The list by which `check` refuses these; None when it does not."""
        found = (self._found(issued) for issued in certificates)
        return next((each[1] for each in found if each is not None), None)

    def check_key(self, key_id: bytes, name: str, root_key_id: bytes | None = None) -> None:
        """For issuers: nobody gives another certificate to what one of them took back for ever.

        Args:
            root_key_id: of who would give it; the roots before that one have no say.

        Raises:
            CertificateRevoked: any signer has revoked this key, whether it signed for it or not.
        """
        for index in (*self._by_signer.values(), *self._roots):
            is_former = index.source.is_root and root_key_id not in (None, *index.source.roots)
            entry = None if is_former else index.keys.get(key_id)
            if entry is not None and entry.is_for_ever:
                by = index.source.signer.name
                raise CertificateRevoked(name, by, entry.revoked_ms, entry.reason)

    def _found(self, issued: Revocable) -> tuple[Entry, ListInForce] | None:
        own = self._by_signer.get(issued.issuer_key_id)
        roots = (each for each in self._roots if issued.root_key_id in each.source.roots)
        for index in (*roots, own) if own is not None else roots:
            entry = index.entry_for(issued)
            if entry is not None:
                return entry, index.source
        return None

    # -- later ---------------------------------------------------------------------------------

    def taking(self, new: ListInForce) -> Revocations:
        """These and a verified list; ourselves when it is one that we have.

        Raises:
            RevocationOlder, RevocationConflict, RevocationSignerRevoked, RevocationListsTooMany.
        """
        known = self._lists.get(new.key_id)
        if known is not None:
            name, sequence = new.signer.name, new.list.sequence
            if sequence < known.list.sequence:
                raise RevocationOlder(name, sequence, known.list.sequence)
            if sequence == known.list.sequence:
                if new.list.body != known.list.body:
                    raise RevocationConflict(name, sequence)
                return self
        elif len(self._lists) >= MAX_LISTS:
            raise RevocationListsTooMany(MAX_LISTS)
        if self._is_disowned(new):
            raise RevocationSignerRevoked(new.signer.name)
        changed = Revocations({**self._lists, new.key_id: new})
        gone = [each.key_id for each in changed if changed._is_disowned(each)]
        if not gone:
            return changed
        return Revocations({k: each for k, each in changed._lists.items() if k not in gone})

    def _is_disowned(self, listed: ListInForce) -> bool:
        if listed.is_root:
            return False
        above = (each for each in self._roots if listed.roots[0] in each.source.roots)
        entries = (index.keys.get(listed.key_id) for index in above)
        return any(entry is not None and entry.is_for_ever for entry in entries)

    # -- how old -------------------------------------------------------------------------------

    def stale(self, now_ms: int) -> tuple[ListInForce, int] | None:
        """The list that should have been made anew the longest ago, and for how many ms.

        A signer whose certificate has ended signs no more: nothing below it is valid either.
        """
        late = [
            (now_ms - each.list.next_update_ms, each)
            for each in self
            if now_ms > each.list.next_update_ms and now_ms <= each.signer.not_after_ms
        ]
        if not late:
            return None
        late_ms, which = max(late, key=lambda pair: pair[0])
        return which, late_ms

    def _hash(self, *, with_digests: bool) -> bytes:
        summed = hashlib.blake2b(b"conclave/revocations-head/v1\0", digest_size=HEAD_BYTES)
        for each in self:
            summed.update(each.key_id + each.list.sequence.to_bytes(8, "big"))
            if with_digests:
                summed.update(fingerprint(each.list.body))
        return summed.digest()


NOTHING_REVOKED: Final = Revocations()
