"""What repeating may cost: a budget for retries, and the time to wait before one.

Repeats are a share of the calls that succeed in being made, so that a network in trouble gets a
tenth more load from them and not several times as much; a floor lets those who call rarely repeat
too.

What this module does not know: what is repeated, clocks.

Sources: Finagle's RetryBudget (deposit and withdrawal); M. Brooker, "Exponential Backoff And
Jitter" (full jitter).
"""

from __future__ import annotations

import random

DEPOSIT = 100  # thousandths of a retry, for each call
PRICE = 1_000
MOST_SAVED = 100_000
FLOOR = 10_000  # ten retries in ten seconds, whatever was deposited: a thousandth a millisecond

BACKOFF_FIRST_MS = 50
BACKOFF_MOST_MS = 2_000


class RetryBudget:
    """A token bucket, in thousandths of a retry."""

    __slots__ = ("_floor", "_floor_ms", "_saved", "refused")

    def __init__(self, now_ms: int) -> None:
        self._saved = 0
        self._floor = FLOOR
        self._floor_ms = now_ms
        self.refused = 0

    def deposit(self) -> None:
        """A call was made."""
        if self._saved < MOST_SAVED:
            self._saved += DEPOSIT

    def take(self, now_ms: int) -> bool:
        """Pay for one retry; False (counted) when there is nothing left."""
        passed_ms = max(0, now_ms - self._floor_ms)
        self._floor_ms = max(now_ms, self._floor_ms)
        self._floor = min(FLOOR, self._floor + passed_ms)
        if self._saved >= PRICE:
            self._saved -= PRICE
        elif self._floor >= PRICE:
            self._floor -= PRICE
        else:
            self.refused += 1
            return False
        return True

    def check_invariants(self) -> None:
        assert 0 <= self._saved <= MOST_SAVED
        assert 0 <= self._floor <= FLOOR


def backoff_ms(attempt: int, rng: random.Random) -> int:
    """Return how long to wait before the repeat after `attempt` (1 for the first) failed."""
    most_ms = min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS << min(attempt - 1, 10))
    return rng.randint(0, most_ms)
