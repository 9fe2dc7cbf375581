"""What a measurement yields, and the register of the functions that measure.

What this module does not know: what is measured, and how it is shown.
"""

from __future__ import annotations

import importlib
import pkgutil
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, and what it is to be held against.

    Attributes:
        spread: the least and the greatest of the runs; `measured` is their median.
        target: the promise; a limit for costs, a minimum where `more_is_better`.
        floor: the same by the plainest means there are, measured in the same run.
        how: what exactly was measured, for those who want to repeat it.
    """

    name: str
    measured: float
    spread: tuple[float, float]
    unit: str
    how: str
    target: float | None = None
    floor: float | None = None
    more_is_better: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        if self.more_is_better:
            return self.measured >= self.target
        return self.measured <= self.target

    @property
    def ratio(self) -> float | None:
        """The measured share of the floor."""
        return self.measured / self.floor if self.floor else None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "measured": significant(self.measured),
            "unit": self.unit,
            "target": self.target,
            "floor": significant(self.floor) if self.floor is not None else None,
            "ratio": significant(self.ratio) if self.ratio is not None else None,
            "met": self.met,
            "how": self.how,
            "spread": [significant(value) for value in self.spread],
        }


def median_of(
    name: str,
    runs: Sequence[float],
    unit: str,
    how: str,
    *,
    target: float | None = None,
    floor: float | None = None,
    more_is_better: bool = False,
) -> Figure:
    """Return the figure that several runs of the same measurement make."""
    return Figure(
        name,
        statistics.median(runs),
        (min(runs), max(runs)),
        unit,
        f"median of {len(runs)}: {how}" if len(runs) > 1 else how,
        target,
        floor,
        more_is_better,
    )


def significant(value: float) -> float:
    """Return the value with three digits that mean something."""
    return float(f"{value:.3g}")


Measurement = Callable[[], Iterable[Figure]]

_REGISTER: dict[str, Measurement] = {}


def measures(name: str) -> Callable[[Measurement], Measurement]:
    """Register a function that yields figures of one subject under a name."""

    def register(function: Measurement) -> Measurement:
        assert name not in _REGISTER, f"two measurements are called {name}"
        _REGISTER[name] = function
        return function

    return register


def registered() -> dict[str, Measurement]:
    """Return all measurements by name, in the order of their modules' names."""
    package = importlib.import_module("benchmarks.measures")
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
        importlib.import_module(f"benchmarks.measures.{module.name}")
    return dict(_REGISTER)
