"""One direction of a stream, at the side that sends: what waits, what is under way, what it may.

Chunks have numbers from 0; the end has the number after the last chunk. Everything that is not
acknowledged is kept, so that it can be sent again when a connection was lost. The other side
grants credit as a total of cost since the beginning; a chunk is taken from the program only when
its whole cost is granted, so what is kept here never exceeds the other side's window, nor
`MAX_KEPT`, however much the other side grants.

What this module does not know: connections, time, programs.

Invariants: acknowledged <= next <= most ever handed over + 1; what is kept is exactly what was
taken and not acknowledged, in order; the cost of what was taken never exceeds the credit.
"""

from __future__ import annotations

from collections import deque

Chunk = bytes | memoryview

LEAST_COST = 64  # a chunk costs at least this and once more, so that empty ones are bounded too
MAX_KEPT = 64 * 1024 * 1024  # as a cost


def cost_of(size_bytes: int) -> int:
    """Return what a chunk of this size costs of the credit."""
    return (size_bytes if size_bytes > LEAST_COST else LEAST_COST) + LEAST_COST


class Outgoing:
    """What one side of a stream sends.

    Attributes:
        acknowledged: the number that the other side expects next, as far as we know.
        next: the number to hand over next; lower than before after `rewind`.
        sent: one more than the highest number ever handed over.
        room: the total cost up to which chunks may be taken now.
        cost: the total cost of what was taken.
        sent_bytes: of chunks that were handed over, each counted once.
        repeated: how often a chunk was handed over again.
    """

    __slots__ = (
        "_acknowledged_cost",
        "_credit",
        "_under_way",
        "_waiting",
        "acknowledged",
        "acknowledged_bytes",
        "cost",
        "is_finished",
        "next",
        "repeated",
        "room",
        "sent",
        "sent_bytes",
    )

    def __init__(self) -> None:
        self.acknowledged = 0
        self.next = 0
        self.sent = 0
        self.room = 0
        self.cost = 0
        self.sent_bytes = 0
        self.acknowledged_bytes = 0
        self.repeated = 0
        self.is_finished = False  # nothing more will be taken
        self._credit = 0
        self._acknowledged_cost = 0
        self._under_way: deque[Chunk | None] = deque()  # from `acknowledged`; None is the end
        self._waiting: deque[Chunk | None] = deque()  # from `next`

    @property
    def is_over(self) -> bool:
        """The other side has everything, the end included."""
        return self.is_finished and not self._under_way and not self._waiting

    @property
    def is_owed(self) -> bool:
        """Something was handed over, and is not acknowledged."""
        return self.acknowledged < self.sent

    def may_take(self, size_bytes: int) -> bool:
        """Whether a chunk of this size is within the credit."""
        return self.cost + cost_of(size_bytes) <= self.room

    def take(self, chunk: Chunk) -> None:
        """Take a chunk from the program."""
        assert not self.is_finished
        self.cost += cost_of(len(chunk))
        assert self.cost <= self.room, "ask may_take first"
        self._waiting.append(chunk)

    def finish(self) -> None:
        """Nothing more comes: send the end after what is left."""
        if not self.is_finished:
            self.is_finished = True
            self._waiting.append(None)

    def has_unsent(self) -> bool:
        return bool(self._waiting)

    def first_unsent(self) -> Chunk | None:
        """Return the chunk to hand over next, with the number `next`; None is the end."""
        return self._waiting[0]

    def unsent_run(self, below_bytes: int, room_bytes: int, most: int) -> list[Chunk]:
        """Return the chunks at the head that may travel together, none of them when it is one.

        Args:
            below_bytes: a chunk of this size and above travels alone.
            room_bytes: for all of them; each takes `LEAST_COST` more than its bytes.
            most: so many at most.
        """
        run: list[Chunk] = []
        for chunk in self._waiting:
            if chunk is None or len(chunk) >= below_bytes or len(run) == most:
                break
            room_bytes -= len(chunk) + LEAST_COST
            if room_bytes < 0:
                break
            run.append(chunk)
        return run if len(run) > 1 else []

    def handed_over(self) -> None:
        """It has left."""
        chunk = self._waiting.popleft()
        self._under_way.append(chunk)
        self.next += 1
        if self.next <= self.sent:
            self.repeated += 1
        else:
            self.sent = self.next
            if chunk is not None:
                self.sent_bytes += len(chunk)

    def acknowledge(self, expected: int, credit: int) -> bool:
        """The other side has everything before `expected`; False when that cannot be."""
        if expected > self.sent:
            return False
        while self.acknowledged < expected:
            if self._under_way:
                chunk = self._under_way.popleft()
            else:  # to be sent again, and there already
                chunk = self._waiting.popleft()
                self.next += 1
            self.acknowledged += 1
            if chunk is not None:
                self.acknowledged_bytes += len(chunk)
                self._acknowledged_cost += cost_of(len(chunk))
        self._credit = max(self._credit, credit)
        self.room = min(self._credit, self._acknowledged_cost + MAX_KEPT)
        return True

    def rewind(self, number: int) -> None:
        """Send again from this number on; what is acknowledged is not sent again."""
        number = max(number, self.acknowledged)
        while self.next > number:
            self._waiting.appendleft(self._under_way.pop())
            self.next -= 1

    def forget(self) -> None:
        """Let go of everything: it will never be sent."""
        self._under_way.clear()
        self._waiting.clear()
        self.acknowledged = self.next = self.sent
        self.is_finished = True

    def check_invariants(self) -> None:
        assert 0 <= self.acknowledged <= self.next <= self.sent
        assert len(self._under_way) == self.next - self.acknowledged
        assert self.sent <= self.next + len(self._waiting)
        assert self.acknowledged_bytes <= self.sent_bytes
        kept = [*self._under_way, *self._waiting]
        assert None not in kept[:-1], "the end is last"
        assert sum(cost_of(len(c)) for c in kept if c is not None) <= MAX_KEPT
        assert self.cost <= self._credit
