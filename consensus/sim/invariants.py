"""What a run raises when a promise did not hold. Numbers are those of `oracle`.

What this module does not know: the promises.
"""

from __future__ import annotations


class InvariantBroken(AssertionError):
    """A run in which one of the promises did not hold."""

    def __init__(self, number: int, what: str) -> None:
        self.number = number
        super().__init__(f"invariant {number}: {what}")
