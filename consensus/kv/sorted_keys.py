"""Keys in order, for listing by prefix while the store changes.

Buckets of bounded size, each sorted, and the last key of each. Adding or removing one costs a
search and a move within one bucket, however many keys there are. Order is that of code points,
which is that of the UTF-8 bytes.

Invariants: no bucket is empty or larger than MAX_BUCKET; `_lasts` holds the last of each.
What this module does not know: values, versions, what a key may look like.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Final

MAX_BUCKET: Final = 1024


class SortedKeys:
    """Different keys, ascending."""

    def __init__(self) -> None:
        self._buckets: list[list[str]] = []
        self._lasts: list[str] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        for bucket in self._buckets:
            yield from bucket

    def add(self, key: str) -> None:
        """A key that is not in here."""
        self._count += 1
        if not self._buckets:
            self._buckets.append([key])
            self._lasts.append(key)
            return
        place = min(bisect_left(self._lasts, key), len(self._buckets) - 1)
        bucket = self._buckets[place]
        insort(bucket, key)
        if len(bucket) > MAX_BUCKET:
            middle = len(bucket) // 2
            self._buckets.insert(place + 1, bucket[middle:])
            self._lasts.insert(place + 1, bucket[-1])
            del bucket[middle:]
        self._lasts[place] = bucket[-1]

    def remove(self, key: str) -> None:
        """A key that is in here."""
        place = bisect_left(self._lasts, key)
        bucket = self._buckets[place]
        at = bisect_left(bucket, key)
        assert bucket[at] == key
        del bucket[at]
        self._count -= 1
        if bucket:
            self._lasts[place] = bucket[-1]
        else:
            del self._buckets[place], self._lasts[place]

    def from_(self, first: str, *, after: bool = False) -> Iterator[str]:
        """Keys from `first` on, or those behind it."""
        search = bisect_right if after else bisect_left
        start = search(self._lasts, first)
        for place in range(start, len(self._buckets)):
            bucket = self._buckets[place]
            at = search(bucket, first) if place == start else 0
            for number in range(at, len(bucket)):
                yield bucket[number]

    def check(self) -> None:
        keys = list(self)
        assert keys == sorted(set(keys))
        assert len(keys) == self._count
        assert all(0 < len(bucket) <= MAX_BUCKET for bucket in self._buckets)
        assert self._lasts == [bucket[-1] for bucket in self._buckets]
