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
class Beside:
    """The same by other means, measured in turn with a figure.

    Attributes:
        ratio: ours by theirs; the median of the rounds' ratios.
        target: the promised ratio; a minimum where more is better, a limit otherwise.
    """

    name: str
    measured: float
    ratio: float
    target: float | None
    met: bool | None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "measured": significant(self.measured),
            "ratio": significant(self.ratio),
            "target": self.target,
            "met": self.met,
        }


@dataclass(frozen=True, slots=True)
class Against:
    """What a figure is to be held against: the runs of another contender, one for each of ours."""

    name: str
    runs: Sequence[float]
    target: float | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, and what it is to be held against.

    Attributes:
        spread: the least and the greatest of the runs; `measured` is their median.
        target: the promise; a limit for costs, a minimum where `more_is_better`.
        beside: floors (the plainest means there are) and rivals, measured in the same run.
        how: what exactly was measured, for those who want to repeat it.
    """

    name: str
    measured: float
    spread: tuple[float, float]
    unit: str
    how: str
    target: float | None = None
    beside: tuple[Beside, ...] = ()
    more_is_better: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        return _met(self.measured, self.target, self.more_is_better)

    @property
    def all_met(self) -> bool | None:
        """Whether the target and those of all ratios are met; None where there are none."""
        known = [met for met in (self.met, *(b.met for b in self.beside)) if met is not None]
        return all(known) if known else None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "measured": significant(self.measured),
            "unit": self.unit,
            "target": self.target,
            "more_is_better": self.more_is_better,
            "beside": [beside.as_json() for beside in self.beside],
            "met": self.all_met,
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
    against: Iterable[Against] = (),
    more_is_better: bool = False,
) -> Figure:
    """Return the figure that several runs of the same measurement make.

    Args:
        against: contenders whose runs alternated with these; one that did nothing in most of
            its rounds is left out.
    """
    comparable = (other for other in against if other.runs and statistics.median(other.runs) > 0)
    beside = tuple(_beside(runs, other, more_is_better) for other in comparable)
    return Figure(
        name,
        statistics.median(runs),
        (min(runs), max(runs)),
        unit,
        f"median of {len(runs)}: {how}" if len(runs) > 1 else how,
        target,
        beside,
        more_is_better,
    )


def _beside(runs: Sequence[float], other: Against, more_is_better: bool) -> Beside:
    measured = statistics.median(other.runs)
    # Rounds: a machine that changes its pace changes both. A contender may stand still in one.
    if len(runs) == len(other.runs) and min(other.runs) > 0:
        ratio = statistics.median(a / b for a, b in zip(runs, other.runs, strict=True))
    else:
        ratio = statistics.median(runs) / measured
    met = _met(ratio, other.target, more_is_better)
    return Beside(other.name, measured, ratio, other.target, met)


def _met(value: float, target: float | None, more_is_better: bool) -> bool | None:
    if target is None:
        return None
    return value >= target if more_is_better else value <= target


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
