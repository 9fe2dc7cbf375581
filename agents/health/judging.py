"""How an agent is: what was seen or said of it, look by look, and the state that follows.

A state changes only when several looks in a row agree, and gets better only after a while, so that
it does not flap:

    to        | looks in a row that are at least that bad
    degraded  | 2
    failed    | 3
    to better | looks in a row that are at most that bad
    any       | 3, and the state is `hold_ms` old

Who falls again within a minute of getting better is held twice as long the next time, up to five
minutes.

Of itself, an agent is degraded when half of what it runs fails, when a handler has no place left,
when the node's loop is late, or when a handler has not ended long after its deadline. Errors alone
never make it failed: a caller could provoke them. It is failed when as many handlers are stuck as
it has threads.

Invariants: one look changes nothing; a failed agent stays failed until it was restarted or its own
check says otherwise; no clock is read here.
What this module does not know: where samples come from, what follows from a state.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

MAX_REASON = 160
KEPT_LOOKS: Final = 3


class Health(StrEnum):
    """From good to bad."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    FAILED = "failed"

    @property
    def badness(self) -> int:
        """0 for the best."""
        return _ORDER.index(self)


_ORDER: Final = (Health.HEALTHY, Health.DEGRADED, Health.FAILED)
LOOKS_TO: Final = {Health.DEGRADED: 2, Health.FAILED: 3}
LOOKS_TO_BETTER: Final = 3


class Verdict(NamedTuple):
    """What one look says."""

    state: Health
    reason: str = ""


class Condition(NamedTuple):
    """How an agent is.

    Attributes:
        since_ms: by the clock that was handed in.
    """

    state: Health
    reason: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """Two limits each, to get in and to get out, so that a value between them changes nothing."""

    window_looks: int = 15
    least_ended: int = 10  # fewer say nothing of a rate
    errors_permille: tuple[int, int] = (500, 250)
    busy_permille: tuple[int, int] = (1000, 800)
    lag_ms: tuple[int, int] = (200, 100)
    hold_ms: int = 5_000
    max_hold_ms: int = 300_000
    relapse_ms: int = 60_000


@dataclass(frozen=True, slots=True)
class Sample:
    """What a look finds.

    Attributes:
        ended, failed: how many executions so far; they only grow.
        busy_permille: of the places of the handler that is fullest.
        stuck: how many handlers run on long after their deadline.
        threads: how many may be stuck before nothing goes on.
        lag_ms: how late the node's loop is.
    """

    ended: int = 0
    failed: int = 0
    busy_permille: int = 0
    stuck: int = 0
    threads: int = 4
    lag_ms: int = 0


