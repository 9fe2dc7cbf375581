"""A pytest fixture: your own agents on whole nodes in virtual time, under faults.

    pytest_plugins = ["agents.chaos.fixture"]

    def test_orders_survive_a_crash(sim):
        async def scenario(net):
            await net.up(3, agents=[shop])
            ...
        sim(scenario, seeds=range(20))

A run that is not green fails the test with its verdict, the end of its timeline, and the seed. With
`CONCLAVE_SEEDS=13` or `CONCLAVE_SEEDS=0:500` in the environment these seeds are run instead.

What this module does not know: what is tested.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import pytest

from agents.chaos.running import Run, Scenario, run_virtual_scenario

SEEDS = "CONCLAVE_SEEDS"
SHOWN = 40

Sim = Callable[..., Run]


@pytest.fixture
def sim(request: pytest.FixtureRequest) -> Sim:
    """`sim(scenario, seeds=range(20))` runs it with each seed and returns the last run."""

    def run(scenario: Scenario, *, seeds: Iterable[int] = (0,)) -> Run:
        made: Run | None = None
        for seed in _wanted() or seeds:
            made = run_virtual_scenario(scenario, seed)
            if not made.passed:
                pytest.fail(_shown(made, request.node.nodeid), pytrace=False)
        assert made is not None, "no seed was given"
        return made

    return run


def _wanted() -> range | None:
    text = os.environ.get(SEEDS)
    if not text:
        return None
    first, colon, last = text.partition(":")
    return range(int(first), int(last)) if colon else range(int(first), int(first) + 1)


def _shown(run: Run, test: str) -> str:
    lines = [str(event) for event in run.events[-SHOWN:]]
    lines += ["", *map(str, run.checks)]
    lines += [f"the script failed: {run.error}"] if run.error else []
    lines += ["", f"replay: {SEEDS}={run.seed} pytest '{test}'"]
    return "\n".join(lines)
