"""Figures as a table for people: a group for each subject, a line for each thing held against.

What this module does not know: how figures come about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.figures import Beside, Figure, significant

HEAD = ("", "MEASURED", "SPREAD", "TARGET", "MET", "BESIDE")
_MET = {True: "yes", False: "NO", None: ""}


def print_table(groups: Mapping[str, Sequence[Figure]]) -> None:
    """Print the figures of all groups in columns that line up."""
    rows = {name: [row for f in figures for row in _rows(f)] for name, figures in groups.items()}
    every = [HEAD, *(row for group in rows.values() for row in group)]
    widths = [max(len(row[n]) for row in every) for n in range(len(HEAD))]
    _line(HEAD, widths)
    for name, group in rows.items():
        print(f"{name}")
        for row in group:
            _line(row, widths)


def _line(row: Sequence[str], widths: Sequence[int]) -> None:
    text = "  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True))
    print("  " + text.rstrip())


def _rows(figure: Figure) -> list[tuple[str, ...]]:
    sign = ">=" if figure.more_is_better else "<="
    beside = [beside_text(b, figure.more_is_better) for b in figure.beside] or [""]
    first = (
        figure.name,
        f"{_text(figure.measured)} {figure.unit}",
        " .. ".join(_text(value) for value in figure.spread),
        f"{sign} {_text(figure.target)}" if figure.target is not None else "",
        _MET[figure.met],
        beside[0],
    )
    return [first, *(("", "", "", "", "", text) for text in beside[1:])]


def beside_text(beside: Beside, more_is_better: bool) -> str:
    """Return "0.41 of the floor (>= 0.4: yes)", or "14 x gRPC (>= 12: yes)"."""
    many = beside.ratio >= 1.1
    said = f"{_text(beside.ratio)} {'x' if many else 'of'} {beside.name} {_text(beside.measured)}"
    if beside.target is None:
        return said
    sign = ">=" if more_is_better else "<="
    return f"{said} ({sign} {beside.target:g}: {_MET[beside.met]})"


def _text(value: float) -> str:
    return f"{significant(value):,.0f}" if value >= 1000 else f"{significant(value):g}"
