"""A state machine as the log drives it, with what every replica keeps beside it.

Beside the machine: how far it is, the membership there, when the next snapshot is due, and the
digests of the latest snapshots. Snapshots are due by entries and bytes since the last one, counted
from the log alone, so that all replicas make them at the same indexes; a leader then proposes its
digest, and a replica whose state differs stops (R18, R19).

A snapshot's body is a run of chunks, each behind its length as u32; the first is this module's own.

What this module does not know: what a command means, disks, when it is called.

Invariants: entries are applied in order, once each; counters are part of every snapshot.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from consensus.errors import MachineFailed, SnapshotInvalid, StateDiverged
from consensus.raft import Config, Entry, EntryKind, Membership, Recovered, SnapshotMeta

_SIZE = struct.Struct(">I")
_COUNTERS = struct.Struct(">BQQ")
BODY_VERSION = 1
MAX_CHUNK_BYTES = 16 * 1024 * 1024
DIGESTS_KEPT = 8
_COMMAND = EntryKind.COMMAND


class StateMachine(Protocol):
    """What the log drives. Equal entries must leave equal states and equal snapshots."""

    def apply(self, entries: Sequence[Entry]) -> Sequence[object]:
        """Apply commands in order and return a result each; a pure function of them."""

    def snapshot(self) -> Iterator[bytes]:
        """The state in chunks of at most 16 MiB; nothing is applied before the last is taken."""

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state by what `snapshot` gave, chunk by chunk."""


class Replica:
    """A machine and its place in the log."""

    def __init__(
        self,
        machine: StateMachine,
        config: Config,
        recovered: Recovered,
        *,
        snapshot_entries: int,
        max_bytes: int,
    ) -> None:
        self._machine = machine
        self._name = config.node_id
        self._snapshot_entries = snapshot_entries
        self._max_bytes = max_bytes
        self.applied = 0
        self._term = 0
        self._membership = config.genesis
        self._membership_index = 0
        self._entries_since = 0
        self._bytes_since = 0
        self.snapshot_due = False
        self.digests: dict[int, str] = {}

    def count(self, page: Sequence[Entry]) -> int:
        """Count the entries that are about to be applied: so many of these, for a snapshot may be
        due behind one of them.

        Only commands count: else a snapshot's own hash would lead to the next one.
        """
        sizes = [len(data) for _, _, kind, data in page if kind is _COMMAND]
        entries, size = self._entries_since + len(sizes), self._bytes_since + sum(sizes)
        if entries < self._snapshot_entries and size < self._max_bytes:
            self._entries_since, self._bytes_since = entries, size
            return len(page)
        for position, entry in enumerate(page, 1):
            if self.counts(entry):
                return position
        return len(page)

    def counts(self, entry: Entry) -> bool:
        """Count an entry that is about to be applied; whether a snapshot is due behind it."""
        if entry.kind is not _COMMAND:
            return False
        self._entries_since += 1
        self._bytes_since += len(entry.data)
        if self._entries_since < self._snapshot_entries and self._bytes_since < self._max_bytes:
            return False
        self._entries_since = self._bytes_since = 0
        self.snapshot_due = True
        return True

    def apply(self, entries: Sequence[Entry]) -> Sequence[object]:
        """
        Raises:
            MachineFailed: the machine raised or answered nonsense.
            StateDiverged: this replica's state is not the leader's.
        """
        for index, _, kind, data in entries:
            if kind is EntryKind.MEMBERSHIP:
                self._membership = Membership.decode(data)
                self._membership_index = index
            elif kind is EntryKind.STATE_HASH:
                self._compare(data)
        first, last = entries[0].index, entries[-1].index
        assert first == self.applied + 1, (first, self.applied)
        try:
            results = self._machine.apply(entries)
        except Exception as error:
            raise MachineFailed(self._name, first, last, repr(error)) from error
        if len(results) != len(entries):
            raise MachineFailed(self._name, first, last, "it gave another number of results")
        self.applied, self._term = last, entries[-1].term
        return results

    # -- snapshots -----------------------------------------------------------------------------

    def meta(self) -> SnapshotMeta | None:
        """What a snapshot of the present state stands for."""
        if not self.applied:
            return None
        return SnapshotMeta(self.applied, self._term, self._membership, self._membership_index)

    def snapshot(self) -> Iterator[bytes]:
        """The body of a snapshot of the present state."""
        index = self.applied
        self.snapshot_due = False
        digest = hashlib.blake2b(digest_size=16)
        yield _framed(_COUNTERS.pack(BODY_VERSION, self._entries_since, self._bytes_since))
        for chunk in self._machine.snapshot():
            digest.update(_SIZE.pack(len(chunk)))
            digest.update(chunk)
            yield _framed(chunk)
        if not (self._entries_since or self._bytes_since):
            self.digests[index] = digest.hexdigest()  # one that every replica makes
            for old in sorted(self.digests)[:-DIGESTS_KEPT]:
                del self.digests[old]

    def restore(self, meta: SnapshotMeta, body: Iterable[bytes]) -> None:
        """
        Raises:
            SnapshotInvalid: these bytes are no snapshot.
        """
        chunks = _unframed(body)
        try:
            version, entries_since, bytes_since = _COUNTERS.unpack(next(chunks, b""))
        except struct.error:
            raise SnapshotInvalid("it does not begin like one") from None
        if version != BODY_VERSION:
            raise SnapshotInvalid(f"its version is {version}, known is {BODY_VERSION}")
        self._machine.restore(chunks)
        for _ in chunks:
            pass  # a machine may need no more, but damage shows only behind the last piece
        self.applied, self._term = meta.index, meta.term
        self._membership, self._membership_index = meta.membership, meta.membership_index
        self._entries_since, self._bytes_since = entries_since, bytes_since
        self.snapshot_due = False

    # -- comparing -----------------------------------------------------------------------------

    @staticmethod
    def hash_entry(index: int, digest: str) -> bytes:
        """The data of an entry that says what the state was at `index`."""
        return json.dumps([index, digest], separators=(",", ":")).encode()

    def _compare(self, data: bytes) -> None:
        try:
            index, digest = json.loads(data)
        except (ValueError, TypeError, RecursionError):
            return
        own = self.digests.get(index) if isinstance(index, int) else None
        if own is not None and own != digest:
            raise StateDiverged(self._name, index, own, str(digest))


def _framed(chunk: bytes) -> bytes:
    return _SIZE.pack(len(chunk)) + chunk


def _unframed(body: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks of a body that comes cut in other places."""
    held = bytearray()
    for part in body:
        held += part
        at = 0
        while len(held) - at >= _SIZE.size:
            (size,) = _SIZE.unpack_from(held, at)
            if size > MAX_CHUNK_BYTES:
                raise SnapshotInvalid(f"a chunk of {size} bytes")
            if len(held) - at < _SIZE.size + size:
                break
            yield bytes(held[at + _SIZE.size : at + _SIZE.size + size])
            at += _SIZE.size + size
        del held[:at]
    if held:
        raise SnapshotInvalid("it ends within a chunk")
