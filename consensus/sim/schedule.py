"""What will be tried in a run, drawn before it begins: faults, and calls of clients.

Whom a fault hits is decided when it strikes, by a generator of its own, so that leaving out one of
them changes no other one: that is what makes a broken run shrink (`reduction`).

What this module does not know: how a fault is carried out, what a call means.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from consensus.sim.weather import Weather

STORE_CALLS = (
    *("read", "read", "read", "write", "write", "cas", "cas", "delete"),
    *("lock", "lock", "lock", "look", "expire"),
)

Generator = Callable[[str], random.Random]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something larger that goes wrong; most repair themselves after `duration_ms`."""

    number: int
    at_ms: int
    kind: str
    duration_ms: int

    def __str__(self) -> str:
        return f"{self.at_ms} ms: {self.kind} for {self.duration_ms} ms (fault {self.number})"


@dataclass(frozen=True, slots=True)
class Call:
    """A client wants something."""

    number: int
    at_ms: int
    client: int
    what: str

    def __str__(self) -> str:
        return f"{self.at_ms} ms: client {self.client}: {self.what} (call {self.number})"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that will be tried. `has_coups`: whether new leaders are toppled at once."""

    faults: tuple[Fault, ...]
    calls: tuple[Call, ...]
    has_coups: bool = True


def draw_schedule(weather: Weather, generator: Generator) -> Schedule:
    """What one seed tries in this weather."""
    return Schedule(
        _draw_faults(weather, generator("nemesis")), _draw_calls(weather, generator("workload"))
    )


def _draw_faults(weather: Weather, rng: random.Random) -> tuple[Fault, ...]:
    drawn: list[tuple[int, str, int]] = []
    for every_ms, kinds in (
        (weather.nemesis_every_ms, weather.nemesis_kinds),
        (weather.govern_every_ms, weather.govern_kinds),
    ):
        at_ms = every_ms or weather.fault_ms
        while at_ms < weather.fault_ms:
            drawn.append((at_ms, rng.choice(kinds), rng.randrange(200, 4000)))
            at_ms += rng.randrange(1, 2 * every_ms)
    drawn.sort()
    return tuple(Fault(number, *fault) for number, fault in enumerate(drawn))


def _draw_calls(weather: Weather, rng: random.Random) -> tuple[Call, ...]:
    calls: list[Call] = []
    for at_ms in range(weather.propose_every_ms, weather.fault_ms, weather.propose_every_ms):
        is_raw = rng.randrange(100) >= weather.store_percent
        what = "raw" if is_raw else rng.choice(STORE_CALLS)
        calls.append(Call(len(calls), at_ms, rng.randrange(weather.clients), what))
    return tuple(calls)
