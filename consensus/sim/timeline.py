"""Virtual time: a heap of (time, serial, what). Nothing here ever waits.

What this module does not know: nodes, messages. Invariant: time never goes back; equal times run in
the order in which they were asked for.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Timeline:
    """The only clock of a simulation, in whole milliseconds."""

    def __init__(self) -> None:
        self.now_ms = 0
        self._serial = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []

    def after(self, delay_ms: int, what: Callable[[], None]) -> None:
        """Run `what` that much later; 0 means after everything that is already due now."""
        assert delay_ms >= 0
        self._serial += 1
        heapq.heappush(self._heap, (self.now_ms + delay_ms, self._serial, what))

    def run_next(self, until_ms: int) -> bool:
        """Run one thing; False when nothing is left before `until_ms` (time is then there)."""
        if not self._heap or self._heap[0][0] > until_ms:
            self.now_ms = max(self.now_ms, until_ms)
            return False
        self.now_ms, _, what = heapq.heappop(self._heap)
        what()
        return True
