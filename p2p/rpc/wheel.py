"""A timing wheel: many deadlines, few of which pass, at the price of two dictionary writes each.

Deadlines fall into slots of eight milliseconds. A slot is looked at once, when its time is over,
so an item is due up to eight milliseconds late and never early. Whoever is done takes its item
out again, so that nothing is kept for a deadline that no longer matters.

What this module does not know: clocks, what an item is.

Invariants: a slot exists while it has items, and is on the heap then. What else is on the heap is
left over from slots that became empty; it is thrown away when it is four times as much.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

T = TypeVar("T")

SLOT_BITS = 3
SLOT_MS = 1 << SLOT_BITS
_SLACK = 256


class Wheel(Generic[T]):
    """Items by deadline, in milliseconds of any monotonic clock."""

    def __init__(self) -> None:
        self._slots: dict[int, dict[T, None]] = {}
        self._order: list[int] = []

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def add(self, deadline_ms: int, item: T) -> bool:
        """Enter an item; True when it may have become the first to be due."""
        slot = deadline_ms >> SLOT_BITS
        items = self._slots.get(slot)
        if items is not None:
            items[item] = None
            return False
        self._slots[slot] = {item: None}
        heapq.heappush(self._order, slot)
        if len(self._order) > 4 * len(self._slots) + _SLACK:
            self._order = sorted(self._slots)
        return self._order[0] == slot

    def discard(self, deadline_ms: int, item: T) -> None:
        """Take an item out; harmless when it is due already."""
        slot = deadline_ms >> SLOT_BITS
        items = self._slots.get(slot)
        if items is not None:
            items.pop(item, None)
            if not items:
                del self._slots[slot]

    @property
    def due_ms(self) -> int | None:
        """When `take_due` has something to look at next, or None when nothing is entered."""
        return (self._order[0] + 1) << SLOT_BITS if self._order else None

    def take_due(self, now_ms: int) -> list[T]:
        """Take out everything whose deadline has passed, in the order of the slots."""
        due: list[T] = []
        while self._order and (self._order[0] + 1) << SLOT_BITS <= now_ms:
            due.extend(self._slots.pop(heapq.heappop(self._order), ()))
        return due

    def check_invariants(self) -> None:
        assert all(self._slots.values()), "an empty slot"
        assert set(self._slots) <= set(self._order)
