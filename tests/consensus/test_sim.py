"""Clusters in virtual time: the core holds, broken cores are noticed, and a seed is a history."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from consensus.sim import STORM, InvariantBroken, run_seed
from consensus.sim.__main__ import main as main_of_sim
from consensus.sim.mutants import MUTANTS, hunt, planted

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("start", range(0, 40, 10))
def test_every_promise_holds_in_every_weather(start: int) -> None:
    for seed in range(start, start + 10):
        print(f"python -m consensus.sim --replay {seed}")
        outcome = run_seed(seed)
        assert outcome.committed > 0 or outcome.marks["too much was lost"]


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_noticed(name: str) -> None:
    assert hunt(name, 120) is not None, f"{name}: no seed noticed"


def test_a_mutant_is_gone_when_its_plot_is() -> None:
    name = "R2 appends are confirmed before they are durable"
    with planted(name), pytest.raises(InvariantBroken):
        run_seed(0, STORM)
    run_seed(0, STORM)


def test_a_seed_has_one_history_whatever_the_hash_seed() -> None:
    script = "from consensus.sim import run_seed; print([run_seed(s).trace for s in (1, 2, 3, 4)])"
    traces = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "4242")
    }
    assert len(traces) == 1


def test_a_broken_seed_is_printed_with_its_replay(capsys: pytest.CaptureFixture[str]) -> None:
    with planted("R1 votes are said before they are durable"):
        assert main_of_sim(["--seeds", "5"]) == 1
        found = re.search(r"python -m consensus.sim --replay (\d+)", capsys.readouterr().out)
        assert found is not None
        assert main_of_sim(["--replay", found[1]]) == 1
    assert "invariant" in capsys.readouterr().out


def test_runs_that_hold_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main_of_sim(["--seeds", "3"]) == 0
    assert "3 seeds held, 0 broke" in capsys.readouterr().out
