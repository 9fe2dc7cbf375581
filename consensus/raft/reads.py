"""Reads without the log: rounds that prove who leads (ReadIndex, thesis 6.4, rule R15), and how old
a follower's state can be.

A read waits for a round of heartbeats that was sent after it came, confirmed by a quorum in the
same term. Reads share rounds: one is under way, and the next one takes all that have come
meanwhile; a lost round is repeated by the ordinary heartbeats, which carry its number.

What this module does not know: how rounds travel, when an entry of the own term is committed.

Invariants: a round's index was the commit index when the round began; rounds are confirmed in
order; numbers are never reused in a node's life, so an answer to an earlier round proves nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class ReadRounds:
    """Reads of one leader."""

    number: int = 0  # of the latest round
    _index: int = 0
    _asked: list[int] = field(default_factory=list)  # in the round under way
    _waiting: list[int] = field(default_factory=list)  # for the next one

    @property
    def is_waiting(self) -> bool:
        return bool(self._asked or self._waiting)

    @property
    def is_under_way(self) -> bool:
        return bool(self._asked)

    @property
    def is_due(self) -> bool:
        """Whether a round can begin."""
        return bool(self._waiting) and not self._asked

    def ask(self, request: int) -> None:
        """A read has come."""
        self._waiting.append(request)

    def begin(self, commit: int) -> int:
        """The next round, by its number."""
        assert self.is_due
        self.number += 1
        self._index = commit
        self._asked, self._waiting = self._waiting, []
        return self.number

    def confirm(self) -> tuple[list[int], int]:
        """A quorum has answered the round under way: its reads, and the index to serve them at."""
        asked, self._asked = self._asked, []
        return asked, self._index

    def give_up(self) -> list[int]:
        """The lead is lost: every read that waits."""
        lost = self._asked + self._waiting
        self._asked, self._waiting = [], []
        return lost


class Freshness:
    """When a follower's state was the leader's, on the follower's own clock.

    A heartbeat echoes the stamp of an answer of ours: it was made after that answer, so what it
    says is committed was committed at that time or later. Whoever sent it may have been deposed
    since it last heard a quorum, which a leader notices within two election timeouts; readers add
    those.
    """

    def __init__(self) -> None:
        self.fresh_ms: int | None = None
        self._said: deque[int] = deque(maxlen=16)
        self._waits: tuple[int, int] | None = None  # (index to apply, own time)

    def said(self, stamp_ms: int) -> None:
        """This stamp goes with our next answer."""
        self._said.append(stamp_ms)

    def heard(self, known_commit: int, echo_ms: int, applied: int) -> None:
        """A heartbeat; echoes of what an earlier process of this node said count for nothing."""
        if self._waits is None and echo_ms and echo_ms in self._said:
            self._waits = (known_commit, echo_ms)
            self.applied(applied)

    def applied(self, index: int) -> None:
        """The state machine has come this far."""
        if self._waits is not None and index >= self._waits[0]:
            self.fresh_ms, self._waits = self._waits[1], None
