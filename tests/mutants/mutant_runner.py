"""Runs tests on copies of the source that have one mistake each, and says what found it.

    copy   the packages that consensus needs, once; that copy must pass everything
    plant  a copy of the copy for each mutant, with one text replaced
    nets   the tests of the part, the labs, the simulator, the other tests: until one finds it

What this module does not know: which mistakes there are.

Invariant: a mutant that cannot be imported is an error of the table and no success of a test.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mutant_table import ROOT, Mutant

NEEDED = ("consensus", "tests/consensus", "tests/mutants", "pyproject.toml")
# What mistakes in tasks need besides: whole nodes.
NODES = ("agents", "p2p", "keys", "tests/agents", "tests/conftest.py")
LIMIT_S = 240
PYTEST = (
    *("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"),
    "--show-capture=no",  # what a node logs may look like an error of the tests
)
FAILED, PASSED = 1, 0
FOUND = ("FAILED ", "ERROR ", "found: ")

# What is quick and what is of one rule comes first, what is drawn at random last.
CORE = ("test_raft_tra*.py", "test_raft_[ceprs]*.py", "test_raft_m*.py", "test_raft_*.py")
STATES = ("kv/test_kv_[!m]*.py", "test_machine.py", "kv/test_*.py")
DISKS = ("test_storage_rules.py", "test_storage_s*.py", "test_storage_*.py")
SHELL = (
    "test_driver.py",
    "test_machine.py",
    "test_outcomes.py",
    "test_shipping.py",
    "test_codec.py",
    "test_runner_*.py",
)
LABS = ("test_labs_*.py",)
BALLOTS = ("ballots/test_ballots_[!jv]*.py",)
VOTED = ("agents/ledger/test_ledger_voted.py", "agents/scheduling/test_scheduling_voting.py")
APPROVED = ("agents/ledger/test_approving.py", "agents/test_node_approvals.py")
USED = ("agents/ledger/test_used_approvals.py",)
WHOLE = ("agents/test_node_voted_tasks.py",)
BLANK = ("agents/test_unheard.py", "agents/test_node_blank.py")
# The tests of the part come first: what they find takes a second or two.
ORDER = {
    "agents/ledger/": (VOTED, APPROVED, WHOLE),
    "agents/scheduling/": (VOTED, WHOLE),
    "agents/tasking/used.py": (USED, APPROVED),
    "agents/tasking/": (APPROVED, WHOLE),
    "agents/hosting/": (APPROVED,),
    "agents/": (BLANK,),
    "consensus/ballots/": (BALLOTS, VOTED),
    "consensus/raft/": (CORE, LABS, (), SHELL),
    "consensus/kv/": (STATES, (), SHELL),
    "consensus/storage/": (DISKS, SHELL, (), LABS),
    "consensus/": (SHELL, LABS, (), DISKS),
}


@dataclass(frozen=True)
class Fate:
    """What became of a mutant. `killer` is None if it lives."""

    mutant: Mutant
    killer: str | None
    seconds: float


class Broken(Exception):
    """The tests cannot be believed: they fail without a mistake, or do not even run."""


@contextmanager
def copied(root: Path = ROOT) -> Iterator[Path]:
    """A copy of what is needed, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        base = Path(folder) / "base"
        _copy(root, base, NEEDED + NODES)
        yield base


def check_unharmed(base: Path, seeds: int, mutants: Sequence[Mutant]) -> None:
    """
    Raises:
        Broken: tests that look for these mistakes fail without any.
    """
    for patterns in dict.fromkeys(net for each in mutants for net in _order(each.file)):
        found = _cast(base, patterns, seeds)
        if found is not None:
            raise Broken(f"without a mistake: {found}")


def hunt(
    base: Path, mutants: Sequence[Mutant], seeds: int, workers: int, nets: str = "all"
) -> Iterator[Fate]:
    """The fate of each, in order."""
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(lambda mutant: fate_of(base, mutant, seeds, nets), mutants)


def fate_of(base: Path, mutant: Mutant, seeds: int, nets: str = "all") -> Fate:
    """Plant it in a copy and cast one net after the other.

    Args:
        nets: `tests` or `sim` for only these, `all` for both.
    """
    begun_s = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="mutant-", dir=base.parent) as folder:
        copy = Path(folder) / "copy"
        nets_need_nodes = any("agents/" in glob for net in _order(mutant.file) for glob in net)
        _copy(base, copy, NEEDED + NODES if nets_need_nodes else NEEDED)
        path = copy / mutant.file
        path.write_text(mutant.planted(path.read_text(encoding="utf-8")), encoding="utf-8")
        killer = None
        for patterns in _order(mutant.file):
            if killer is None and nets in ("all", "tests" if patterns else "sim"):
                killer = _cast(copy, patterns, seeds)
    return Fate(mutant, killer, time.perf_counter() - begun_s)


def _copy(source: Path, target: Path, names: Sequence[str]) -> None:
    for name in names:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)
        else:
            shutil.copy2(source / name, target / name)


def _order(file: str) -> tuple[tuple[str, ...], ...]:
    return next(order for part, order in ORDER.items() if file.startswith(part))


def _cast(copy: Path, patterns: tuple[str, ...], seeds: int) -> str | None:
    """What fails there: a test's name, or a seed with its invariant."""
    if not patterns:
        return _run(copy, ("tests/mutants/mutant_seeds.py", str(seeds)))
    tests = copy / "tests"
    globs = [each if each.startswith("agents/") else f"consensus/{each}" for each in patterns]
    files = dict.fromkeys(file for glob in globs for file in sorted(tests.glob(glob)))
    assert files, f"no tests are called {patterns}"
    temporary = f"--basetemp={copy.parent / 'temporary'}"  # others may run tests beside us
    names = [str(file.relative_to(copy)) for file in files]
    return _run(copy, (*PYTEST, temporary, "-m", "not e2e", *names))


def _run(copy: Path, arguments: Sequence[str]) -> str | None:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONHASHSEED": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that its children end with it
    )
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"no end within {LIMIT_S} s"
    if process.returncode == PASSED:
        return None
    lines = output.strip().splitlines()
    failed = [line for line in lines if line.startswith(FOUND)]
    if process.returncode != FAILED or not failed or failed[0].startswith("ERROR "):
        raise Broken("\n".join(lines[-20:]))
    return failed[0]
