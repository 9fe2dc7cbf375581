"""Seeds of the simulator, by turns in drawn weather and in the storm, until one breaks.

A program of its own, because a mutant needs a fresh process: `python mutant_seeds.py COUNT`.
"""

from __future__ import annotations

import sys

from consensus.sim import STORM, run_seed


def first_broken(count: int) -> str | None:
    """The first seed that breaks, and how."""
    for seed in range(count):
        for weather in (None, STORM):
            try:
                run_seed(seed, weather)
            except Exception as error:  # noqa: BLE001 - however it breaks, it was noticed
                where = "" if weather is None else " in the storm"
                what = str(error).partition("\n")[0] or type(error).__name__
                return f"seed {seed}{where}, {what}"
    return None


def main(count: int) -> int:
    found = first_broken(count)
    if found is not None:
        print(f"found: {found}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
