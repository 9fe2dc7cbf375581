"""Clusters in virtual time: the core holds, broken cores are noticed, and a seed is a history."""

import os
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from mutant_seeds import first_broken
from mutant_table import planted

from consensus.sim import STORM, InvariantBroken, Outcome, Schedule, Simulation, run_seed
from consensus.sim.__main__ import main as main_of_sim
from consensus.sim.marks import KNOWN, RARE
from consensus.sim.reduction import reduce_seed

ROOT = Path(__file__).parents[2]
# Of the table of mistakes in `tests/mutants`; `make mutants ARGS="--nets sim"` tries all of them.
NOTICED = (
    "R1 answers leave before term and vote are durable",
    "R1 whoever becomes a follower forgets its vote",
    "R2 appends are confirmed before they are durable",
    "R2 the leader counts what only its memory has",
    "R5 a repeated append cuts what lies behind it",
    "R6 a heartbeat says more than its follower has confirmed",
    "R8 each answer counts as a vote, whoever gave it",
    "R10 only the lengths of logs are compared",
    "R12 a refused pre-vote says the proposed term",
    "R13 a leader without a quorum never steps down",
)

SEEDS = 200
RARE_SEEDS = (235, 280, 301, 375, 413, 440)


@cache
def outcome_of(seed: int) -> Outcome:
    print(f"python -m consensus.sim --replay {seed}")
    return run_seed(seed)


@pytest.mark.parametrize("start", range(0, SEEDS, 10))
def test_every_promise_holds_in_every_weather(start: int) -> None:
    for seed in range(start, start + 10):
        outcome = outcome_of(seed)
        assert outcome.committed > 0 or outcome.marks["too much was lost"]


def test_these_seeds_reach_every_corner() -> None:
    marks = sum((outcome_of(seed).marks for seed in (*range(SEEDS), *RARE_SEEDS)), Counter[str]())
    assert set(KNOWN) - RARE - marks.keys() == set()


def test_virtual_time_passes_quickly() -> None:
    outcomes = [outcome_of(seed) for seed in range(SEEDS)]
    small = [outcome for outcome in outcomes if outcome.voters == 3]
    virtual_s = sum(outcome.virtual_ms for outcome in small) / 1000
    assert virtual_s / sum(outcome.seconds for outcome in small) > 60  # 400 where nothing disturbs


def test_what_a_broken_seed_does_not_need_is_left_out() -> None:
    with planted("R5 a repeated append cuts what lies behind it"):
        seed = next(seed for seed in range(400) if not _holds(seed))
        reduced = reduce_seed(seed, max_runs=60)
        assert reduced is not None
        whole = draw_schedule_of(seed)
        assert len(reduced.schedule.calls) < len(whole.calls) / 2
        with pytest.raises(AssertionError):
            run_seed(seed, reduced.weather, reduced.schedule)


def _holds(seed: int) -> bool:
    try:
        run_seed(seed)
    except AssertionError:
        return False
    return True


def draw_schedule_of(seed: int) -> Schedule:
    return Simulation(seed).schedule


@pytest.mark.parametrize("name", NOTICED)
def test_a_broken_rule_is_noticed(name: str) -> None:
    with planted(name):
        assert first_broken(120) is not None, "no seed noticed"


def test_a_mutant_is_gone_when_its_plot_is() -> None:
    name = "R2 appends are confirmed before they are durable"
    with planted(name), pytest.raises(InvariantBroken):
        run_seed(0, STORM)
    run_seed(0, STORM)


def test_a_seed_has_one_history_whatever_the_hash_seed() -> None:
    script = "from consensus.sim import run_seed; print([run_seed(s).trace for s in range(20)])"
    traces = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "4242")
    }
    assert len(traces) == 1


def test_a_broken_seed_is_printed_with_its_replay(capsys: pytest.CaptureFixture[str]) -> None:
    with planted("R1 answers leave before term and vote are durable"):
        assert main_of_sim(["--seeds", "5"]) == 1
        found = re.search(r"python -m consensus.sim --replay (\d+)", capsys.readouterr().out)
        assert found is not None
        assert main_of_sim(["--replay", found[1]]) == 1
    assert "invariant" in capsys.readouterr().out


def test_runs_that_hold_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main_of_sim(["--seeds", "3"]) == 0
    assert "3 seeds held, 0 broke" in capsys.readouterr().out
