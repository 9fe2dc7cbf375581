"""The log of one node in memory: all entries, and how far they are durable.

Index 1 is the first entry; index 0 with term 0 stands before it, so that comparisons need no
special case. What this module does not know: roles, messages, disks.

Invariants: indexes are contiguous; terms never fall; `stored` is never beyond the last index.
"""

from __future__ import annotations

from collections.abc import Sequence

from consensus.raft.types import Entry

# What an entry costs besides its data, on the wire and on disk, rounded up.
ENTRY_OVERHEAD_BYTES = 32


class Log:
    """Entries from 1 on. `stored` is the last index known to be durable here."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = list(entries)
        self.stored = len(self._entries)
        self.check_invariants()

    @property
    def last_index(self) -> int:
        return len(self._entries)

    @property
    def last_term(self) -> int:
        return self._entries[-1].term if self._entries else 0

    def term(self, index: int) -> int | None:
        """The term of an entry, 0 before the first one, None beyond the last."""
        if index == 0:
            return 0
        return self._entries[index - 1].term if index <= len(self._entries) else None

    def matches(self, index: int, term: int) -> bool:
        return self.term(index) == term

    def is_up_to_date(self, last_index: int, last_term: int) -> bool:
        """Whether a log that ends there has at least what this one has (paper 5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def append(self, entries: Sequence[Entry]) -> None:
        assert not entries or entries[0].index == self.last_index + 1, "a gap in the log"
        self._entries.extend(entries)

    def truncate(self, index: int) -> None:
        """Drop this entry and everything behind it."""
        assert 1 <= index <= self.last_index
        del self._entries[index - 1 :]
        self.stored = min(self.stored, index - 1)

    def slice(self, first: int, last: int) -> list[Entry]:
        """Entries `first` to `last`, both included."""
        return self._entries[first - 1 : last]

    def page(self, first: int, last: int, max_entries: int, max_bytes: int) -> tuple[Entry, ...]:
        """As many of `first` to `last` as the limits allow, at least one."""
        size_bytes = 0
        page: list[Entry] = []
        for position in range(first - 1, min(last, first - 1 + max_entries)):
            entry = self._entries[position]
            size_bytes += len(entry.data) + ENTRY_OVERHEAD_BYTES
            if page and size_bytes > max_bytes:
                break
            page.append(entry)
        return tuple(page)

    def agreeing(self, index: int, term: int) -> tuple[int, int]:
        """The last place at or before `index` whose term is not above `term` (R28)."""
        index = min(index, self.last_index)
        while (found := self.term(index)) is not None and found > term:
            index -= 1
        return index, self.term(index) or 0

    def check_invariants(self) -> None:
        assert self.stored <= self.last_index, "durable beyond the end"
        for position in (1, len(self._entries)):
            if 1 <= position <= len(self._entries):
                assert self._entries[position - 1].index == position, "indexes have a gap"
