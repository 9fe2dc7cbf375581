"""What the others offer, as far as we have heard: a pure core without time of its own.

A table is its owner's word, of one start of the owner, up to one version. Pages that begin where
we stand are applied; one that begins later shows a gap, and the rest is to be asked for. A digest
of the version that we stand at has to be ours: where it is not, the table is asked for anew, at
most once a minute, since nobody should be able to have us do so all the time.

What this module does not know: how pages travel, what an entry means, who is alive.

Invariants (`check_invariants`): a table holds at most so many entries of so many bytes; what did
not fit was counted, and the digest of such a table is not compared.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum, auto

from keys import PeerId
from p2p.adverts.messages import HASH_BYTES, Page, read_digest

MAX_ENTRIES = 4096
MAX_ENTRY_BYTES = 128 * 1024
MAX_TABLE_BYTES = 1024 * 1024
MAX_NAME_CHARS = 128
REPAIR_EVERY_MS = 60_000

Changes = Mapping[str, bytes | None]  # None: there is no such entry any more


def digest_of(entries: Mapping[str, bytes]) -> bytes:
    """Return the hash of a table: of its names and entries, by name."""
    hashed = hashlib.blake2b(digest_size=HASH_BYTES)
    for name in sorted(entries):
        said, entry = name.encode("utf-8", "surrogatepass"), entries[name]
        hashed.update(len(said).to_bytes(4, "big") + said + len(entry).to_bytes(4, "big"))
        hashed.update(entry)
    return hashed.digest()


class Wish(Enum):
    """What follows from what a peer said."""

    NOTHING = auto()
    ASK = auto()  # it has more than we know


class Table:
    """What one start of one peer offers, as far as we know."""

    __slots__ = ("checked", "entries", "incarnation", "is_cut", "size", "version")

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.version = 0
        self.entries: dict[str, bytes] = {}
        self.size = 0
        self.is_cut = False  # something did not fit
        self.checked = -1  # the version whose digest was found to be right


class Tables:
    """The tables of all others."""

    def __init__(self) -> None:
        self._tables: dict[PeerId, Table] = {}
        self._repaired_ms: dict[PeerId, int] = {}
        self.counts: Counter[str] = Counter()

    def entries_of(self, peer_id: PeerId) -> Mapping[str, bytes]:
        table = self._tables.get(peer_id)
        return table.entries if table is not None else {}

    def standing(self, peer_id: PeerId) -> tuple[int, int]:
        """Return the incarnation and the version up to which a peer's table is known."""
        table = self._tables.get(peer_id)
        return (table.incarnation, table.version) if table is not None else (0, 0)

    def forget(self, peer_id: PeerId) -> None:
        """It is gone, and with it what it offers."""
        self._tables.pop(peer_id, None)

    def forget_repairs(self, now_ms: int) -> None:
        self._repaired_ms = {
            p: at for p, at in self._repaired_ms.items() if now_ms - at < REPAIR_EVERY_MS
        }

    def heard(self, peer_id: PeerId, incarnation: int, digest: bytes, now_ms: int) -> Wish:
        """A peer says in a heartbeat where its table stands."""
        said = read_digest(digest)
        if said is None:
            return Wish.NOTHING
        version, table_hash = said
        table = self._tables.get(peer_id)
        if table is None or incarnation > table.incarnation:
            return Wish.ASK  # also for nothing: then it is known that it offers nothing
        if incarnation < table.incarnation or version < table.version:
            return Wish.NOTHING
        if version > table.version:
            return Wish.ASK
        if table.is_cut or table.checked == version:
            return Wish.NOTHING
        if digest_of(table.entries) == table_hash:
            table.checked = version
            return Wish.NOTHING
        return self._repair(peer_id, table, now_ms)

    def _repair(self, peer_id: PeerId, table: Table, now_ms: int) -> Wish:
        self.counts["digest_wrong"] += 1
        last_ms = self._repaired_ms.get(peer_id)
        if last_ms is not None and now_ms - last_ms < REPAIR_EVERY_MS:
            return Wish.NOTHING
        self.forget_repairs(now_ms)
        self._repaired_ms[peer_id] = now_ms
        table.version = 0  # what is there serves until the first page of the new one
        return Wish.ASK

    def take(self, peer_id: PeerId, page: Page) -> tuple[Changes, Wish]:
        """Take a page of a peer's table; return what changed, and whether there is more."""
        table = self._tables.get(peer_id)
        if table is not None and page.incarnation < table.incarnation:
            self.counts["stale"] += 1
            return {}, Wish.NOTHING
        if table is None or page.incarnation > table.incarnation:
            if page.since > 0:
                return {}, Wish.ASK
            before, table = table, Table(page.incarnation)
            self._tables[peer_id] = table
        elif page.since > table.version:
            return {}, Wish.ASK
        elif page.upto <= table.version and page.upto > 0:
            return {}, Wish.ASK if page.latest > table.version else Wish.NOTHING
        else:
            before = None
            if table.version == 0 and table.entries:  # begun anew, see `_repair`
                before, table = table, Table(page.incarnation)
                self._tables[peer_id] = table
        changes: dict[str, bytes | None] = {}
        if before is not None:
            changes.update(dict.fromkeys(before.entries))
        changes.update(self._apply(table, page.entries))
        table.version = page.upto
        return changes, Wish.ASK if page.latest > page.upto else Wish.NOTHING

    def _apply(
        self, table: Table, entries: Iterable[tuple[str, bytes | None]]
    ) -> dict[str, bytes | None]:
        changes: dict[str, bytes | None] = {}
        for said, entry in entries:
            name = sys.intern(said)  # one copy for all who have an agent of this name
            table.size -= len(table.entries.get(name, b""))
            if entry is None:
                table.entries.pop(name, None)
            elif self._fits(table, name, entry):
                table.entries[name] = entry
                table.size += len(entry)
            else:
                table.is_cut = True
                self.counts["too_much"] += 1
                table.entries.pop(name, None)
                entry = None
            changes[name] = entry
        return changes

    def _fits(self, table: Table, name: str, entry: bytes) -> bool:
        return (
            len(name) <= MAX_NAME_CHARS
            and len(entry) <= MAX_ENTRY_BYTES
            and table.size + len(entry) <= MAX_TABLE_BYTES
            and (name in table.entries or len(table.entries) < MAX_ENTRIES)
        )

    def check_invariants(self) -> None:
        for table in self._tables.values():
            assert len(table.entries) <= MAX_ENTRIES
            assert table.size == sum(map(len, table.entries.values())) <= MAX_TABLE_BYTES
            assert table.version >= 0
