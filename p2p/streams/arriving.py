"""One direction of a stream, at the side that receives: what is expected, what waits to be read.

Credit is given back as the program reads, so a slow reader slows the writer, and what waits here
never exceeds the window. Grants lag by up to a quarter of the window, so a chunk must not cost more
than the rest. A chunk that comes twice is dropped, one that comes too early is not
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
        credit: the total cost that the other side may have sent.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.expected = 0
        self.credit = window
        self.received_bytes = 0
        self.repeated = 0
        self.has_end = False
        self._waiting: deque[bytes] = deque()
        self._arrived_cost = 0
        self._read_cost = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_over(self) -> bool:
        """The end has come and everything was read."""
        return self.has_end and not self._waiting

    def take(self, number: int, chunk: bytes) -> Taken:
        """Take a chunk that arrived."""
        verdict = self._judge(number)
        if verdict is not Taken.YES:
            return verdict
        cost = cost_of(len(chunk))
        if self._arrived_cost + cost > self.credit:
            return Taken.OVER_CREDIT
        self.expected += 1
        self._arrived_cost += cost
        self.received_bytes += len(chunk)
        self._waiting.append(chunk)
        return Taken.YES

    def take_end(self, number: int) -> Taken:
        """Take the end; it has the number after the last chunk."""
        verdict = self._judge(number)
        if verdict is Taken.YES:
            self.expected += 1
            self.has_end = True
        return verdict

    def read(self) -> bytes:
        """Return the next chunk; there must be one."""
        chunk = self._waiting.popleft()
        self._read_cost += cost_of(len(chunk))
        return chunk

    def credit_is_due(self) -> bool:
        """Whether a quarter of the window has been read since the last grant."""
        return 4 * (self._read_cost + self.window - self.credit) >= self.window

    def grant(self) -> int:
        """Grant what has been read, and return the credit."""
        self.credit = self._read_cost + self.window
        return self.credit

    def forget(self) -> None:
        """Let go of what nobody will read."""
        self._waiting.clear()

    def check_invariants(self) -> None:
        assert self._read_cost <= self._arrived_cost <= self.credit
        assert sum(cost_of(len(chunk)) for chunk in self._waiting) <= self.window

    def _judge(self, number: int) -> Taken:
        if number < self.expected:
            self.repeated += 1
            return Taken.AGAIN
        if self.has_end:
            return Taken.AFTER_END
        return Taken.YES if number == self.expected else Taken.GAP
