"""A log in memory that outlives its runner: for simulated nodes.

What a power cut leaves is everything that `write` returned for, and nothing else.

What this module does not know: faults of real disks; the simulator has those.
"""

from __future__ import annotations

from collections.abc import Sequence

from consensus.raft import Entry, HardState, Recovered, StoreBatch


class MemoryStorage:
    """One voter's log, kept by the test between two starts of the same node."""

    def __init__(self) -> None:
        self._hard = HardState(0, None)
        self._commit_hint = 0
        self._entries: list[Entry] = []
        self.writes = 0

    def recover(self) -> Recovered:
        return Recovered(self._hard, self._commit_hint, tuple(self._entries))

    def write(self, batches: Sequence[StoreBatch]) -> None:
        self.writes += 1
        for batch in batches:
            if batch.truncate_from is not None:
                del self._entries[batch.truncate_from - 1 :]
            assert not batch.entries or batch.entries[0].index == len(self._entries) + 1
            self._entries.extend(batch.entries)
            if batch.hard is not None:
                self._hard = batch.hard
            self._commit_hint = batch.commit

    def close(self) -> None:
        return None
