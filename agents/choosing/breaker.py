"""A circuit breaker for one destination: stop asking who does not answer, and find out cheaply
when it does again.

    CLOSED      every attempt passes; the last outcomes are kept
    OPEN        none passes, until a time that doubles with every trip, with jitter, up to a limit
    HALF_OPEN   one attempt at a time passes, the probe; what becomes of it decides

The table below holds every pair of state and event, so nothing happens that is not written there.
Outcomes count while it is closed; after that the probe's alone do: what was begun earlier says how
things were.

What this module does not know: clocks, peers, errors (see `Outcome`), how many others there are.

Invariants: at most one probe is under way, and only in HALF_OPEN; an OPEN breaker has a time at
which it ends.

Who refuses because it is busy is alive, and refusing is cheap: a breaker that opened for it would
leave a busy provider idle, and a flood of one kind of calls would shut out all others.

Source: M. Nygard, "Release It!", chapter 5. The jitter is small, because a probe that comes early
may cost its caller a deadline.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import IntEnum

from agents.choosing.outcome import Outcome


class State(IntEnum):
    CLOSED = 0
    OPEN = 1
    HALF_OPEN = 2


class Event(IntEnum):
    TRIP = 0  # a failure took the rate to the threshold
    WAITED = 1  # the open time is over
    PROBE_SUCCESS = 2
    PROBE_FAILURE = 3
    PROBE_ABANDONED = 4


class Action(IntEnum):
    NOTHING = 0
    OPEN = 1  # draw a time, longer than the last
    FREE = 2  # the next attempt may be the probe
    RESET = 3  # forget everything


S, E, A = State, Event, Action
TABLE: dict[tuple[State, Event], tuple[State, Action]] = {
    (S.CLOSED, E.TRIP): (S.OPEN, A.OPEN),
    (S.CLOSED, E.WAITED): (S.CLOSED, A.NOTHING),
    (S.CLOSED, E.PROBE_SUCCESS): (S.CLOSED, A.NOTHING),
    (S.CLOSED, E.PROBE_FAILURE): (S.CLOSED, A.NOTHING),
    (S.CLOSED, E.PROBE_ABANDONED): (S.CLOSED, A.NOTHING),
    (S.OPEN, E.TRIP): (S.OPEN, A.NOTHING),
    (S.OPEN, E.WAITED): (S.HALF_OPEN, A.FREE),
    (S.OPEN, E.PROBE_SUCCESS): (S.OPEN, A.NOTHING),
    (S.OPEN, E.PROBE_FAILURE): (S.OPEN, A.NOTHING),
    (S.OPEN, E.PROBE_ABANDONED): (S.OPEN, A.NOTHING),
    (S.HALF_OPEN, E.TRIP): (S.HALF_OPEN, A.NOTHING),
    (S.HALF_OPEN, E.WAITED): (S.HALF_OPEN, A.NOTHING),
    (S.HALF_OPEN, E.PROBE_SUCCESS): (S.CLOSED, A.RESET),
    (S.HALF_OPEN, E.PROBE_FAILURE): (S.OPEN, A.OPEN),
    (S.HALF_OPEN, E.PROBE_ABANDONED): (S.HALF_OPEN, A.FREE),
}


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a breaker opens, and for how long.

    Attributes:
        window: how many of the last outcomes count.
        least: fewer outcomes than these never open it.
        percent: it opens when so many of a hundred are failures.
        forget_ms: outcomes before a silence of this length count no more.
        open_ms: the first open time; each trip in a row doubles it, up to `open_most_ms`.
        jitter_percent: each open time is drawn from so much below up to itself.
    """

    window: int = 20
    least: int = 5
    percent: int = 50
    forget_ms: int = 30_000
    open_ms: int = 1_000
    open_most_ms: int = 30_000
    jitter_percent: int = 25


class Breaker:
    """The breaker of one destination.

    Attributes:
        opened: how often it opened.
    """

    __slots__ = (
        "_bits",
        "_count",
        "_has_probe",
        "_last_ms",
        "_mask",
        "_rng",
        "_settings",
        "_trips",
        "_until_ms",
        "opened",
        "state",
    )

    def __init__(self, settings: BreakerSettings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._mask = (1 << settings.window) - 1
        self._bits = 0  # the last outcomes, a 1 for each failure
        self._count = 0
        self._last_ms = 0
        self._until_ms = 0
        self._trips = 0
        self._has_probe = False
        self.state = State.CLOSED
        self.opened = 0

    def may_pass(self, now_ms: int) -> bool:
        """Whether an attempt may begin now."""
        if self.state is S.CLOSED:
            return True
        if self.state is S.OPEN and now_ms >= self._until_ms:
            self._apply(E.WAITED, now_ms)
        return self.state is S.HALF_OPEN and not self._has_probe

    def begin(self, now_ms: int) -> bool:
        """An attempt begins; return whether it is the probe."""
        if self.state is S.CLOSED or not self.may_pass(now_ms):
            return False
        self._has_probe = True
        return True

    def end(self, outcome: Outcome, is_probe: bool, now_ms: int) -> None:
        """An attempt ended that was begun with `begin`, which told whether it is the probe."""
        if outcome is Outcome.ABANDONED:
            if is_probe:
                self._apply(E.PROBE_ABANDONED, now_ms)
            return
        failed = outcome is Outcome.FAILED
        if is_probe:
            self._apply(E.PROBE_FAILURE if failed else E.PROBE_SUCCESS, now_ms)
        elif self.state is S.CLOSED:
            self._note(failed, now_ms)
            if failed and self._is_over():
                self._apply(E.TRIP, now_ms)

    def left_ms(self, now_ms: int) -> int:
        """How long it stays open at least."""
        return max(0, self._until_ms - now_ms) if self.state is S.OPEN else 0

    def check_invariants(self) -> None:
        assert not self._has_probe or self.state is S.HALF_OPEN
        assert 0 <= self._bits <= self._mask
        assert self._bits.bit_count() <= self._count <= self._settings.window
        assert self.state is not S.OPEN or self._trips > 0

    def _apply(self, event: Event, now_ms: int) -> None:
        self.state, action = TABLE[self.state, event]
        if action is A.OPEN:
            self._open(now_ms)
        elif action is A.FREE:
            self._has_probe = False
        elif action is A.RESET:
            self._has_probe = False
            self._bits = self._count = self._trips = 0

    def _note(self, failed: bool, now_ms: int) -> None:
        if now_ms - self._last_ms > self._settings.forget_ms:
            self._bits = self._count = 0
        self._last_ms = now_ms
        self._bits = ((self._bits << 1) | failed) & self._mask
        self._count = min(self._count + 1, self._settings.window)

    def _is_over(self) -> bool:
        enough = self._count >= self._settings.least
        return enough and 100 * self._bits.bit_count() >= self._settings.percent * self._count

    def _open(self, now_ms: int) -> None:
        settings = self._settings
        open_ms = min(settings.open_ms << min(self._trips, 20), settings.open_most_ms)
        jitter_ms = self._rng.randint(0, open_ms * settings.jitter_percent // 100)
        self._until_ms = now_ms + max(1, open_ms - jitter_ms)
        self._has_probe = False
        self._bits = self._count = 0
        self._trips += 1
        self.opened += 1
