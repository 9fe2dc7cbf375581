"""Accepting each message at most once: the numbers of a sender, and what a receiver remembers.

A sender numbers the messages to each receiver and says with each one below which number it will
never repeat any (its floor). A receiver keeps its verdict on every number from the floor up, so a
repeat gets the same verdict, and a copy that comes late is known as settled. Nothing is forgotten
while it can still be repeated; what is kept is bounded by what senders have under way.

What this module does not know: the network, what a message holds, why it was refused.

Invariants: a number is judged once; the verdicts of a sender are at most `MAX_NUMBERS`, all at or
above its floor.

Source: Lee et al., "Implementing Linearizability at Large Scale and Low Latency" (RIFL), section 3.
"""

from __future__ import annotations

from enum import IntEnum

MAX_SENDERS = 4_096
MAX_NUMBERS = 4_096
KEEP_MS = 600_000  # a sender that was silent for so long repeats nothing any more


class Verdict(IntEnum):
    """What a receiver knows of a number before it looks at the message."""

    NEW = 0  # judge it, and say so with `judge`
    ACCEPTED = 1  # it was accepted already
    REFUSED = 2  # it was refused already
    SETTLED = 3  # its sender said that it would not come again
    FULL = 4  # nothing more can be remembered: it must not be accepted


class Numbers:
    """A sender's numbers for one receiver."""

    __slots__ = ("_last", "_open")

    def __init__(self) -> None:
        self._last = 0
        self._open: dict[int, None] = {}  # in rising order

    def begin(self) -> int:
        """Return the number of a new message; it is settled later."""
        self._last += 1
        self._open[self._last] = None
        return self._last

    def settle(self, number: int) -> None:
        """This message will not be sent again."""
        self._open.pop(number, None)

    @property
    def floor(self) -> int:
        """The lowest number that may still be repeated."""
        return next(iter(self._open), self._last + 1)


class _Sender:
    __slots__ = ("accepted", "floor", "heard_ms", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.floor = 0
        self.heard_ms = 0
        self.accepted: dict[int, bool] = {}


class Window:
    """What one receiver remembers of all senders."""

    def __init__(self) -> None:
        self._senders: dict[str, _Sender] = {}

    def look(self, peer: str, start: int, number: int, floor: int, now_ms: int) -> Verdict:
        """Return what is known of a number, and forget what the floor settles.

        Args:
            start: which of its starts the sender is in; a later one has numbers of its own.
        """
        sender = self._senders.get(peer)
        if sender is None or start > sender.start:
            if sender is None and not self._has_room(now_ms):
                return Verdict.FULL
            sender = self._senders[peer] = _Sender(start)
        elif start < sender.start:
            return Verdict.SETTLED
        sender.heard_ms = now_ms
        if floor > sender.floor:
            sender.floor = floor
            sender.accepted = {n: v for n, v in sender.accepted.items() if n >= floor}
        if number < sender.floor:
            return Verdict.SETTLED
        known = sender.accepted.get(number)
        if known is not None:
            return Verdict.ACCEPTED if known else Verdict.REFUSED
        return Verdict.FULL if len(sender.accepted) >= MAX_NUMBERS else Verdict.NEW

    def judge(self, peer: str, number: int, accepted: bool) -> None:
        """Remember the verdict on a number that `look` just called new."""
        verdicts = self._senders[peer].accepted
        assert number not in verdicts, "a number is judged once"
        verdicts[number] = accepted

    def check_invariants(self) -> None:
        assert len(self._senders) <= MAX_SENDERS
        for sender in self._senders.values():
            assert len(sender.accepted) <= MAX_NUMBERS
            assert all(number >= sender.floor for number in sender.accepted)

    def _has_room(self, now_ms: int) -> bool:
        if len(self._senders) < MAX_SENDERS:
            return True
        kept = {p: s for p, s in self._senders.items() if now_ms - s.heard_ms < KEEP_MS}
        self._senders = kept
        return len(kept) < MAX_SENDERS
