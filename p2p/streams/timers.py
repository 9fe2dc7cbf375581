"""Work that is to be done soon, once, however often it is asked for meanwhile.

What this module does not know: what the work is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timers:
    """One timer for each kind of work."""

    def __init__(self) -> None:
        self._set: dict[str, asyncio.TimerHandle] = {}

    def within(self, name: str, delay_s: float, work: Callable[[], None]) -> None:
        """Do this after the delay, unless work of this name is to be done already."""

        def ring() -> None:
            del self._set[name]
            work()

        if name not in self._set:
            self._set[name] = asyncio.get_running_loop().call_later(delay_s, ring)

    def close(self) -> None:
        for timer in self._set.values():
            timer.cancel()
        self._set.clear()
