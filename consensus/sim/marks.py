"""Rare things that a run has reached: proof that the weather leads into the corners of the code.

What this module does not know: how they are noticed. A name that is not in `KNOWN` is a mistake.
"""

from __future__ import annotations

from collections import Counter

KNOWN = (
    # elections
    "two leaders at once",
    "a learner voted",
    "somebody removed campaigns",
    "transfer moved",
    "transfer given up",
    # the log
    "entries cut",
    "batch cut before it was written",
    "committed before the own disk",
    "disk full",
    "disk broken",
    # snapshots
    "snapshot sent",
    "snapshot given up",
    "snapshot refused",
    "snapshot installed, log dropped",
    "snapshot beyond the log at start",
    "snapshot without members",
    "crash while a snapshot was written",
    "state hash proposed",
    # members
    "change in force",
    "change refused",
    "change with unknown outcome",
    "joint membership left by another leader",
    "a removed leader stepped down",
    "disk wiped",
    "rot refused",
    "rot without effect",
    "too much was lost",
    # clients
    "read refused",
    "read round lost",
    "read lost",
    "request repeated",
    "session gone",
    "lease expired",
    "lease lived",
    "history undecided",
)

# So rare that only thousands of seeds reach them, or a sign of trouble with the check itself.
RARE = frozenset(
    {
        "somebody removed campaigns",
        "snapshot given up",
        "snapshot without members",
        "rot without effect",
        "history undecided",
    }
)


class Marks:
    """How often each was seen."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def hit(self, name: str) -> None:
        assert name in _KNOWN, name
        self.counts[name] += 1


_KNOWN = frozenset(KNOWN)
