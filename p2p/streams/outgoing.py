"""One direction of a stream, at the side that sends: what waits, what is under way, what it may.

Chunks have numbers from 0; the end has the number after the last chunk. Everything that is not
acknowledged is kept, so that it can be sent again when a connection was lost. The other side
grants credit as a total of cost since the beginning; a chunk is taken from the program only when
its whole cost is granted, so what is kept here never exceeds the other side's window.

What this module does not know: connections, time, programs.

Invariants: acknowledged <= next number to send <= number after the last; what is acknowledged was
sent; the cost of what was taken never exceeds the credit.
"""

from __future__ import annotations

from collections import deque

Chunk = bytes | bytearray | memoryview

CHUNK_COST = 64  # what a chunk costs beside its bytes, so that empty ones are bounded too


def cost_of(size_bytes: int) -> int:
    """Return what a chunk of this size costs of the credit."""
    return size_bytes + CHUNK_COST


class Outgoing:
    """What one side of a stream sends.

    Attributes:
        acknowledged: the number that the other side expects next.
        credit: the cost that may have been taken by now.
    """

    def __init__(self) -> None:
        self.acknowledged = 0
        self.credit = 0
        self.sent_bytes = 0
        self.acknowledged_bytes = 0
        self._kept: deque[Chunk | None] = deque()  # from `acknowledged` on; None is the end
        self._unsent = 0  # how many at the end of `_kept` are to be sent, or sent again
        self._ever_sent = 0  # the number after the last that was ever sent
        self._cost = 0
        self._is_finished = False

    @property
    def is_finished(self) -> bool:
        """Nothing more will be taken."""
        return self._is_finished

    @property
    def is_over(self) -> bool:
        """The other side has everything, the end included."""
        return self._is_finished and not self._kept

    @property
    def is_owed(self) -> bool:
        """Something is not acknowledged yet."""
        return bool(self._kept)

    def may_take(self, size_bytes: int) -> bool:
        """Whether a chunk of this size is within the credit."""
        return self._cost + cost_of(size_bytes) <= self.credit

    def take(self, chunk: Chunk) -> None:
        """Take a chunk from the program."""
        assert not self._is_finished
        assert self.may_take(len(chunk))
        self._cost += cost_of(len(chunk))
        self._kept.append(chunk)
        self._unsent += 1

    def finish(self) -> None:
        """Nothing more comes: send the end after what is left."""
        if not self._is_finished:
            self._is_finished = True
            self._kept.append(None)
            self._unsent += 1

    def first_unsent(self) -> tuple[int, Chunk | None] | None:
        """Return the number and the chunk to send next (None for the end), or None for nothing."""
        if not self._unsent:
            return None
        position = len(self._kept) - self._unsent
        return self.acknowledged + position, self._kept[position]

    def sent(self) -> None:
        """That one has been handed over."""
        number = self.acknowledged + len(self._kept) - self._unsent
        chunk = self._kept[-self._unsent]
        self._unsent -= 1
        if number >= self._ever_sent:
            self._ever_sent = number + 1
            if chunk is not None:
                self.sent_bytes += len(chunk)

    def acknowledge(self, expected: int, credit: int) -> bool:
        """The other side has everything before `expected`; False when that cannot be."""
        if expected > self._ever_sent:
            return False
        while self.acknowledged < expected:
            chunk = self._kept.popleft()
            self.acknowledged += 1
            if chunk is not None:
                self.acknowledged_bytes += len(chunk)
        self._unsent = min(self._unsent, len(self._kept))
        self.credit = max(self.credit, credit)
        return True

    def rewind(self) -> None:
        """Send again whatever is not acknowledged."""
        self._unsent = len(self._kept)

    def forget(self) -> None:
        """Let go of everything: it will never be sent."""
        self._kept.clear()
        self._unsent = 0
        self._is_finished = True

    def check_invariants(self) -> None:
        assert 0 <= self._unsent <= len(self._kept)
        assert self.acknowledged <= self._ever_sent
        assert self.acknowledged_bytes <= self.sent_bytes
        assert None not in list(self._kept)[:-1]
        assert self._cost <= self.credit or not self._cost
