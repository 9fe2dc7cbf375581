"""`python -m benchmarks [NAME ...] [--quick] [--json FILE] [--plot FILE.png]`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import pace, plotting
from benchmarks.figures import Figure, registered
from benchmarks.table import print_table

RESULTS = Path(__file__).with_name("results.json")


def main() -> int:
    """Measure, print a table, write the results."""
    known = registered()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(known)}")
    parser.add_argument("--quick", action="store_true", help="shorter runs: three minutes")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where to write")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a picture, as .png or .svg")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in known:
            parser.error(f"there is no measurement {name!r}; there are: {', '.join(known)}")
    if arguments.quick:
        pace.choose(pace.QUICK)
    groups: dict[str, Sequence[Figure]] = {}
    for name in arguments.names or known:
        print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
        began = time.monotonic()
        groups[name] = list(known[name]())
        print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    print_table(groups)
    _write(groups, arguments.json)
    if arguments.plot is not None:
        _plot(groups, arguments.plot)
    return 0


def _write(groups: Mapping[str, Sequence[Figure]], file: Path) -> None:
    rows = [{"group": name, **f.as_json()} for name, figures in groups.items() for f in figures]
    file.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    print(f"\nwritten to {file}")


def _plot(groups: Mapping[str, Sequence[Figure]], file: Path) -> None:
    try:
        plotting.plot(groups, file)
    except ImportError:
        print("no picture: matplotlib is not installed")
    else:
        print(f"drawn to {file}")


sys.exit(main())