class HealthCore:
    """The state of one agent."""

    def __init__(self, now_ms: int, settings: HealthSettings | None = None) -> None:
        self._settings = settings or HealthSettings()
        self._looks: deque[Verdict] = deque(maxlen=KEPT_LOOKS)
        self._counts: deque[tuple[int, int]] = deque(maxlen=self._settings.window_looks)
        self._hold_ms = self._settings.hold_ms
        self._recovered_ms: int | None = None
        self.now = Condition(Health.HEALTHY, "", now_ms)

    def look(self, sample: Sample, said: Verdict | None, now_ms: int) -> Condition | None:
        """Take one look; return the condition if the state is another one now.

        Args:
            said: the word of the agent's own check, which counts instead of what was seen.
        """
        seen = self._seen(sample)
        self._looks.append(said if said is not None else seen)
        bad = self._worse()
        if bad is not None:
            return self._become(bad, now_ms)
        good = self._better(now_ms)
        return self._become(good, now_ms) if good is not None else None

    def failed(self, reason: str, now_ms: int) -> Condition:
        """It cannot go on, whatever the looks say."""
        self._looks.clear()
        return self._become(Verdict(Health.FAILED, reason), now_ms)

    def restarted(self, now_ms: int) -> Condition:
        """It begins anew; it has to show that it is well before it counts as that."""
        reason = f"it was restarted after: {self.now.reason}"
        self._looks.clear()
        self._counts.clear()
        return self._become(Verdict(Health.DEGRADED, reason), now_ms)

    def check_invariants(self) -> None:
        settings = self._settings
        assert len(self._looks) <= KEPT_LOOKS
        assert settings.hold_ms <= self._hold_ms <= settings.max_hold_ms
        assert len(self.now.reason) <= MAX_REASON

    # -- from looks to a state -----------------------------------------------------------------

    def _worse(self) -> Verdict | None:
        for state in (Health.FAILED, Health.DEGRADED):
            if state.badness <= self.now.state.badness:
                return None
            last = list(self._looks)[-LOOKS_TO[state] :]
            agree = all(verdict.state.badness >= state.badness for verdict in last)
            if len(last) == LOOKS_TO[state] and agree:
                return Verdict(state, last[-1].reason)
        return None

    def _better(self, now_ms: int) -> Verdict | None:
        if len(self._looks) < LOOKS_TO_BETTER or now_ms - self.now.since_ms < self._hold_ms:
            return None
        last = list(self._looks)[-LOOKS_TO_BETTER:]
        worst = max(last, key=lambda verdict: verdict.state.badness)
        return worst if worst.state.badness < self.now.state.badness else None

    def _become(self, verdict: Verdict, now_ms: int) -> Condition:
        before = self.now.state
        if verdict.state.badness < before.badness:
            self._recovered_ms = now_ms
        elif verdict.state is not before and self._recovered_ms is not None:
            has_relapsed = now_ms - self._recovered_ms < self._settings.relapse_ms
            longer_ms = min(2 * self._hold_ms, self._settings.max_hold_ms)
            self._hold_ms = longer_ms if has_relapsed else self._settings.hold_ms
        since_ms = self.now.since_ms if verdict.state is before else now_ms
        self.now = Condition(verdict.state, verdict.reason[:MAX_REASON], since_ms)
        return self.now

    # -- what is seen --------------------------------------------------------------------------

    def _seen(self, sample: Sample) -> Verdict:
        settings = self._settings
        oldest = self._counts[0] if self._counts else (sample.ended, sample.failed)
        self._counts.append((sample.ended, sample.failed))
        if sample.stuck >= max(1, sample.threads):
            return Verdict(
                Health.FAILED, f"{sample.stuck} handlers have not ended after their deadline"
            )
        ended, failed = sample.ended - oldest[0], sample.failed - oldest[1]
        if ended >= settings.least_ended and self._is_over(
            settings.errors_permille, 1000 * failed // ended
        ):
            return Verdict(Health.DEGRADED, f"{failed} of the last {ended} executions failed")
        if self._is_over(settings.busy_permille, sample.busy_permille):
            return Verdict(Health.DEGRADED, "a handler has no place left")
        if self._is_over(settings.lag_ms, sample.lag_ms):
            return Verdict(Health.DEGRADED, f"the node's loop is {sample.lag_ms} ms late")
        if sample.stuck:
            count = sample.stuck
            return Verdict(Health.DEGRADED, f"{count} handler(s) not ended after their deadline")
        return Verdict(Health.HEALTHY)

    def _is_over(self, limits: tuple[int, int], value: int) -> bool:
        return value >= limits[0 if self.now.state is Health.HEALTHY else 1]


def said_of(value: Any) -> Verdict:
    """Return what an agent's own check has returned: a state, a pair of one and a reason, a truth
    value, or None for all is well.

    Raises:
        ValueError: it is none of these.
    """
    reason = ""
    if isinstance(value, tuple | list) and len(value) == 2 and isinstance(value[1], str):
        value, reason = value
    if value is None or value is True:
        return Verdict(Health.HEALTHY, reason)
    if value is False:
        return Verdict(Health.FAILED, reason or "its health check says so")
    if isinstance(value, str) and value in tuple(Health):
        state = Health(value)
        said = reason or ("" if state is Health.HEALTHY else "its health check says so")
        return Verdict(state, said)
    raise ValueError(
        f"a health check returns one of {', '.join(Health)}, alone or with a reason, "
        f"True, False or None; not {value!r:.60}"
    )


def restart_delay_ms(attempt: int, draw: float) -> int:
    """Return how long to wait before a restart: about 1, 2, 4 ... 60 seconds.

    Args:
        attempt: 0 for the first.
        draw: from 0 to 1; half of the time is left to chance, so that nobody restarts in step.
    """
    full_ms = min(60_000, 1000 << min(max(0, attempt), 6))
    return int(full_ms * (0.5 + 0.5 * min(1.0, max(0.0, draw))))
