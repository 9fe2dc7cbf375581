"""Whether answers take long: of late one did. Where many begin at once, all are busy.

Only what came is noted, or a wait for somebody that has shown that it is there: who is silent says
nothing of how busy the others are. What was slow a while ago says nothing of now.

What this module does not know: what was asked, what is to be done about it. Time is monotonic
milliseconds.
"""

from __future__ import annotations

LASTS_MS = 5_000


class Slowness:
    """Of one kind of answer.

    Args:
        long_ms: an answer that takes longer is slow.
    """

    def __init__(self, long_ms: int) -> None:
        self._long_ms = long_ms
        self._slow_ms: int | None = None  # when one was, for the last time

    def took(self, took_ms: int, now_ms: int) -> None:
        """An answer came now, after so long."""
        if took_ms > self._long_ms:
            self._slow_ms = now_ms

    def is_slow(self, now_ms: int) -> bool:
        """Whether an answer of the last seconds took long."""
        return self._slow_ms is not None and now_ms - self._slow_ms < LASTS_MS
