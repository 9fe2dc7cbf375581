"""What runs out next, over keys, locks and sessions.

A heap holds one entry per deadline. Moving a deadline back does not touch it: an entry that comes
up is looked at again and goes back with the present deadline, so a session that is used a thousand
times costs a thousand assignments. Entries of what is gone are dropped when they come up, and all
at once when they outnumber the living.

Invariants: whatever has a deadline has an entry that is not later; what is given out depends on the
deadlines only, not on how the heap came about.
What this module does not know: ledger time, what ends, who decides it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

from consensus.kv.model import Expiry, What

_SLACK: Final = 1024

_Item = tuple[int, What, str, int]  # deadline, then what an Expiry holds


class Deadlines:
    """
    Args:
        deadline_of: the present deadline of something, None if it is gone or has none.
        living: how many have one now.
    """

    def __init__(
        self, deadline_of: Callable[[Expiry], int | None], living: Callable[[], int]
    ) -> None:
        self._deadline_of = deadline_of
        self._living = living
        self._heap: list[_Item] = []

    def add(self, what: What, name: str, mark: int, deadline_ms: int) -> None:
        """Something new has a deadline, or an earlier one than before."""
        if len(self._heap) > 2 * self._living() + _SLACK:
            self._sweep()
        heapq.heappush(self._heap, (deadline_ms, what, name, mark))

    def due(self, time_ms: int, limit: int) -> list[Expiry]:
        """What is over at that time, earliest first, then by what and name."""
        found: list[_Item] = []
        heap = self._heap
        while heap and heap[0][0] <= time_ms and len(found) < limit:
            item = heapq.heappop(heap)
            present = self._deadline_of(Expiry(*item[1:]))
            if present is None or (found and item == found[-1]):
                continue
            if present > item[0]:
                heapq.heappush(heap, (present, *item[1:]))
            elif present == item[0]:  # if it is earlier, then an earlier entry stands for it
                found.append(item)
        for item in found:
            heapq.heappush(heap, item)
        return [Expiry(*item[1:]) for item in found]

    def next_ms(self) -> int | None:
        """When something is over next."""
        heap = self._heap
        while heap:
            item = heap[0]
            present = self._deadline_of(Expiry(*item[1:]))
            if present == item[0]:
                return present
            heapq.heappop(heap)
            if present is not None:
                heapq.heappush(heap, (present, *item[1:]))
        return None

    def earliest(self) -> dict[tuple[What, str, int], int]:
        """The earliest entry of everything in here, for checking the invariant."""
        return {item[1:]: item[0] for item in sorted(self._heap, reverse=True)}

    def _sweep(self) -> None:
        kept = {}  # by what it is about; one entry each is enough
        for item in self._heap:
            present = self._deadline_of(Expiry(*item[1:]))
            if present is not None:
                kept[item[1:]] = (present, *item[1:])
        self._heap = list(kept.values())
        heapq.heapify(self._heap)
