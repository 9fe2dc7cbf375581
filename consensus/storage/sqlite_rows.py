"""Entries to rows and back, with as little Python for each of them as can be.

Reading a million entries takes a second or two, writing a group a few microseconds an entry: what
can be done for many at once is done by the functions of the standard library that loop in C.

What this module does not know: transactions, files.

Invariants: a row is believed only if it follows the one before and its checksum is chained to it.
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from array import array
from collections.abc import Sequence
from functools import cache
from itertools import chain, repeat
from operator import eq
from typing import Any

from consensus.errors import LogCorrupted, TornTail
from consensus.raft import Entry, EntryKind
from consensus.storage.base import chain_start, chained, pack_entry

Row = tuple[int, int, int, bytes, int]

_KINDS = tuple(EntryKind)
_NUMBERS = tuple(int(kind) for kind in EntryKind)  # SQLite is slow with other than plain integers
_PAGE = 1024
_SIZES = (512, 256, 128, 64)  # rows of one statement; besides, any number below
_COLUMNS = 5


class Chain:
    """The checksums of a log that begins behind `base_index`."""

    __slots__ = ("base_checksum", "base_index", "checksums")

    def __init__(self, base_index: int = 0, base_checksum: int = 0) -> None:
        self.base_index = base_index
        self.base_checksum = base_checksum
        self.checksums = array("L")


class Tail:
    """The chain as a transaction will leave it, if it is committed.

    Only what changes is held here: a write must not cost more because the log is long. `_kept` is
    the last index that is taken from the chain as it was; `new` follows it.
    """

    def __init__(self, before: Chain) -> None:
        self._before = before
        self._base_index = before.base_index
        self._base_checksum = before.base_checksum
        self._kept = before.base_index + len(before.checksums)
        self._new = array("L")

    @property
    def base_index(self) -> int:
        return self._base_index

    @property
    def last_index(self) -> int:
        return self._kept + len(self._new)

    @property
    def last(self) -> int:
        return self._new[-1] if self._new else self.at(self._kept)

    def at(self, index: int) -> int:
        """The checksum of an entry, or what the one behind the base is chained to."""
        if index == self._base_index:
            return self._base_checksum
        assert self._base_index < index <= self.last_index
        if index > self._kept:
            return self._new[index - self._kept - 1]
        return self._before.checksums[index - self._before.base_index - 1]

    def cut(self, last_index: int) -> None:
        """Forget everything behind this entry."""
        assert last_index >= self._base_index, "cutting what was compacted"
        del self._new[max(0, last_index - self._kept) :]
        self._kept = min(self._kept, last_index)

    def extend(self, checksums: array[int]) -> None:
        self._new.extend(checksums)

    def reset(self, index: int, term: int) -> None:
        """Forget everything; the log begins behind a snapshot that ends there."""
        self._base_index = self._kept = index
        self._base_checksum = chain_start(index, term)
        self._new = array("L")

    def compact(self, index: int) -> int:
        """Forget everything up to this entry; what the one behind it is chained to."""
        self._base_checksum = self.at(index)
        if index > self._kept:
            del self._new[: index - self._kept]
            self._kept = index
        self._base_index = index
        return self._base_checksum

    def keep(self) -> None:
        """The transaction is committed."""
        old = self._before
        del old.checksums[max(0, self._kept - old.base_index) :]
        del old.checksums[: self._base_index - old.base_index]
        old.checksums.extend(self._new)
        old.base_index, old.base_checksum = self._base_index, self._base_checksum


def insert(db: sqlite3.Connection, entries: Sequence[Entry], tail: Tail) -> int:
    """Put these entries behind the tail; how many bytes of data they have."""
    crc32, pack, numbers = zlib.crc32, pack_entry, _NUMBERS
    values: list[Any] = []
    extend = values.extend
    checksums = array("L")
    expected, before, size = tail.last_index + 1, tail.last, 0
    for index, term, kind, data in entries:
        assert index == expected, "a gap in the log"
        expected += 1
        before = crc32(data, crc32(pack(before, index, term, kind)))
        checksums.append(before)
        extend((index, term, numbers[kind], data, before))
        size += len(data)
    tail.extend(checksums)
    at = 0
    for rows in _statements(len(entries)):
        end = at + rows * _COLUMNS
        db.execute(_insert(rows), values if end - at == len(values) else values[at:end])
        at = end
    return size


def is_one_statement(count: int) -> bool:
    """Whether so many entries are put behind the tail at once."""
    return 0 < count < _SIZES[-1] or count in _SIZES


def _statements(count: int) -> list[int]:
    """Few of them: each one gives up the interpreter's lock, and waits for it again while the loop
    is busy in the other thread."""
    found: list[int] = []
    for rows in _SIZES:
        found += [rows] * (count // rows)
        count %= rows
    return [*found, count] if count else found


@cache
def _insert(rows: int) -> str:
    return "INSERT INTO log VALUES " + ", ".join(["(?, ?, ?, ?, ?)"] * rows)


def read_entries(rows: sqlite3.Cursor, path: str, kept: Chain) -> list[Entry]:
    """The entries in these rows of (idx, term, kind, data, crc); their checksums go into `kept`.

    Raises:
        LogCorrupted, TornTail: a row cannot be believed.
    """
    entries: list[Entry] = []
    index, before = kept.base_index, kept.base_checksum
    while page := rows.fetchmany(_PAGE):
        try:
            entries.extend(_believed(page, index, before))
        except (_Unlike, TypeError, ValueError, IndexError, struct.error) as error:
            _blame(page, rows, path, index, before)
            raise AssertionError("nothing is wrong with these rows") from error
        index, before = index + len(page), page[-1][4]
        kept.checksums.extend([row[4] for row in page])
    return entries


class _Unlike(Exception):
    """A row of this page is not what it must be."""


def _believed(page: list[Row], index: int, before: int) -> map[Entry]:
    """All of a page at once; which row is wrong is found by `_blame`."""
    indexes, terms, kinds, data, checksums = zip(*page, strict=True)
    if indexes != tuple(range(index + 1, index + 1 + len(page))):
        raise _Unlike
    heads = map(zlib.crc32, map(pack_entry, chain((before,), checksums), indexes, terms, kinds))
    if not all(map(eq, map(zlib.crc32, data, heads), checksums)):
        raise _Unlike
    if not all(map(isinstance, data, repeat(bytes))) or min(kinds) < 0:
        raise _Unlike
    named = map(_KINDS.__getitem__, kinds)
    return map(tuple.__new__, repeat(Entry), zip(indexes, terms, named, data, strict=True))


def _blame(page: list[Row], rows: sqlite3.Cursor, path: str, index: int, before: int) -> None:
    """Raise for the first row that is wrong: the last one of all, or one with more behind it."""
    for position, row in enumerate(page):
        problem = _problem(row, index + 1, before)
        if problem is None:
            index, before = index + 1, row[4]
            continue
        is_gap = row[0] != index + 1
        if not is_gap and position == len(page) - 1 and rows.fetchone() is None:
            raise TornTail(path, index + 1, problem)
        raise LogCorrupted(path, index + 1, problem)


def _problem(row: Row, expected: int, before: int) -> str | None:
    index, term, kind, data, crc = row
    if index != expected:
        return f"entry {expected} is missing"
    is_shaped = type(term) is int and type(kind) is int and type(data) is bytes
    if not is_shaped or not 0 <= kind < len(_KINDS) or not 0 <= term < 2**63:
        return "it has no such shape"
    if chained(before, Entry(index, term, _KINDS[kind], data)) != crc:
        return "its checksum does not fit"
    return None
