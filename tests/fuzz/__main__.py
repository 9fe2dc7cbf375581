"""Fuzz the decoders: `python tests/fuzz [--inputs N] [--workers 2] [--only NAME ...]`.

`--guided RUNS` lets atheris (extra `fuzz`) choose the inputs by coverage, harness by harness.
`--replay HEX` with one name feeds that input alone and shows what happens, with its traceback.
Each harness runs in a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from fuzz_lab import Outcome
from fuzz_targets import HARNESSES, one


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--inputs", type=int, default=1_000_000, help="for each harness")
    words.add_argument("--workers", type=int, default=2)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--only", nargs="*", default=[])
    words.add_argument("--guided", type=int, default=0, help="runs under atheris for each harness")
    words.add_argument("--replay", help="one input, as hex")
    given = words.parse_args()
    names = given.only or list(HARNESSES)
    if given.replay is not None:
        print(repr(HARNESSES[names[0]].decode(bytes.fromhex(given.replay))))
        return 0
    if given.guided:
        return guided(names, given.guided)
    failed = 0
    print(f"{'harness':26}{'inputs':>12}{'refused':>9}{'us each':>9}{'grown KiB':>11}", flush=True)
    with ProcessPoolExecutor(
        given.workers, multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        runs = [pool.submit(one, name, given.inputs, given.seed) for name in names]
        for done in as_completed(runs):
            failed += bool(shown(done.result()))
    return 1 if failed else 0


def guided(names: list[str], runs: int) -> int:
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install -e '.[fuzz]'")
        return 0
    script, failed = str(Path(__file__).with_name("guided.py")), 0
    for name in names:
        done = subprocess.run([sys.executable, script, name, str(runs)], stderr=subprocess.PIPE)
        print(f"{name:26}{runs:>12,}  {'ok' if done.returncode == 0 else 'FAILED'}", flush=True)
        if done.returncode != 0:
            print(done.stderr.decode(errors="replace")[-4000:], flush=True)
            failed += 1
    return 1 if failed else 0


def shown(outcome: Outcome) -> int:
    each_us = outcome.seconds / max(outcome.inputs, 1) * 1e6
    share = outcome.refused / max(outcome.inputs, 1)
    print(
        f"{outcome.name:26}{outcome.inputs:>12,}{share:>9.1%}{each_us:>9.1f}"
        f"{outcome.grown_bytes // 1024:>11,}",
        flush=True,
    )
    for problem in outcome.problems:
        print("  " + problem, flush=True)
    return len(outcome.problems)


if __name__ == "__main__":
    sys.exit(main())
