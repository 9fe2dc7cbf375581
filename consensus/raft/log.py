"""The log of one node in memory: the entries behind its base, and how far they are durable.

The base is where a snapshot lets the log begin: index 0 and term 0 at first, so that comparisons
need no special case. What this module does not know: roles, messages, disks.

Invariants: indexes are contiguous; terms never fall; `base_index` <= `stored` <= `last_index`; the
term at the base stays known (R21).
"""

from __future__ import annotations

from collections.abc import Sequence

from consensus.raft.types import Entry

# What an entry costs besides its data, on the wire and on disk, rounded up.
ENTRY_OVERHEAD_BYTES = 32


class Log:
    """Entries behind (`base_index`, `base_term`). `stored` is the last index durable here."""

    def __init__(
        self, entries: Sequence[Entry] = (), base_index: int = 0, base_term: int = 0
    ) -> None:
        self._entries = entries if isinstance(entries, list) else list(entries)
        self.base_index = base_index
        self.base_term = base_term
        self.stored = self.last_index
        self.check_invariants()

    @property
    def last_index(self) -> int:
        return self.base_index + len(self._entries)

    @property
    def last_term(self) -> int:
        return self._entries[-1].term if self._entries else self.base_term

    def term(self, index: int) -> int | None:
        """The term of an entry or of the base; None before that and beyond the last."""
        position = index - self.base_index
        if position <= 0:
            return self.base_term if position == 0 else None
        return self._entries[position - 1].term if position <= len(self._entries) else None

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
        assert self.base_index < index <= self.last_index
        del self._entries[index - self.base_index - 1 :]
        self.stored = min(self.stored, index - 1)

    def compact(self, index: int) -> None:
        """Let the log begin behind this entry."""
        term = self.term(index)
        assert term is not None, "compacting what is not there"
        assert index <= self.stored, "compacting what is not durable"
        del self._entries[: index - self.base_index]
        self.base_index, self.base_term = index, term

    def reset(self, index: int, term: int) -> None:
        """Replace everything by a snapshot that ends there."""
        self._entries.clear()
        self.base_index, self.base_term = index, term
        self.stored = index

    def slice(self, first: int, last: int) -> list[Entry]:
        """Entries `first` to `last`, both included."""
        assert first > self.base_index, "reading what was compacted"
        return self._entries[first - self.base_index - 1 : last - self.base_index]

    def page(self, first: int, last: int, max_entries: int, max_bytes: int) -> tuple[Entry, ...]:
        """As many of `first` to `last` as the limits allow, at least one."""
        assert first > self.base_index, "reading what was compacted"
        begin = first - self.base_index - 1
        end = min(last - self.base_index, begin + max_entries)
        size_bytes = 0
        for position in range(begin, end):
            size_bytes += len(self._entries[position].data) + ENTRY_OVERHEAD_BYTES
            if size_bytes > max_bytes and position > begin:
                end = position
                break
        return tuple(self._entries[begin:end])

    def agreeing(self, index: int, term: int) -> tuple[int, int]:
        """The last place at or before `index` whose term is not above `term` (R28).

        It goes no further back than the base: what lies there is committed.
        """
        index = min(index, self.last_index)
        while (found := self.term(index)) is not None and found > term and index > self.base_index:
            index -= 1
        return index, self.term(index) or 0

    def check_invariants(self) -> None:
        assert self.base_index <= self.stored <= self.last_index, "durable beyond the end"
        for position in (1, len(self._entries)):
            if 1 <= position <= len(self._entries):
                index = self.base_index + position
                assert self._entries[position - 1].index == index, "indexes have a gap"
