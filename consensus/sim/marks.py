"""Rare things that a run has reached: proof that the weather leads into the corners of the code.

What this module does not know: how they are noticed. A name that is not in `KNOWN` is a mistake.
"""

from __future__ import annotations

from collections import Counter

KNOWN = (
    "snapshot sent",
    "snapshot given up",
    "snapshot refused",
    "snapshot installed, log dropped",
    "snapshot covered, log kept",
    "snapshot beyond the log at start",
    "crash while a snapshot was written",
    "snapshot without members",
    "state hash proposed",
    "two leaders at once",
    "read refused",
    "read lost",
    "request repeated",
    "session gone",
    "lease expired",
    "lease lived",
    "history undecided",
    "disk wiped",
    "disk broken",
    "rot refused",
    "rot without effect",
    "too much was lost",
    "change refused",
    "change with unknown outcome",
    "change in force",
)


class Marks:
    """How often each was seen."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def hit(self, name: str) -> None:
        assert name in _KNOWN, name
        self.counts[name] += 1


_KNOWN = frozenset(KNOWN)
