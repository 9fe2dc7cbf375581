"""Where a voter keeps its ballots, so that a restart says what it said before (V4).

`store` returns when the ballot is durable. Storing it again is nothing; another one for the same
slot is refused, whatever the core believes: the disk is the last to say no.

On disk the box is a log of records in SQLite (`consensus.storage`): write-ahead log mode with
`synchronous=FULL`, mode 0600, owned by one cluster and one node, locked against a second process,
each record with a checksum chained to the one before, and damage refused by name rather than
cut: a box that has lost a ballot must not vote. It has a folder of its own.

It grows by about 500 bytes a ballot and never forgets: how long a slot may be asked about is not
for a box to know.

What this module does not know: what is on the ballots.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Final, Protocol

from consensus.errors import LogCorrupted, StorageBroken
from consensus.raft import Entry, EntryKind, StoreBatch
from consensus.storage import SqliteStorage
from consensus.votes.errors import BallotConflict
from consensus.votes.question import Slot
from consensus.votes.voter import CastRecord
from consensus.votes.wire import Malformed

FILE_NAME: Final = "ballots.db"
_OWNER_SUFFIX: Final = "/ballots"  # of the cluster's name: a log of Raft is no ballot box
_TERM: Final = 1


class BallotBox(Protocol):
    """What a driver of `VotingCore` needs of a disk."""

    def records(self) -> tuple[CastRecord, ...]:
        """All that was ever stored, oldest first."""

    def store(self, record: CastRecord) -> None:
        """Make it durable, unless it is.

        Raises:
            BallotConflict: another ballot of this slot is there; nothing was changed.
            StorageFull: no space; nothing was stored, and it may be tried again.
            StorageBroken: it may be stored or not; the node stops.
        """


class MemoryBallotBox:
    """A box that a restart empties: for tests, and for voters that never come back."""

    def __init__(self) -> None:
        self._records: dict[Slot, CastRecord] = {}

    def records(self) -> tuple[CastRecord, ...]:
        return tuple(self._records.values())

    def store(self, record: CastRecord) -> None:
        """See `BallotBox.store`."""
        if not _is_there(self._records, record, "memory"):
            self._records[record.slot] = record


class SqliteBallotBox:
    """One voter's box in a folder. Opening it reads all of it and locks it.

    Raises:
        ForeignStorage, NewerFormat, WrongCluster, WrongNode: the file is not this voter's box.
        LogCorrupted, TornTail, HardStateCorrupted: it is damaged: this key must not vote again.
        StorageBroken: it cannot be opened or read.
    """

    def __init__(self, folder: Path, cluster_id: str, node_id: str) -> None:
        self._path = folder / FILE_NAME
        self._records: dict[Slot, CastRecord] = {}
        self._broken: StorageBroken | None = None
        self._storage = SqliteStorage(self._path, cluster_id + _OWNER_SUFFIX, node_id)
        try:
            for entry in self._storage.recover().entries:
                self._take(entry, node_id)
        except BaseException:
            self._storage.close()
            raise

    def _take(self, entry: Entry, node_id: str) -> None:
        path = str(self._path)
        try:
            record = CastRecord.from_bytes(entry.data)
        except Malformed as error:
            raise LogCorrupted(path, entry.index, str(error)) from error
        if record.ballot.voter != node_id:
            raise LogCorrupted(path, entry.index, f"a ballot of {record.ballot.voter}")
        if record.slot in self._records:
            raise LogCorrupted(path, entry.index, "a second ballot of one slot")
        self._records[record.slot] = record

    def records(self) -> tuple[CastRecord, ...]:
        return tuple(self._records.values())

    def store(self, record: CastRecord) -> None:
        """See `BallotBox.store`."""
        if self._broken is not None:
            raise self._broken
        if _is_there(self._records, record, str(self._path)):
            return
        index = len(self._records) + 1
        entry = Entry(index, _TERM, EntryKind.COMMAND, record.to_bytes())
        try:
            self._storage.write([StoreBatch(index, None, None, (entry,), 0)])
        except StorageBroken as error:
            self._broken = error
            raise
        self._records[record.slot] = record

    def close(self) -> None:
        self._storage.close()

    def __enter__(self) -> SqliteBallotBox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _is_there(records: dict[Slot, CastRecord], record: CastRecord, path: str) -> bool:
    known = records.get(record.slot)
    if known is not None and known.ballot.body != record.ballot.body:
        raise BallotConflict(path, record.slot.proposal_id, record.slot.round)
    return known is not None
