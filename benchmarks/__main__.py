"""`python -m benchmarks [NAME ...] [--quick | --rehearse] [--json FILE] [--plot FILE.png]`."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import pace, plotting
from benchmarks.figures import Figure, Measurement, registered
from benchmarks.table import print_table

RESULTS = Path(__file__).with_name("results.json")


def main() -> int:
    """Measure, print a table, write the results."""
    known = registered()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(known)}")
    parser.add_argument("--quick", action="store_true", help="shorter runs: ten minutes")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where to write")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a picture, as .png or .svg")
    parser.add_argument(
        "--rehearse", action="store_true", help="run every part once, briefly; no figure is true"
    )
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in known:
            parser.error(f"there is no measurement {name!r}; there are: {', '.join(known)}")
    if arguments.quick:
        pace.choose(pace.QUICK)
    if arguments.rehearse:
        pace.choose(pace.REHEARSAL)
    groups: dict[str, list[Figure]] = {}
    failed: list[str] = []
    for name in arguments.names or known:
        groups[name] = []
        if not _measure(known[name], name, groups[name]):
            failed.append(name)
    print_table(groups)
    if not arguments.rehearse:
        _write(groups, arguments.json)
    if arguments.plot is not None:
        _plot(groups, arguments.plot)
    if failed:
        print(f"these did not come to their end, see above why: {', '.join(failed)}")
    return 1 if failed else 0


def _measure(measurement: Measurement, name: str, figures: list[Figure]) -> bool:
    """Add the figures of one measurement; say why if it fails, so that the others still run."""
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    began = time.monotonic()
    try:
        figures.extend(measurement())
    except Exception:  # noqa: BLE001 - the others are measured all the same, and the exit code is 1
        traceback.print_exc()
        return False
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return True


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
