"""How much a member doubts itself (Lifeguard): limits grow by half with each sign.

What this module does not know: what the signs are.
"""

from __future__ import annotations

from p2p.membership.swim_settings import SwimSettings


class Health:
    """0 is well."""

    def __init__(self, settings: SwimSettings) -> None:
        self._settings = settings
        self.score = 0
        self._since_ms = 0

    def worsen(self, now_ms: int) -> None:
        self.score = min(self._settings.max_health, self.score + 1)
        self._since_ms = now_ms

    def recover(self, now_ms: int) -> None:
        if self.score and now_ms - self._since_ms >= self._settings.recovery_ms:
            self.score -= 1
            self._since_ms = now_ms

    def patient(self, limit_ms: int) -> int:
        return limit_ms + limit_ms * self.score // 2
