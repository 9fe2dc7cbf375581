"""Figures as a picture: a panel for each subject and unit, a group of bars for each workload.

What this module does not know: how figures come about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.figures import Figure

OURS = "Conclave"
COLUMNS = 2
_COLOURS = ("#1b5e7d", "#9aa5ab", "#d08a2e", "#7a9e4b", "#a05195", "#c44e52")


def plot(groups: Mapping[str, Sequence[Figure]], file: Path) -> None:
    """Write a picture of every figure that something was measured beside; ImportError without
    matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = _panels(groups)
    if not panels:
        return
    lines = -(-len(panels) // COLUMNS)
    drawing, axes = pyplot.subplots(
        lines, COLUMNS, figsize=(8 * COLUMNS, 4.4 * lines), squeeze=False, layout="constrained"
    )
    names = [OURS, *dict.fromkeys(b.name for fs in panels.values() for f in fs for b in f.beside)]
    colours = {name: _COLOURS[n % len(_COLOURS)] for n, name in enumerate(names)}
    flat = [axis for line in axes for axis in line]
    for axis, (title, figures) in zip(flat, panels.items(), strict=False):
        _draw(axis, title, figures, colours)
    for axis in flat[len(panels) :]:
        axis.set_visible(False)
    drawing.savefig(file, dpi=110)
    pyplot.close(drawing)


def _panels(groups: Mapping[str, Sequence[Figure]]) -> dict[str, list[Figure]]:
    panels: dict[str, list[Figure]] = {}
    for name, figures in groups.items():
        for figure in figures:
            if figure.beside:
                better = "more" if figure.more_is_better else "less"
                panels.setdefault(f"{name}, {figure.unit} ({better} is better)", []).append(figure)
    return panels


def _draw(axis: object, title: str, figures: Sequence[Figure], colours: Mapping[str, str]) -> None:
    """Draw one panel; values are logarithmic, since floors and rivals lie far apart."""
    used = [OURS, *dict.fromkeys(b.name for figure in figures for b in figure.beside)]
    width = 0.8 / len(used)
    for place, name in enumerate(used):
        at, values = [], []
        for number, figure in enumerate(figures):
            found = {OURS: figure.measured, **{b.name: b.measured for b in figure.beside}}
            if name in found:
                at.append(number + (place - (len(used) - 1) / 2) * width)
                values.append(found[name])
        axis.bar(at, values, width, label=name, color=colours[name])  # type: ignore[attr-defined]
    axis.set_yscale("log")  # type: ignore[attr-defined]
    axis.set_title(title)  # type: ignore[attr-defined]
    labels = [figure.name.replace(", ", ",\n") for figure in figures]
    axis.set_xticks(range(len(figures)), labels, fontsize=8)  # type: ignore[attr-defined]
    axis.legend(fontsize=8)  # type: ignore[attr-defined]
