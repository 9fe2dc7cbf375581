"""When to look for what is out of time: the price of a deadline that does not pass is a comparison.

Hardly any deadline passes, so nothing is kept in order for it. The owner remembers when the first
of its items is due at the earliest, looks through all of them then, and remembers the new first
one. It does not look more often than it can afford: an item may end late by `interval_ms`, which
grows with the number of items and is eight milliseconds for a thousand and fewer.

What this module does not know: what the items are.
"""

from __future__ import annotations

SHORTEST_MS = 8
ITEMS_A_LOOK = 1024


def interval_ms(items: int) -> int:
    """Return how long to wait between two looks through so many items."""
    return SHORTEST_MS * (1 + items // ITEMS_A_LOOK)


class FirstDue:
    """The time of the first deadline, or earlier.

    Attributes:
        due_ms: when to look, or None while nothing has a deadline.
    """

    __slots__ = ("_not_before_ms", "due_ms")

    def __init__(self) -> None:
        self.due_ms: int | None = None
        self._not_before_ms = 0

    def entered(self, deadline_ms: int) -> bool:
        """An item has this deadline; True when it is due before all others."""
        if self.due_ms is not None and deadline_ms >= self.due_ms:
            return False
        if self.due_ms is not None and self.due_ms <= self._not_before_ms:
            return False
        self.due_ms = max(deadline_ms, self._not_before_ms)
        return True

    def looked(self, first_ms: int | None, items: int, now_ms: int) -> None:
        """All items were looked through; the first of those that remain is due then."""
        self._not_before_ms = now_ms + interval_ms(items)
        self.due_ms = None if first_ms is None else max(first_ms, self._not_before_ms)
