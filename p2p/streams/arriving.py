"""One direction of a stream, at the side that receives: what is expected, what waits to be read.

Credit is given back as the program reads, so a slow reader slows the writer, and what waits here
never exceeds the window. A chunk that comes twice is dropped, one that comes too early is not
taken: something was lost, and is to be asked for.

What this module does not know: connections, time, programs.

Invariants: chunks are read in the order of their numbers, each once; the cost of what waits never
exceeds the window.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto

from p2p.streams.outgoing import cost_of


class Taken(Enum):
    """What became of a chunk that arrived."""

    YES = auto()
    AGAIN = auto()  # it was here before
    GAP = auto()  # something before it is missing
    OVER_CREDIT = auto()  # more than was granted: the other side breaks the rules
    AFTER_END = auto()  # so is this


class Arriving:
    """What one side of a stream receives.

    Args:
        window: the most that may wait here, as a cost.

    Attributes:
        expected: the number of the next chunk.
        credit: the total cost that the other side may have sent, as it was told.
        told: the number up to which it was told that all has arrived.
        waiting: what arrived and was not read.
        repeated: how many came again.
    """

    __slots__ = (
        "_arrived_cost",
        "_due_at_cost",
        "_read_cost",
        "credit",
        "expected",
        "has_end",
        "received_bytes",
        "repeated",
        "told",
        "waiting",
        "window",
    )

    def __init__(self, window: int) -> None:
        self.window = window
        self.expected = 0
        self.told = 0
        self.credit = window
        self.received_bytes = 0
        self.repeated = 0
        self.has_end = False
        self.waiting: deque[bytes] = deque()
        self._arrived_cost = 0
        self._read_cost = 0
        self._due_at_cost = window // 2

    @property
    def is_over(self) -> bool:
        """The end has come and everything was read."""
        return self.has_end and not self.waiting

    def take(self, number: int, chunk: bytes) -> Taken:
        """Take a chunk that arrived."""
        if number != self.expected or self.has_end:
            return self._refuse(number)
        arrived_cost = self._arrived_cost + cost_of(len(chunk))
        if arrived_cost > self.credit:
            return Taken.OVER_CREDIT
        self.expected = number + 1
        self._arrived_cost = arrived_cost
        self.received_bytes += len(chunk)
        self.waiting.append(chunk)
        return Taken.YES

    def take_end(self, number: int) -> Taken:
        """Take the end; it has the number after the last chunk."""
        if number != self.expected or self.has_end:
            return self._refuse(number)
        self.expected += 1
        self.has_end = True
        return Taken.YES

    def read(self) -> tuple[bytes, bool]:
        """Return the next chunk, and whether a grant is due: half of the window has been read
        since the last. There must be a chunk."""
        chunk = self.waiting.popleft()
        self._read_cost += cost_of(len(chunk))
        return chunk, self._read_cost >= self._due_at_cost and not self.has_end

    def grant(self) -> int:
        """Grant what has been read, and return the credit. The other side is told."""
        self.told = self.expected
        self.credit = self._read_cost + self.window
        self._due_at_cost = self._read_cost + self.window // 2
        return self.credit

    def forget(self) -> None:
        """Let go of what nobody will read."""
        self.waiting.clear()
        self._read_cost = self._arrived_cost

    def check_invariants(self) -> None:
        assert self._read_cost <= self._arrived_cost <= self.credit
        assert self.told <= self.expected
        waiting = sum(cost_of(len(chunk)) for chunk in self.waiting)
        assert waiting == self._arrived_cost - self._read_cost <= self.window

    def _refuse(self, number: int) -> Taken:
        if number < self.expected:
            self.repeated += 1
            return Taken.AGAIN
        return Taken.AFTER_END if self.has_end else Taken.GAP
