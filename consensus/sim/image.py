"""A picture of one log, with a hash over each prefix, so that logs compare at a glance.

The hash at an index covers everything from the first entry ever, also what a snapshot has replaced:
the state machine of the simulator carries the same hash, so a snapshot brings it along.

What this module does not know: files, time, which of two pictures is the one that survives.

Invariant: `hashes[n]` is the hash at `base_index + n`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from consensus.raft import Entry, EntryKind, HardState, Membership, SnapshotMeta, StoreBatch

EMPTY_HASH = b"\0" * 16


def chained(before: bytes, entry: Entry) -> bytes:
    """The hash behind an entry, given the one before it."""
    head = before + b"%d/%d/%d/" % (entry.index, entry.term, entry.kind)
    return hashlib.blake2b(head + entry.data, digest_size=16).digest()


class Image:
    """One log as it lies, or as its node believes that it lies."""

    def __init__(self) -> None:
        self.hard = HardState(0, None)
        self.commit = 0  # the hint beside the hard state
        self.base_index = self.base_term = 0
        self.entries: list[Entry] = []
        self.hashes: list[bytes] = [EMPTY_HASH]
        self.memberships: list[tuple[int, Membership]] = []
        self.shortest = 0  # how far it was cut since somebody last looked

    @property
    def last_index(self) -> int:
        return self.base_index + len(self.entries)

    @property
    def last(self) -> tuple[int, int]:
        """(last term, last index), in the order in which logs are compared."""
        term = self.entries[-1].term if self.entries else self.base_term
        return (term, self.last_index)

    def term(self, index: int) -> int | None:
        """The term there; None before the base and beyond the end."""
        position = index - self.base_index
        if position <= 0:
            return self.base_term if position == 0 else None
        return self.entries[position - 1].term if position <= len(self.entries) else None

    def hash_at(self, index: int) -> bytes | None:
        """The hash over everything up to there; None before the base and beyond the end."""
        position = index - self.base_index
        return self.hashes[position] if 0 <= position < len(self.hashes) else None

    def write(self, batch: StoreBatch, installed: bytes | None = None) -> None:
        """Take in a batch; `installed` is the hash of the snapshot that it installs."""
        if batch.install is not None:
            assert installed is not None, "a snapshot without a state"
            self._install(batch.install, installed)
        if batch.truncate_from is not None:
            self._cut(batch.truncate_from)
        for entry in batch.entries:
            assert entry.index == self.last_index + 1, "a gap on disk"
            self.entries.append(entry)
            self.hashes.append(chained(self.hashes[-1], entry))
            if entry.kind is EntryKind.MEMBERSHIP:
                self.memberships.append((entry.index, Membership.decode(entry.data)))
        if batch.hard is not None:
            self.hard, self.commit = batch.hard, batch.commit
        if batch.compact_to is not None:
            self._compact(batch.compact_to)

    def copy(self) -> Image:
        image = Image()
        image.hard, image.commit = self.hard, self.commit
        image.base_index, image.base_term = self.base_index, self.base_term
        image.entries, image.hashes = list(self.entries), list(self.hashes)
        image.memberships = list(self.memberships)
        return image

    def _install(self, meta: SnapshotMeta, installed: bytes) -> None:
        self.base_index, self.base_term = meta.index, meta.term
        self.entries, self.hashes, self.memberships = [], [installed], []
        self.shortest = 0

    def _cut(self, index: int) -> None:
        assert index > self.base_index, "cutting what was compacted"
        length = index - self.base_index - 1
        del self.entries[length:]
        del self.hashes[length + 1 :]
        while self.memberships and self.memberships[-1][0] >= index:
            self.memberships.pop()
        self.shortest = min(self.shortest, index - 1)

    def _compact(self, index: int) -> None:
        term = self.term(index)
        assert term is not None, "compacting what is not there"
        dropped = index - self.base_index
        assert dropped > 0, "compacting nothing"
        del self.entries[:dropped]
        del self.hashes[:dropped]
        self.memberships = [item for item in self.memberships if item[0] > index]
        self.base_index, self.base_term = index, term


@dataclass(frozen=True, slots=True)
class Standing:
    """With what a node takes part in elections, or would after a restart."""

    last: tuple[int, int]  # (last term, last index)
    membership: Membership  # known to be in force
    covered: int  # everything up to here is in a snapshot
    image: Image | None  # the log behind it; None: it would be replaced by the snapshot

    def has(self, index: int, wanted: bytes) -> bool:
        """Whether it holds exactly this prefix. What a snapshot or a base covers is committed."""
        if index <= self.covered:
            return True
        return self.image is not None and self.image.hash_at(index) == wanted


def standing(image: Image, snapshot: SnapshotMeta | None, genesis: Membership) -> Standing:
    """As a restart would see this log and this snapshot (`NodeState` does the same)."""
    covered = 0 if snapshot is None else snapshot.index
    membership = genesis if snapshot is None else snapshot.membership
    if snapshot is not None and image.term(snapshot.index) != snapshot.term:
        return Standing((snapshot.term, snapshot.index), membership, covered, None)
    commit = max(covered, min(image.commit, image.last_index))
    for index, later in image.memberships:
        if covered < index <= commit:
            membership = later
    return Standing(image.last, membership, covered, image)
