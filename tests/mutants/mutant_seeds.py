"""Seeds of the simulator, by turns in drawn weather and in the storm, until one breaks.

A program of its own, because a mutant needs a fresh process: `python mutant_seeds.py COUNT`.
"""

from __future__ import annotations

import sys

from consensus.sim import STORM, run_seed


def main(count: int) -> int:
    for seed in range(count):
        for weather in (None, STORM):
            try:
                run_seed(seed, weather)
            except AssertionError as error:
                where = "" if weather is None else " in the storm"
                print(f"seed {seed}{where}: {str(error).partition(chr(10))[0]}")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
