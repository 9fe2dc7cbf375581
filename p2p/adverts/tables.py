"""What the others offer, as far as we have heard: a pure core without time of its own.

A table is its owner's word, of one start of the owner, up to one version. Pages that begin where
we stand are applied; one that begins later shows a gap, and the rest is to be asked for. A digest
of the version that we stand at has to be ours: where it is not, the table is asked for anew, at
most once a minute, since nobody should be able to have us do so all the time.

A table with its owner's proof can be passed on: pages of it can be made here as the owner makes
them, and one that somebody else passes on is taken as a whole (`staged.py`), when its hash is the
one that the owner has signed.

What this module does not know: how pages travel, what an entry means, who is alive, signatures.

Invariants (`check_invariants`): a table holds at most so many entries of so many bytes; what did
not fit was counted, and the digest of such a table is not compared; a proof is of the table as it
is.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum, auto

from keys import PeerId
from p2p.adverts.messages import HASH_BYTES, Entry, Page, Proof, read_digest
from p2p.adverts.staged import Staged

MAX_ENTRIES = 4096
MAX_ENTRY_BYTES = 128 * 1024
MAX_TABLE_BYTES = 1024 * 1024
MAX_NAME_CHARS = 128
ENTRY_OVERHEAD_BYTES = 8
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


# Of all who offer nothing, and so never changed: an empty dict for each would be memory.
_NO_ENTRIES: dict[str, bytes] = {}
_NO_VERSIONS: dict[str, int] = {}


class Table:
    """What one start of one peer offers, as far as we know."""

    __slots__ = ("at", "checked", "entries", "incarnation", "is_cut", "proof", "size", "version")

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.version = 0
        self.entries = _NO_ENTRIES
        # By name, also of those that are gone, in this order: by which version it was so at last.
        self.at = _NO_VERSIONS
        self.size = 0
        self.is_cut = False  # something did not fit
        self.checked = -1  # the version whose digest was found to be right
        self.proof: Proof | None = None

    def put(self, name: str, entry: bytes | None, version: int) -> None:
        if self.at is _NO_VERSIONS:
            self.entries, self.at = {}, {}
        self.size -= len(self.entries.get(name, b""))
        self.at.pop(name, None)  # to the end
        self.at[name] = version
        if entry is None:
            self.entries.pop(name, None)
        else:
            self.entries[name] = entry
            self.size += len(entry)

    def fits(self, name: str, entry: bytes | None) -> bool:
        size = self.size - len(self.entries.get(name, b"")) + len(entry or b"")
        return (
            len(name) <= MAX_NAME_CHARS
            and len(entry or b"") <= MAX_ENTRY_BYTES
            and size <= MAX_TABLE_BYTES
            and (name in self.at or len(self.at) < MAX_ENTRIES)
        )

    def copy(self) -> Table:
        twin = Table(self.incarnation)
        twin.version, twin.size = self.version, self.size
        twin.entries, twin.at = dict(self.entries), dict(self.at)
        return twin


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
        table.proof = None
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
        changes.update(self._apply(table, page.entries, page.upto))
        if table.version != page.upto:
            table.proof = None
        table.version = page.upto
        return changes, Wish.ASK if page.latest > page.upto else Wish.NOTHING

    def _apply(
        self, table: Table, entries: Iterable[Entry], version: int
    ) -> dict[str, bytes | None]:
        changes: dict[str, bytes | None] = {}
        for said, entry in entries:
            name = sys.intern(said)  # one copy for all who have an agent of this name
            if not table.fits(name, entry):
                table.is_cut = True
                self.counts["too_much"] += 1
                entry = None
            if entry is not None or name in table.at or table.fits(name, None):
                table.put(name, entry, version)
            changes[name] = entry
        return changes

    # -- passing on ----------------------------------------------------------------------------

    def prove(self, peer_id: PeerId, proof: Proof) -> bool:
        """Keep the owner's proof, which is verified, if it is of the table that is here."""
        table = self._tables[peer_id]
        if table.is_cut or digest_of(table.entries) != proof.table_hash:
            return False
        table.proof, table.checked = proof, table.version
        return True

    def proof_of(self, peer_id: PeerId) -> Proof | None:
        table = self._tables.get(peer_id)
        return table.proof if table is not None else None

    def page(self, peer_id: PeerId, version: int, limit_bytes: int) -> Page | None:
        """Return what has changed after a version, as the owner would; None without a proof."""
        table = self._tables.get(peer_id)
        if table is None or table.proof is None:
            return None
        start, latest = table.incarnation, table.version
        since = upto = version if version <= latest else 0
        entries: list[Entry] = []
        size = 0
        for name, at in _changed_after(table, since):
            entry = table.entries.get(name)
            size += len(name) + len(entry or b"") + ENTRY_OVERHEAD_BYTES
            if size > limit_bytes and at > upto > since:  # what came together stays together
                return Page(start, since, upto, latest, tuple(entries))
            entries.append((name, entry))
            upto = at
        return Page(start, since, latest, latest, tuple(entries), table.proof)

    def commit(self, peer_id: PeerId, staged: Staged, proof: Proof) -> Changes | None:
        """Take what others have passed on, whole and proven; None where it is not that."""
        before = self._tables.get(peer_id)
        if staged.since == 0:
            table = Table(staged.incarnation)
        elif before is not None and self.standing(peer_id) == (staged.incarnation, staged.since):
            table = before.copy()
        else:
            return None
        for version, entries in staged.parts:
            for said, entry in entries:
                name = sys.intern(said)
                if not table.fits(name, entry):
                    self.counts["too_much"] += 1
                    return None
                table.put(name, entry, version)
        if digest_of(table.entries) != proof.table_hash:
            return None
        table.version = table.checked = staged.upto
        table.proof = proof
        self._tables[peer_id] = table
        return _differences(before.entries if before is not None else {}, table.entries)

    def check_invariants(self) -> None:
        assert not _NO_ENTRIES
        assert not _NO_VERSIONS
        for table in self._tables.values():
            assert len(table.entries) <= MAX_ENTRIES
            assert table.size == sum(map(len, table.entries.values())) <= MAX_TABLE_BYTES
            assert table.version >= 0
            assert table.entries.keys() <= table.at.keys()
            assert list(table.at.values()) == sorted(table.at.values())
            assert len(table.at) <= MAX_ENTRIES
            assert table.proof is None or table.proof.table_hash == digest_of(table.entries)


def _changed_after(table: Table, version: int) -> list[tuple[str, int]]:
    found = []
    for name in reversed(table.at):
        if table.at[name] <= version:
            break
        found.append((name, table.at[name]))
    found.reverse()
    return found


def _differences(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Changes:
    gone: dict[str, bytes | None] = dict.fromkeys(before.keys() - after.keys())
    return gone | {name: said for name, said in after.items() if before.get(name) != said}
