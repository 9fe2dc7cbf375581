"""Whether a crowd gathers: several were told of within a moment, and more are to come.

What this module does not know: who they are, what to do about it. Time is monotonic milliseconds.
"""

from __future__ import annotations

MANY_NEW = 4  # so many that are new may be the beginning of a crowd


class Growth:
    """Of one member's picture of who is there; `look` before anything is asked."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = self._grown_ms = now_ms
        self._size = self._calm_size = 0  # the latter when nobody had come for a while

    def look(self, size: int, now_ms: int, calm_ms: int) -> None:
        """So many are there now; a crowd has gathered when nobody came for `calm_ms`."""
        if now_ms - self._grown_ms >= calm_ms:
            self._calm_size = self._size
        if size > self._size:
            self._grown_ms = now_ms
        self._size, self._now_ms = size, now_ms
        self._calm_size = min(self._calm_size, size)

    def has_grown_within(self, limit_ms: int) -> bool:
        """Whether somebody has come in this time."""
        return self._now_ms - self._grown_ms < limit_ms

    @property
    def is_crowd(self) -> bool:
        """Whether several have come, each soon after the one before, and the last just now."""
        return self._size - self._calm_size >= MANY_NEW
