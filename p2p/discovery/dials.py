"""The dials under way: how many there may be, and which of them went silent.

Pure. Two classes share the places, candidates that somebody vouched for and mere hints of the
LAN, and each is kept to its own limit below the whole, so that neither can starve the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class _Pending(NamedTuple):
    key: str  # of the candidate
    since_ms: int
    is_hint: bool


class Dials:
    def __init__(self, *, limit: int, limit_per_class: int, timeout_ms: int) -> None:
        self._limit = limit
        self._limit_per_class = limit_per_class
        self._timeout_ms = timeout_ms
        self._pending: dict[int, _Pending] = {}
        self._of_class = {True: 0, False: 0}
        self.started = 0

    def __len__(self) -> int:
        return len(self._pending)

    def has_place(self, is_hint: bool) -> bool:
        return len(self._pending) < self._limit and self._of_class[is_hint] < self._limit_per_class

    def start(self, key: str, is_hint: bool, now_ms: int) -> int:
        """Take a place; the number names this dial from now on."""
        assert self.has_place(is_hint)
        self.started += 1
        self._pending[self.started] = _Pending(key, now_ms, is_hint)
        self._of_class[is_hint] += 1
        return self.started

    def key_of(self, number: int) -> str | None:
        """Whom it is to, while it is under way."""
        pending = self._pending.get(number)
        return pending.key if pending is not None else None

    def end(self, number: int) -> str | None:
        """Free the place; the candidate's key, or None when there is no such dial."""
        pending = self._pending.pop(number, None)
        if pending is None:
            return None
        self._of_class[pending.is_hint] -= 1
        return pending.key

    def silent(self, now_ms: int) -> list[int]:
        """Those whose outcome should have been reported by now."""
        return [
            number
            for number, pending in self._pending.items()
            if now_ms - pending.since_ms >= self._timeout_ms
        ]

    def deadlines_ms(self) -> Iterable[int]:
        return (pending.since_ms + self._timeout_ms for pending in self._pending.values())

    def check_invariants(self, dial_of: dict[str, int | None]) -> None:
        """`dial_of`: the dial that each candidate believes to be under way."""
        assert len(self._pending) <= self._limit
        for is_hint in (True, False):
            of_class = sum(pending.is_hint is is_hint for pending in self._pending.values())
            assert of_class == self._of_class[is_hint] <= self._limit_per_class
        for key, number in dial_of.items():
            assert number is None or self._pending[number].key == key
