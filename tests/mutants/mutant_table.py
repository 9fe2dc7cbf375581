"""The mutants: one line of the source each, broken as real systems have had it broken.

They stand in the TOML files beside this one, by rule (R1 to R34 of `consensus/DESIGN.md`, T1 to T6
of `agents/DESIGN.md`). A mutant is a text of one file, exactly as it is there, and what stands in
its place instead.

What this module does not know: how mutants are run, and what finds them.
"""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RULES = (*(f"R{number}" for number in range(1, 35)), *(f"T{number}" for number in range(1, 7)))


@dataclass(frozen=True)
class Mutant:
    """One mistake."""

    rule: str
    mistake: str
    file: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.rule} {self.mistake}"

    def planted(self, source: str) -> str:
        """This source with the mistake in it."""
        found = source.count(self.old)
        assert found == 1, f"its text occurs {found} times in {self.file}, mend the table: {self}"
        return source.replace(self.old, self.new)


def all_mutants() -> tuple[Mutant, ...]:
    """Every mutant, by rule."""
    return tuple(sorted(_read(), key=lambda mutant: RULES.index(mutant.rule)))


def of_rules(rules: list[str]) -> tuple[Mutant, ...]:
    """Those of these rules, or all if none is named."""
    return tuple(mutant for mutant in all_mutants() if not rules or mutant.rule in rules)


def named(name: str) -> Mutant:
    """The one of this rule and mistake."""
    return next(mutant for mutant in all_mutants() if str(mutant) == name)


@contextmanager
def planted(name: str) -> Iterator[None]:
    """This process with the mistake in it, for as long as this lasts: its functions get the code
    of their broken twins, so that whoever has imported them already calls that."""
    mutant = named(name)
    path = ROOT / mutant.file
    module = importlib.import_module(mutant.file.removesuffix(".py").replace("/", "."))
    mistaken = ModuleType(module.__name__)
    source = mutant.planted(path.read_text(encoding="utf-8"))
    exec(compile(source, str(path), "exec"), mistaken.__dict__)
    broken = dict(_functions(mistaken))
    before = {function: function.__code__ for _, function in _functions(module)}
    for at, function in _functions(module):
        function.__code__ = broken[at].__code__
    try:
        yield
    finally:
        for function, code in before.items():
            function.__code__ = code


def _functions(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """What a module defines, methods and properties too, by name."""
    owners: list[Any] = [module]
    owners += [o for o in vars(module).values() if isinstance(o, type)]
    for owner in owners:
        for name, found in list(vars(owner).items()):
            function = getattr(found, "fget", None) or getattr(found, "__func__", found)
            defined = getattr(function, "__module__", None) == module.__name__
            if defined and hasattr(function, "__code__"):
                yield f"{owner.__name__}.{name}", function


def _read() -> Iterator[Mutant]:
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        for row in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]:
            yield Mutant(**row)
