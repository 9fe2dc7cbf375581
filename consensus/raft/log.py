"""The log of one node in memory: the entries behind its base, and how far they are durable.

The base is where a snapshot lets the log begin: index 0 and term 0 at first, so that comparisons
need no special case. What this module does not know: roles, messages, disks.

The latest entries are kept as they came, for they are sent, stored and applied soon. Older ones are
kept in columns, which the garbage collector does not look into: a log of 600,000 tuples made it
stop the process for longer than an election timeout, and so cost a leader its lead.

Invariants: indexes are contiguous; terms never fall; `base_index` <= `stored` <= `last_index`; the
term at the base stays known (R21).
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import repeat

from consensus.raft.types import Entry, EntryKind

# What an entry costs besides its data, on the wire and on disk, rounded up.
ENTRY_OVERHEAD_BYTES = 32
RECENT = 4096  # entries that stay as they came; at twice as many, half of them are put away
_KINDS = tuple(EntryKind)


class _Columns:
    """Entries behind the base, put away."""

    __slots__ = ("data", "kinds", "terms")

    def __init__(self) -> None:
        self.terms = array("Q")
        self.kinds = bytearray()
        self.data: list[bytes] = []

    def extend(self, entries: Sequence[Entry]) -> None:
        self.terms.extend([entry.term for entry in entries])
        self.kinds.extend([entry.kind for entry in entries])
        self.data.extend([entry.data for entry in entries])

    def made(self, begin: int, end: int, first_index: int) -> list[Entry]:
        """The entries at these positions; the first has this index."""
        kinds = map(_KINDS.__getitem__, self.kinds[begin:end])
        indexes = range(first_index, first_index + end - begin)
        rows = zip(indexes, self.terms[begin:end], kinds, self.data[begin:end], strict=True)
        return list(map(tuple.__new__, repeat(Entry), rows))

    def keep(self, begin: int, end: int) -> None:
        """Forget all but these positions."""
        for column in (self.terms, self.kinds, self.data):
            del column[end:]
            del column[:begin]


class Log:
    """Entries behind (`base_index`, `base_term`). `stored` is the last index durable here."""

    def __init__(
        self, entries: Sequence[Entry] = (), base_index: int = 0, base_term: int = 0
    ) -> None:
        self.base_index = base_index
        self.base_term = base_term
        self.last_index = base_index
        self.last_term = base_term
        self._old = _Columns()
        self._recent: list[Entry] = []
        self._ends = array("Q")  # bytes up to each entry, its own and overheads included
        self._base_end = 0
        self._take_in(entries)
        self.stored = self.last_index
        self.check_invariants()

    def term(self, index: int) -> int | None:
        """The term of an entry or of the base; None before that and beyond the last."""
        position = index - self.base_index - 1
        if position < 0:
            return self.base_term if position == -1 else None
        if index >= self.last_index:
            return self.last_term if index == self.last_index else None
        recent = position - len(self._old.data)
        return self._recent[recent].term if recent >= 0 else self._old.terms[position]

    def matches(self, index: int, term: int) -> bool:
        return self.term(index) == term

    def is_up_to_date(self, last_index: int, last_term: int) -> bool:
        """Whether a log that ends there has at least what this one has (paper 5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def append(self, entries: Sequence[Entry]) -> None:
        assert not entries or entries[0].index == self.last_index + 1, "a gap in the log"
        self._take_in(entries)

    def _take_in(self, entries: Sequence[Entry]) -> None:
        self._recent.extend(entries)
        end, ends = self._ends[-1] if self._ends else self._base_end, []
        for entry in entries:
            end += len(entry.data) + ENTRY_OVERHEAD_BYTES
            ends.append(end)
        self._ends.extend(ends)
        self._look_at_end()
        if len(self._recent) >= 2 * RECENT:
            self._old.extend(self._recent[:-RECENT])
            del self._recent[:-RECENT]

    def _look_at_end(self) -> None:
        self.last_index = self.base_index + len(self._ends)
        if self._recent:
            self.last_term = self._recent[-1].term
        else:
            self.last_term = self._old.terms[-1] if self._old.terms else self.base_term

    def truncate(self, index: int) -> None:
        """Drop this entry and everything behind it."""
        assert self.base_index < index <= self.last_index
        self._keep(0, index - self.base_index - 1)
        self._look_at_end()
        self.stored = min(self.stored, index - 1)

    def compact(self, index: int) -> None:
        """Let the log begin behind this entry."""
        term = self.term(index)
        assert term is not None, "compacting what is not there"
        assert index <= self.stored, "compacting what is not durable"
        count = index - self.base_index
        if count:
            self._base_end = self._ends[count - 1]
            self._keep(count, len(self._ends))
        self.base_index, self.base_term = index, term
        self._look_at_end()

    def reset(self, index: int, term: int) -> None:
        """Replace everything by a snapshot that ends there."""
        self._keep(0, 0)
        self.base_index, self.base_term = index, term
        self._look_at_end()
        self.stored = index

    def _keep(self, begin: int, end: int) -> None:
        """Forget all but the entries at these positions behind the base."""
        old = len(self._old.data)
        del self._recent[max(0, end - old) :]
        del self._recent[: max(0, begin - old)]
        self._old.keep(min(begin, old), min(end, old))
        del self._ends[end:]
        del self._ends[:begin]

    def slice(self, first: int, last: int) -> list[Entry]:
        """Entries `first` to `last`, both included."""
        assert first > self.base_index, "reading what was compacted"
        begin, end = first - self.base_index - 1, min(last, self.last_index) - self.base_index
        old = len(self._old.data)
        if begin >= old:
            return self._recent[begin - old : max(0, end - old)]
        made = self._old.made(begin, min(end, old), first)
        return made + self._recent[: end - old] if end > old else made

    def data_bytes(self, first: int, last: int) -> int:
        """How much data entries `first` to `last` have, both included."""
        begin = first - self.base_index - 2
        before = self._ends[begin] if begin >= 0 else self._base_end
        end = self._ends[last - self.base_index - 1]
        return end - before - (last - first + 1) * ENTRY_OVERHEAD_BYTES

    def page(self, first: int, last: int, max_entries: int, max_bytes: int) -> tuple[Entry, ...]:
        """As many of `first` to `last` as the limits allow, at least one."""
        begin = first - self.base_index - 1
        last_position = min(last - self.base_index, begin + max_entries)
        before = self._ends[begin - 1] if begin > 0 else self._base_end
        end = bisect_right(self._ends, before + max_bytes, begin, last_position)
        return tuple(self.slice(first, self.base_index + max(end, begin + 1)))

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
        assert len(self._ends) == len(self._old.data) + len(self._recent)
        assert len(self._old.terms) == len(self._old.kinds) == len(self._old.data)
        assert self.last_index == self.base_index + len(self._ends)
        if self._recent:
            first = self.base_index + len(self._old.data) + 1
            assert self._recent[0].index == first, "indexes have a gap"
            assert self._recent[-1].index == self.last_index, "indexes have a gap"
