"""`python tests/mutants`: plants every mistake of the table, and prints what finds it.

The exit code is 1 if one lives. `--rules R15 R22` takes those only, `--nets sim` one net only.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from mutant_runner import Broken, Fate, check_unharmed, copied, hunt
from mutant_table import of_rules


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python tests/mutants", description=__doc__)
    parser.add_argument("--rules", nargs="*", default=[], metavar="RULE", help="of these only")
    parser.add_argument("--nets", choices=("all", "tests", "sim"), default="all")
    parser.add_argument(
        "--seeds", type=int, default=150, help="of the simulator, each in two weathers"
    )
    parser.add_argument("--workers", type=int, default=2, help="mutants at a time")
    parser.add_argument("--trust", action="store_true", help="do not run the unharmed source first")
    options = parser.parse_args(arguments)
    begun_s = time.perf_counter()
    fates: list[Fate] = []
    with copied() as base:
        try:
            if not options.trust:
                check_unharmed(base, options.seeds, of_rules(options.rules))
            for fate in hunt(
                base, of_rules(options.rules), options.seeds, options.workers, options.nets
            ):
                fates.append(fate)
                print(_row(fate), flush=True)
        except Broken as error:
            print(error)
            return 2
    alive = sum(fate.killer is None for fate in fates)
    print(f"{len(fates) - alive} found, {alive} alive, {time.perf_counter() - begun_s:.0f} s")
    return 1 if alive else 0


def _row(fate: Fate) -> str:
    killer = "ALIVE" if fate.killer is None else fate.killer
    for prefix in ("found: ", "FAILED tests/consensus/", "FAILED tests/"):
        killer = killer.removeprefix(prefix)
    return f"{fate.mutant.rule:4}{fate.mutant.mistake:86} {fate.seconds:6.1f} s  {killer}"


if __name__ == "__main__":
    sys.exit(main())
