"""The mutants: one line of the source each, broken as real systems have had it broken.

They stand in the TOML files beside this one, by rule (R1 to R34 of `consensus/DESIGN.md`). A mutant
is a text of one file, exactly as it is there, and what stands in its place instead.

What this module does not know: how mutants are run, and what finds them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RULES = tuple(f"R{number}" for number in range(1, 35))


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


def _read() -> Iterator[Mutant]:
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        for row in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]:
            yield Mutant(**row)
