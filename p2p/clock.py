"""Where time comes from: two readings, and nothing else.

Timeouts, leases and liveness use `now_ms`, which never goes back. Certificates and logs use
`wall_ms`. Cores get both as arguments and read no clock.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def now_ms(self) -> int:
        """Monotonic milliseconds from an arbitrary start."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970, as this machine believes."""


class SystemClock:
    """The machine's clocks. On Linux `now_ms` goes on counting while the machine is suspended,
    so a lease that ran out during a nap is seen to have run out."""

    def __init__(self) -> None:
        self._source = getattr(time, "CLOCK_BOOTTIME", None)

    def now_ms(self) -> int:
        if self._source is None:
            return time.monotonic_ns() // 1_000_000
        return time.clock_gettime_ns(self._source) // 1_000_000

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000
