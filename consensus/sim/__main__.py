"""`python -m consensus.sim --seeds N --start S`, or `--replay SEED`, or `--mutants`.

A failing seed is printed with the command that replays it; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from consensus.sim.mutants import MUTANTS, hunt
from consensus.sim.simulation import Outcome, Simulation, run_seed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m consensus.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds to run")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--replay", type=int, metavar="SEED", help="run this one seed")
    parser.add_argument("--mutants", action="store_true", help="show which broken cores are found")
    options = parser.parse_args(arguments)
    if options.replay is not None:
        return replay(options.replay)
    if options.mutants:
        return show_mutants(options.seeds)
    return run_seeds(range(options.start, options.start + options.seeds))


def replay(seed: int) -> int:
    """One seed, with its weather and what it came to."""
    simulation = Simulation(seed)
    print(simulation.weather)
    try:
        print(simulation.run())
    except AssertionError as error:
        print(f"at {simulation.timeline.now_ms} ms: {error}")
        return 1
    return 0


def run_seeds(seeds: range) -> int:
    """Many seeds; the broken ones are named."""
    begun_s = time.perf_counter()
    outcomes: list[Outcome] = []
    broken = 0
    for seed in seeds:
        try:
            outcomes.append(run_seed(seed))
        except AssertionError as error:
            broken += 1
            print(f"seed {seed}: {error}\n  replay: python -m consensus.sim --replay {seed}")
    seconds = time.perf_counter() - begun_s
    events = sum(outcome.events for outcome in outcomes)
    committed = sum(outcome.committed for outcome in outcomes)
    print(
        f"{len(outcomes)} seeds held, {broken} broke; {events} events, {committed} entries"
        f" committed, {seconds:.1f} s"
    )
    return 1 if broken else 0


def show_mutants(seeds: int) -> int:
    """The kill table: which seed finds which broken core."""
    alive = 0
    for name in MUTANTS:
        found = hunt(name, seeds)
        alive += found is None
        print(f"{name}: {'ALIVE' if found is None else f'seed {found[0]}, {found[1]}'}")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
