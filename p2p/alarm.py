"""Waking a core when it wants to be woken: one timer, moved as its deadline moves.

What this module does not know: cores. `ring` runs on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from p2p.clock import Clock

SHORTEST_MS = 1  # a core that is overdue gets its tick in another turn of the loop


class Alarm:
    """One timer. It rings once; set it again for the next time."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._deadline_ms: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, deadline_ms: int | None) -> None:
        """Ring at this time of the clock, and at no other; None for never."""
        if deadline_ms == self._deadline_ms:
            return
        self.off()
        if deadline_ms is not None:
            self._deadline_ms = deadline_ms
            delay_ms = max(SHORTEST_MS, deadline_ms - self._clock.now_ms())
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(delay_ms / 1000, self._rings)

    def off(self) -> None:
        """Do not ring."""
        self._deadline_ms = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rings(self) -> None:
        self._deadline_ms = None
        self._timer = None
        self._ring()
