"""`python -m consensus.sim --seeds N --start S`, or `--replay SEED`, or `--shrink SEED`.

A failing seed is printed with the command that replays it; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence

from consensus.sim.marks import KNOWN
from consensus.sim.reduction import reduce_seed
from consensus.sim.simulation import Outcome, Simulation, run_seed

EXAMPLES = 4
CHUNK = 5  # seeds that a worker takes at a time


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m consensus.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds to run")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=1, help="processes that run seeds")
    parser.add_argument("--marks", action="store_true", help="show which rare things were reached")
    parser.add_argument("--replay", type=int, metavar="SEED", help="run this one seed")
    parser.add_argument(
        "--shrink", type=int, metavar="SEED", help="leave out what this broken seed does not need"
    )
    options = parser.parse_args(arguments)
    if options.replay is not None:
        return replay(options.replay)
    if options.shrink is not None:
        return shrink(options.shrink)
    seeds = range(options.start, options.start + options.seeds)
    return run_seeds(seeds, options.workers, with_marks=options.marks)


def replay(seed: int) -> int:
    """One seed, with its weather and what it came to."""
    simulation = Simulation(seed)
    print(simulation.weather)
    try:
        print(simulation.run())
    except AssertionError as error:
        print("\n".join(simulation.last_events()))
        print(f"at {simulation.timeline.now_ms} ms: {error}")
        return 1
    return 0


def shrink(seed: int) -> int:
    """A broken seed with as little in it as still breaks it."""
    reduced = reduce_seed(seed)
    if reduced is None:
        print(f"seed {seed} holds")
        return 0
    schedule = reduced.schedule
    print(reduced.weather)
    print("\n".join(map(str, (*schedule.faults, *schedule.calls))))
    print(f"{'with' if schedule.has_coups else 'without'} coups, after {reduced.runs} runs:")
    print(reduced.error)
    print(f"run_seed({seed},\n  {reduced.weather!r},\n  {schedule!r})")
    return 1


def run_seeds(seeds: range, workers: int = 1, *, with_marks: bool = False) -> int:
    """Many seeds; the broken ones are named."""
    begun_s = time.perf_counter()
    held: list[Outcome] = []
    broken = 0
    for outcome in _outcomes(seeds, workers):
        if isinstance(outcome, Outcome):
            held.append(outcome)
        else:
            broken += 1
            print(outcome, flush=True)
    seconds = time.perf_counter() - begun_s
    events = sum(outcome.events for outcome in held)
    committed = sum(outcome.committed for outcome in held)
    print(
        f"{len(held)} seeds held, {broken} broke; {events} events, {committed} entries"
        f" committed, {seconds:.1f} s"
    )
    _show_speed(held)
    if with_marks:
        _show_marks(held)
    return 1 if broken else 0


def _outcomes(seeds: range, workers: int) -> Iterator[Outcome | str]:
    if workers == 1:
        yield from map(_try, seeds)
        return
    with multiprocessing.Pool(workers) as pool:
        yield from pool.imap(_try, seeds, CHUNK)


def _try(seed: int) -> Outcome | str:
    try:
        return run_seed(seed)
    except AssertionError as error:
        return f"seed {seed}: {error}\n  replay: python -m consensus.sim --replay {seed}"


def _show_speed(held: Sequence[Outcome]) -> None:
    """How much faster than life, on one core."""
    for size in (1, 3, 5):
        runs = [outcome for outcome in held if outcome.voters == size]
        seconds = sum(outcome.seconds for outcome in runs)
        if seconds:
            virtual_s = sum(outcome.virtual_ms for outcome in runs) / 1000
            print(f"{size} voters: {virtual_s / seconds:.0f} virtual seconds a second of a core")


def _show_marks(held: Sequence[Outcome]) -> None:
    for name in KNOWN:
        seeds = [outcome.seed for outcome in held if outcome.marks[name]]
        total = sum(outcome.marks[name] for outcome in held)
        print(f"{total:8} times in {len(seeds):5} runs: {name} {seeds[:EXAMPLES] or ''}")


if __name__ == "__main__":
    sys.exit(main())
