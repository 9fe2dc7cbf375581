"""Whose accusations count: not those of a member that was refuted too often of late.

A refutation of the same start proves that its subject was there; a member that accuses those who
are there makes everybody sign, verify and pass on words. It need not lie: a machine that hears
badly does the same. Members may differ about who is one, for as long as they heard other things;
the subject's next word makes them agree again.

What this module does not know: what an accusation says, other members' opinions.
"""

from __future__ import annotations

from collections import deque

from keys import PeerId

_MAX_ACCUSERS = 4_096


class Liars:
    """
    Args:
        most: refuted accusations of one accuser within `window_ms` that are forgiven.
    """

    def __init__(self, most: int, window_ms: int) -> None:
        self._most, self._window_ms = most, window_ms
        self._refuted: dict[PeerId, deque[int]] = {}
        self._until_ms: dict[PeerId, int] = {}

    def refuted(self, accuser: PeerId, now_ms: int) -> bool:
        """An accusation of this member was refuted; whether it is not believed from now on."""
        times = self._refuted.pop(accuser, None) or deque(maxlen=self._most)
        if len(self._refuted) >= _MAX_ACCUSERS:
            del self._refuted[next(iter(self._refuted))]
        self._refuted[accuser] = times
        is_one = len(times) == self._most and now_ms - times[0] < self._window_ms
        times.append(now_ms)
        if not is_one:
            return False
        was_one = self.is_one(accuser, now_ms)
        self._until_ms[accuser] = now_ms + self._window_ms
        return not was_one

    def is_one(self, accuser: PeerId, now_ms: int) -> bool:
        until_ms = self._until_ms.get(accuser)
        if until_ms is not None and until_ms <= now_ms:
            del self._until_ms[accuser]
            return False
        return until_ms is not None
