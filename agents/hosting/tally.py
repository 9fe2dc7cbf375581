"""What is counted of one capability: how often it ran, how it ended, and how long it took.

Times fall into buckets by powers of two, so that counting costs a fraction of a microsecond and a
quantile is told to within its bucket. All numbers only grow; whoever wants those of a span takes
the difference of two readings.

What this module does not know: clocks, handlers, who reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BUCKETS = 32  # bucket n holds what took from 2^(n-1) up to 2^n microseconds; the last one the rest
_LAST = BUCKETS - 1


class Tally:
    """The numbers of one capability.

    Attributes:
        failed: how many raised or were cancelled; they have a time too.
        refused: how many were not run at all.
    """

    __slots__ = ("buckets", "failed", "refused", "total_us")

    def __init__(self) -> None:
        self.buckets = [0] * BUCKETS
        self.total_us = 0
        self.failed = 0
        self.refused = 0

    def ended(self, took_ns: int) -> None:
        """One has ended, well or not."""
        took_us = took_ns // 1000
        bucket = took_us.bit_length()
        self.total_us += took_us
        self.buckets[bucket if bucket < BUCKETS else _LAST] += 1

    def figures(self) -> dict[str, Any]:
        """Return the numbers as plain data."""
        return {
            "calls": sum(self.buckets),
            "failed": self.failed,
            "refused": self.refused,
            "total_us": self.total_us,
            "buckets": list(self.buckets),
        }


class Occupancy:
    """How much of an agent is in use: the time of all executions together, also of those that go
    on, so that the difference of two readings is true of the span between them."""

    __slots__ = ("_began_ms", "_done_ms", "_running")

    def __init__(self) -> None:
        self._began_ms = self._done_ms = self._running = 0

    def begin(self, now_ms: int) -> None:
        """One begins."""
        self._running += 1
        self._began_ms += now_ms

    def end(self, began_ms: int, now_ms: int) -> None:
        """One ends that began then."""
        self._running -= 1
        self._began_ms -= began_ms
        self._done_ms += now_ms - began_ms

    def total_ms(self, now_ms: int) -> int:
        return self._done_ms + self._running * now_ms - self._began_ms


def quantile_us(buckets: Sequence[int], share: float) -> float | None:
    """Return the time that this share of calls stayed within, or None where there was none.

    Between the bounds of a bucket, times are taken to be spread evenly.
    """
    count = sum(buckets)
    if not count:
        return None
    left = share * count
    for number, here in enumerate(buckets):
        if here and left <= here:
            least = (1 << number) >> 1
            return least + (max(1, 1 << number) - least) * max(0.0, left) / here
        left -= here
    return float(1 << _LAST)
