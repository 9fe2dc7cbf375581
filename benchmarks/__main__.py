"""`python -m benchmarks [NAME ...] [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Figure, registered, significant

RESULTS = Path(__file__).with_name("results.json")
HEAD = ("FIGURE", "MEASURED", "SPREAD", "TARGET", "FLOOR", "RATIO", "MET")


def main() -> int:
    """Measure, print a table, write the results."""
    known = registered()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(known)}")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where to write")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in known:
            parser.error(f"there is no measurement {name!r}; there are: {', '.join(known)}")
    figures: list[Figure] = []
    for name in arguments.names or known:
        print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
        began = time.monotonic()
        figures.extend(known[name]())
        print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    print_table(figures)
    text = json.dumps([figure.as_json() for figure in figures], indent=2, ensure_ascii=False)
    arguments.json.write_text(text + "\n")
    print(f"\nwritten to {arguments.json}")
    return 0


def print_table(figures: Sequence[Figure]) -> None:
    """Print the figures in columns that line up."""
    rows = [HEAD, *(_row(figure) for figure in figures)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(HEAD))]
    for row in rows:
        print("  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip())


def _row(figure: Figure) -> tuple[str, ...]:
    sign = ">=" if figure.more_is_better else "<="
    return (
        figure.name,
        f"{_text(figure.measured)} {figure.unit}",
        " .. ".join(_text(value) for value in figure.spread),
        f"{sign} {_text(figure.target)}" if figure.target is not None else "",
        _text(figure.floor) if figure.floor is not None else "",
        f"{figure.ratio:.2f}" if figure.ratio is not None else "",
        {True: "yes", False: "NO", None: ""}[figure.met],
    )


def _text(value: float) -> str:
    return f"{significant(value):,.0f}" if value >= 1000 else f"{significant(value):g}"


sys.exit(main())
