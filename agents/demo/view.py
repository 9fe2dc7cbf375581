"""The demo on a terminal: who leads, who is alive, how the tasks stand, and the story."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agents.demo.director import Picture

MAX_LINES = 16


class View:
    """Draws the picture; rich asks for it several times a second."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self.lines: list[str] = []

    def __rich__(self) -> Panel:
        picture = self._picture
        told = Text("\n".join(self.lines[-MAX_LINES:]))
        parts: list[RenderableType] = [self._nodes(), Text(), self._progress(), Text(), told]
        title = f"leader: {picture.leader}" if picture.leader else "no leader yet"
        return Panel(Group(*parts), title="conclave demo", subtitle=title)

    def _nodes(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for head in ("node", "state", "part", "files done"):
            table.add_column(head)
        for name, state in self._picture.states.items():
            style = "red" if state == "killed" else "green"
            part = "leader" if name == self._picture.leader else ""
            table.add_row(
                name, Text(state, style), Text(part, "bold"), str(self._picture.done_by[name])
            )
        return table

    def _progress(self) -> Table:
        picture = self._picture
        grid = Table.grid(padding=(0, 1))
        counts = ", ".join(f"{n} {state}" for state, n in picture.counts.items() if n)
        grid.add_row(
            ProgressBar(total=max(1, picture.total), completed=picture.done, width=40),
            f"{picture.done}/{picture.total}",
            counts,
        )
        return grid
