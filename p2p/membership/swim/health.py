"""How much a member doubts itself (Lifeguard): limits grow by half with each sign.

While a crowd gathers all have much to do, and who is slow then is not dead: limits are as for one
that doubts itself most.

What this module does not know: what the signs are.
"""

from __future__ import annotations

from collections import deque

from p2p.membership.swim_settings import SwimSettings


class Health:
    """0 is well."""

    def __init__(self, settings: SwimSettings) -> None:
        self._settings = settings
        self.score = 0
        self._since_ms = 0
        self._now_ms = 0
        self._came_ms: deque[int] = deque(maxlen=settings.crowd)  # the last that are new to us

    @property
    def is_crowd(self) -> bool:
        """Whether many have come within a moment."""
        came_ms, settings = self._came_ms, self._settings
        is_many = len(came_ms) == settings.crowd
        return is_many and self._now_ms - came_ms[0] < settings.crowd_ms

    def came(self, now_ms: int) -> None:
        """Somebody is here that we had never heard of."""
        self._came_ms.append(now_ms)

    def worsen(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self.score = min(self._settings.max_health, self.score + 1)
        self._since_ms = now_ms

    def recover(self, now_ms: int) -> None:
        self._now_ms = now_ms
        if self.score and now_ms - self._since_ms >= self._settings.recovery_ms:
            self.score -= 1
            self._since_ms = now_ms

    def patient(self, limit_ms: int) -> int:
        score = self._settings.max_health if self.is_crowd else self.score
        return limit_ms + limit_ms * score // 2
