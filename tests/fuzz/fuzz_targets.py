"""All harnesses, by name."""

from __future__ import annotations

import fuzz_adverts
import fuzz_ballots
import fuzz_clusters
import fuzz_decisions
import fuzz_door
import fuzz_kept
import fuzz_keys
import fuzz_ledger
import fuzz_opinions
import fuzz_roots
import fuzz_state
import fuzz_tokens
import fuzz_wire
from fuzz_lab import Harness, Outcome, run

HARNESSES: dict[str, Harness] = {}
_MODULES = (
    *(fuzz_keys, fuzz_door, fuzz_tokens, fuzz_kept, fuzz_roots, fuzz_wire),
    *(fuzz_state, fuzz_ledger, fuzz_ballots, fuzz_opinions, fuzz_decisions),
    *(fuzz_clusters, fuzz_adverts),
)
for _module in _MODULES:
    for _each in _module.HARNESSES:
        assert _each.name not in HARNESSES, _each.name
        HARNESSES[_each.name] = _each


def one(name: str, inputs: int, seed: int) -> Outcome:
    """A run by name, for another process."""
    return run(HARNESSES[name], inputs, seed)
