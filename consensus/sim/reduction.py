"""A broken run with as little in it as still breaks it in the same way.

Delta debugging (Zeller and Hildebrandt, 2002) over the schedule: faults first, then calls, then
what the weather adds of its own. A run with parts left out is another run: what remains need not be
the cause, but it is a way to it.

What this module does not know: what a fault or a call does, why a run broke.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from consensus.sim.invariants import InvariantBroken
from consensus.sim.schedule import Schedule
from consensus.sim.simulation import Simulation
from consensus.sim.weather import Weather

MAX_RUNS = 400

CALMER: tuple[dict[str, Any], ...] = (
    {"crash_per_mille": 0},
    {"loss_percent": 0},
    {"duplicate_percent": 0, "replay_percent": 0},
    {"disk_full_percent": 0},
    {"drift_ppm": 0},
    {"latency_tail_ms": 0},
    {"apply_ms": 0, "turn_ms": 0},
    {"max_append_bytes": 512 * 1024, "max_inflight": 64, "max_apply_entries": 1024},
    {"snapshot_entries": 100_000, "keep_entries": 10_000},
    {"has_real_storage": False},
)

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Reduced:
    """What is left, and how it breaks. `run_seed(seed, weather, schedule)` breaks again."""

    seed: int
    weather: Weather
    schedule: Schedule
    error: str
    runs: int


def reduce_seed(seed: int, max_runs: int = MAX_RUNS) -> Reduced | None:
    """The smallest run found that breaks like this seed; None if the seed holds."""
    whole = Simulation(seed)
    error = _error_of(whole)
    if error is None:
        return None
    return _Reducer(seed, whole, error, max_runs).reduce()


def _error_of(simulation: Simulation) -> AssertionError | None:
    try:
        simulation.run()
    except AssertionError as error:
        return error
    return None


def _kind(error: AssertionError) -> object:
    """Two runs break alike if the same invariant, or the same assertion, does not hold."""
    return error.number if isinstance(error, InvariantBroken) else str(error)


class _Reducer:
    def __init__(self, seed: int, whole: Simulation, error: AssertionError, max_runs: int) -> None:
        self._seed = seed
        self._error = error
        self._max_runs = max_runs
        self._runs = 1
        self._weather = whole.weather
        end_ms = whole.timeline.now_ms
        self._schedule = replace(
            whole.schedule,
            faults=tuple(fault for fault in whole.schedule.faults if fault.at_ms <= end_ms),
            calls=tuple(call for call in whole.schedule.calls if call.at_ms <= end_ms),
        )

    def reduce(self) -> Reduced:
        self._keep_if_broken(self._weather, replace(self._schedule, has_coups=False))
        self._drop(self._schedule.faults, lambda some: replace(self._schedule, faults=tuple(some)))
        self._drop(self._schedule.calls, lambda some: replace(self._schedule, calls=tuple(some)))
        for calmer in CALMER:
            if any(getattr(self._weather, name) != value for name, value in calmer.items()):
                self._keep_if_broken(replace(self._weather, **calmer), self._schedule)
        return Reduced(self._seed, self._weather, self._schedule, str(self._error), self._runs)

    def _keep_if_broken(self, weather: Weather, schedule: Schedule) -> bool:
        if self._runs >= self._max_runs:
            return False
        self._runs += 1
        error = _error_of(Simulation(self._seed, weather, schedule))
        if error is None or _kind(error) != _kind(self._error):
            return False
        self._weather, self._schedule, self._error = weather, schedule, error
        return True

    def _drop(
        self, parts: Sequence[Part], with_parts: Callable[[Sequence[Part]], Schedule]
    ) -> None:
        """Leave out parts, many at once and then fewer, while it still breaks."""
        size = max(1, len(parts))
        while parts:
            dropped = False
            at = 0
            while at < len(parts):
                fewer = [*parts[:at], *parts[at + size :]]
                if self._keep_if_broken(self._weather, with_parts(fewer)):
                    parts, dropped = fewer, True
                else:
                    at += size
            if size == 1 and not dropped:
                return
            size = max(1, size // 2)
