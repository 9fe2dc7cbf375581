"""The latest changes by log index, for those who watch keys.

Bounded by number and bytes; the oldest go first, all of one command together or none. It is not in
snapshots: after a restore it begins at the snapshot's index, and who asks from before is told to
read again. Its bounds are a replica's own, they decide no reply of the store.

A change is kept as a plain row and becomes a `Change` when somebody asks: the garbage collector
lets go of a plain tuple of numbers and texts, and looks at a named one for ever.

Invariants: every change of every index above `floor` is in here, in order; none of `floor` or below
is given out.
What this module does not know: who watches, how long they wait.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from operator import itemgetter
from typing import Final

from consensus.kv.model import Cause, Change, Changes, FeedCompacted

OVERHEAD_BYTES: Final = 64  # what a change counts beside its key and value

_Row = tuple[int, str, bytes | None, bool]  # the last one: it expired
_log_index = itemgetter(0)
_PUT: Final = Cause.PUT
_EXPIRED: Final = Cause.EXPIRED


class Feed:
    """A ring of changes.

    Args:
        max_changes, max_bytes: it forgets beyond either.
    """

    def __init__(self, max_changes: int, max_bytes: int) -> None:
        assert max_changes > 0
        assert max_bytes > 0
        self._max_changes = max_changes
        self._max_bytes = max_bytes
        self._ring: deque[_Row] = deque()
        self._bytes = 0
        self.floor = 0  # changes up to this index are forgotten

    def add(self, index: int, cause: Cause, key: str, value: bytes | None) -> None:
        """A change at this index. A value stands for `PUT`, and only for that."""
        assert (value is None) is not (cause is _PUT)
        if index == self.floor:
            return  # the start of this command did not fit, so the rest is of no use
        ring = self._ring
        ring.append((index, key, value, cause is _EXPIRED))
        self._bytes += OVERHEAD_BYTES + len(key) * 4 + (0 if value is None else len(value))
        while len(ring) > self._max_changes or self._bytes > self._max_bytes:
            self._forget(ring[0][0])

    def restart(self, index: int) -> None:
        """Begin anew behind this index."""
        self._ring.clear()
        self._bytes = 0
        self.floor = index

    def since(
        self, index: int, limit: int, now: int, *, key: str | None = None, prefix: str = ""
    ) -> Changes | FeedCompacted:
        """Changes behind `index`; `now` is the index up to which commands are applied.

        `limit` is exceeded by the rest of a command whose first change was within it.
        """
        if index < self.floor:
            return FeedCompacted(self.floor)
        ring = self._ring
        found: list[Change] = []
        for place in range(bisect_right(ring, index, key=_log_index), len(ring)):
            row = ring[place]
            if len(found) >= max(limit, 1) and row[0] != found[-1].log_index:
                return Changes(tuple(found), found[-1].log_index)
            if row[1] == key if key is not None else row[1].startswith(prefix):
                found.append(_change(row))
        return Changes(tuple(found), max(index, now))

    def check(self, now: int) -> None:
        indexes = [row[0] for row in self._ring]
        assert indexes == sorted(indexes)
        assert all(self.floor < index <= now for index in indexes)
        assert self._bytes == sum(map(_size, self._ring)) <= self._max_bytes
        assert len(self._ring) <= self._max_changes

    def _forget(self, index: int) -> None:
        ring = self._ring
        while ring and ring[0][0] == index:
            self._bytes -= _size(ring.popleft())
        self.floor = index


def _size(row: _Row) -> int:
    _, key, value, _ = row
    return OVERHEAD_BYTES + len(key) * 4 + (0 if value is None else len(value))


def _change(row: _Row) -> Change:
    index, key, value, expired = row
    removed = Cause.EXPIRED if expired else Cause.DELETED
    return Change(index, removed if value is None else Cause.PUT, key, value)
