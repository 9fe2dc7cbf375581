"""How long a subscriber has had no room, as far as we have looked.

On a machine that is busy a node stands still for longer than it would wait for a slow subscriber,
and so does the thread of libzmq that carries everything. Of the time between two looks no more
counts than there is between them on an idle machine: so nobody is left behind who was looked at
once before we stood still and once after it. The same holds from when somebody who had asked us to
wait goes on reading: it needs a moment, and that moment is counted in looks, too.

A pure core. Does not know: who is slow, how long is too long.
"""

from __future__ import annotations

LOOK_S = 0.02  # what waits for room is tried so often


class Stall:
    """Begins with the first look that finds no room."""

    __slots__ = ("_counted_s", "_forgiven_s", "_looked_s")

    def __init__(self) -> None:
        self._counted_s = 0.0
        self._forgiven_s = 0.0
        self._looked_s: float | None = None

    def look(self, now_s: float) -> float:
        """There is no room still; returns for how many seconds."""
        if self._looked_s is not None:
            self._counted_s += min(now_s - self._looked_s, LOOK_S)
        self._looked_s = now_s
        return self._counted_s

    def forgive(self) -> None:
        """Somebody goes on reading from now on; the next look is the first one at it."""
        self._forgiven_s, self._looked_s = self._counted_s, None

    @property
    def unforgiven_s(self) -> float:
        """How much of it came after the last `forgive`."""
        return self._counted_s - self._forgiven_s

    def end(self) -> None:
        """There was room."""
        self._counted_s, self._forgiven_s, self._looked_s = 0.0, 0.0, None
