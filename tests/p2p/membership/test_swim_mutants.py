"""The table of mutants fits the source; hunting them is `python .../swim_mutants.py`."""

from __future__ import annotations

import pytest
from swim_mutants import MUTANTS, ROOT, Mutant, planted


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake)
def test_a_mutant_fits_the_source(mutant: Mutant) -> None:
    source = (ROOT / mutant.path).read_text(encoding="utf-8")
    compile(planted(mutant, source), mutant.path, "exec")


def test_every_rule_has_its_mutants() -> None:
    rules = {mutant.rule for mutant in MUTANTS}
    assert {"S1", "S2", "S3", "S4", "S5", "S6"} <= rules
