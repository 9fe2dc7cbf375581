"""The table of mistakes is true to the source, and a few of them are planted here and now.

All of them: `make mutants`, in some minutes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mutant_runner import Broken, copied, fate_of
from mutant_table import ROOT, RULES, Mutant, all_mutants, of_rules

# One of each kind: the core, what surrounds it, and a state machine.
SAMPLE = (
    "R3 entries of earlier terms are committed by counting",
    "R18 a machine that raises is passed over",
    "R17 what a client was told is not remembered",
)


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    with copied() as path:
        yield path


def named(name: str) -> Mutant:
    return next(mutant for mutant in all_mutants() if str(mutant) == name)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_mistakes_and_each_its_place_in_the_source(rule: str) -> None:
    mutants = of_rules([rule])
    assert mutants, "a rule without a mistake"
    for mutant in mutants:
        source = (ROOT / mutant.file).read_text(encoding="utf-8")
        mistaken = mutant.planted(source)
        assert ast.dump(ast.parse(mistaken)) != ast.dump(ast.parse(source)), str(mutant)
        before, after = source.splitlines(), mistaken.splitlines()
        assert abs(len(before) - len(after)) <= 2, f"{mutant}: more than a line is another one"


def test_no_two_mistakes_are_the_same() -> None:
    mutants = all_mutants()
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in mutants}) == len(mutants)
    assert len(set(map(str, mutants))) == len(mutants)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_mistake_is_found(base: Path, name: str) -> None:
    print(f"make mutants MUTANTS={name.split()[0]}")
    assert fate_of(base, named(name), seeds=0, nets="tests").killer is not None


def test_what_is_no_mistake_lives(base: Path) -> None:
    mutant = replace(
        named("R18 a replica whose state differs goes on"),
        new="        if own is not None and digest != own:",
        file="consensus/machine.py",
    )
    assert fate_of(base, mutant, seeds=1, nets="sim").killer is None


def test_a_mistake_that_does_not_even_run_is_no_success(base: Path) -> None:
    mutant = replace(named(SAMPLE[0]), new="    if (")
    with pytest.raises(Broken):
        fate_of(base, mutant, seeds=0, nets="tests")
