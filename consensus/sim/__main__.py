"""`python -m consensus.sim --seeds N --start S`, or `--replay SEED` for one run in full.

A failing seed is printed with the command that replays it; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import sys
import time

from consensus.sim.simulation import Outcome, run_seed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m consensus.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds to run")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--replay", type=int, metavar="SEED", help="run this one seed")
    args = parser.parse_args()
    if args.replay is not None:
        print(run_seed(args.replay))
        return 0
    begun_s = time.perf_counter()
    failed = 0
    outcomes: list[Outcome] = []
    for seed in range(args.start, args.start + args.seeds):
        try:
            outcomes.append(run_seed(seed))
        except AssertionError as error:
            failed += 1
            print(f"seed {seed}: {error}\n  replay: python -m consensus.sim --replay {seed}")
    seconds = time.perf_counter() - begun_s
    events = sum(outcome.events for outcome in outcomes)
    committed = sum(outcome.committed for outcome in outcomes)
    print(
        f"{len(outcomes)} seeds held, {failed} broke; {events} events, {committed} entries"
        f" committed, {seconds:.1f} s"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
