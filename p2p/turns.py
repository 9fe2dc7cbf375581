"""How many introductions of ours are under way at once.

An introduction is some milliseconds of work at both ends. Where many members begin at once, on one
machine or behind one slow door, all that are begun together are slow together, end without an
answer, and are begun again: then nobody gets in. So they take turns: few at once, more while they
are quick, fewer when one was too slow (as TCP does it).

What somebody asked for goes before what the table of candidates thinks worth a try, and has one
place for itself: whoever takes our connections and says nothing cannot keep us from our members.

What this module does not know: who is introduced, and why. Time is monotonic milliseconds.

Invariants: none is begun while `limit` are under way, or one less where it can wait; nobody waits
while there is room; who waits is begun in the order of coming.
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum, auto

from p2p.slowness import Slowness

FIRST, LEAST, MOST = 4, 2, 32
QUICK_MS = 500
SLOW_MS = 1_500
LONG_MS = 250  # a hundred times what it takes where nobody is busy


class Outcome(Enum):
    """What an introduction was for those that come after it."""

    DONE = auto()  # its time says how busy both ends are
    LATE = auto()  # the other side took our connection, and did not answer
    NOTHING = auto()  # nobody is there, or we were turned away


class Turns:
    """`await begin(...)`, then `end(...)`, whatever happened; `begin` may be cancelled.

    Attributes:
        slowness: whether introductions take long, at either end.
    """

    def __init__(self) -> None:
        self.limit = float(FIRST)
        self.slowness = Slowness(LONG_MS)
        self.running = 0
        self._last_cut_ms = 0
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._urgent) + len(self._others)

    async def begin(self, *, can_wait: bool) -> None:
        """Return when it is our turn."""
        queue = self._others if can_wait else self._urgent
        if not queue and self._has_room(can_wait=can_wait):
            self.running += 1
            return
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                queue.remove(turn)
            else:
                self._leave()  # it was given to us just now
            raise

    def end(self, outcome: Outcome, began_ms: int, now_ms: int) -> None:
        """Leave, and say how it went."""
        took_ms = now_ms - began_ms
        if outcome is not Outcome.NOTHING:
            self.slowness.took(took_ms, now_ms)
        if outcome is Outcome.LATE or (outcome is Outcome.DONE and took_ms > SLOW_MS):
            if began_ms >= self._last_cut_ms:  # else it tells of before
                self._last_cut_ms = now_ms
                self.limit = max(float(LEAST), self.limit / 2)
        elif outcome is Outcome.DONE and took_ms <= QUICK_MS:
            self.limit = min(float(MOST), self.limit + 1 / self.limit)
        self._leave()

    def _leave(self) -> None:
        self.running -= 1
        for queue, can_wait in ((self._urgent, False), (self._others, True)):
            for turn in tuple(queue):
                if not self._has_room(can_wait=can_wait):
                    break
                if not turn.done():  # else it was cancelled, and leaves by itself
                    self.running += 1
                    queue.remove(turn)
                    turn.set_result(None)

    def _has_room(self, *, can_wait: bool) -> bool:
        return self.running + can_wait < int(self.limit)

    def check_invariants(self) -> None:
        assert LEAST <= self.limit <= MOST
        assert self.running >= 0
        for queue, can_wait in ((self._urgent, False), (self._others, True)):
            assert not self._has_room(can_wait=can_wait) or all(turn.done() for turn in queue)
