"""The memberships that a node's log holds: the one in force, and those that may still be cut.

A membership is in force from the moment that its entry is known to be committed here. That is safe
across restarts because the next membership is only stored together with a commit index that covers
this one (see `StoreBatch`), so whoever could win by the next one knows that this one is in force.

What this module does not know: who proposes a change, what a leader does when one is in force.

Invariants: `active_index` never falls; indexes of pending ones grow and lie behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

from consensus.raft.membership import Membership, NodeId
from consensus.raft.types import Entry, EntryKind

_MEMBERSHIP = EntryKind.MEMBERSHIP  # looked at for every entry


class Memberships:
    """Begins with the one of genesis (index 0) or of a snapshot."""

    def __init__(self, active: Membership, active_index: int) -> None:
        self._pending: list[tuple[int, Membership]] = []
        self._enter(active, active_index)

    def _enter(self, active: Membership, active_index: int) -> None:
        self.active, self.active_index = active, active_index
        self.deciders = frozenset(active.deciders)  # asked after every event
        self.members = frozenset(active.members)

    @property
    def is_changing(self) -> bool:
        """Whether one waits to be committed, or a joint one has to be left (R22)."""
        return bool(self._pending) or self.active.is_joint

    @property
    def has_pending(self) -> bool:
        return bool(self._pending)

    def names(self, node: NodeId) -> bool:
        """Whether the one in force or a pending one has this member (R32)."""
        if node in self.members:
            return True
        return any(node in membership.members for _, membership in self._pending)

    def appended(self, entries: Sequence[Entry]) -> None:
        """Take note of those among new entries."""
        for index, _, kind, data in entries:
            if kind is _MEMBERSHIP and index > self.active_index:
                self._pending.append((index, Membership.decode(data)))

    def truncated(self, index: int) -> None:
        """Entries from `index` on are gone."""
        while self._pending and self._pending[-1][0] >= index:
            self._pending.pop()

    def committed(self, index: int) -> bool:
        """Everything up to `index` is committed; whether another membership is in force now."""
        due = 0
        while due < len(self._pending) and self._pending[due][0] <= index:
            due += 1
        if not due:
            return False
        active_index, active = self._pending[due - 1]
        self._enter(active, active_index)
        del self._pending[:due]
        return True

    def reset(self, active: Membership, active_index: int) -> None:
        """A snapshot has replaced the log."""
        self._enter(active, active_index)
        self._pending.clear()

    def check_invariants(self) -> None:
        indexes = [self.active_index, *(index for index, _ in self._pending)]
        assert indexes == sorted(indexes)
        assert len(set(indexes)) == len(indexes) or self.active_index == 0
