"""What one node wants done, gathered until the next `take`; and the batches on their way to disk.

What this module does not know: rules. Invariant: batches are confirmed in the order they were made.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from consensus.raft.events import ReadReady, Result, TraceEvent
from consensus.raft.membership import NodeId
from consensus.raft.messages import Message
from consensus.raft.types import HardState, SnapshotMeta


@dataclass(slots=True)
class Outbox:
    """What leaves with the next `take`."""

    send: list[Message] = field(default_factory=list)
    send_stored: list[Message] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    reads: list[ReadReady] = field(default_factory=list)
    need_snapshot: list[NodeId] = field(default_factory=list)
    trace: list[TraceEvent] = field(default_factory=list)
    install: SnapshotMeta | None = None
    truncate_from: int | None = None
    entries_from: int | None = None  # the first entry not yet given to the storage
    compact_to: int | None = None
    hard_changed: bool = False

    @property
    def needs_storing(self) -> bool:
        return (
            self.entries_from is not None
            or self.hard_changed
            or self.truncate_from is not None
            or self.install is not None
            or self.compact_to is not None
        )


@dataclass(slots=True)
class Batch:
    """A store batch on its way to the disk: what it proves when it is durable (R26)."""

    number: int
    last_index: int
    hard: HardState


class Batches:
    """Those that the disk has not confirmed."""

    def __init__(self, stored_hard: HardState) -> None:
        self.last_number = 0
        self.stored_hard = stored_hard
        self._waiting: deque[Batch] = deque()

    def begin(self, last_index: int, hard: HardState) -> int:
        """A new one, by its number; numbers are never reused."""
        self.last_number += 1
        self._waiting.append(Batch(self.last_number, last_index, hard))
        return self.last_number

    def cut(self, index: int) -> None:
        """Entries from `index` on are gone: no batch proves them any more, for other entries may
        come in their place before it is confirmed (R26)."""
        for batch in self._waiting:
            batch.last_index = min(batch.last_index, index - 1)

    def confirmed(self, number: int) -> int:
        """Every batch up to this one is durable; the last index that this proves, or 0."""
        last_index = 0
        while self._waiting and self._waiting[0].number <= number:
            batch = self._waiting.popleft()
            self.stored_hard = batch.hard
            last_index = max(last_index, batch.last_index)
        return last_index

    def check_invariants(self) -> None:
        numbers = [batch.number for batch in self._waiting]
        assert numbers == sorted(numbers)
