"""A run as a picture: a row for each node, and what happened to the whole network above them.

It is one SVG file without scripts, fonts or links; it follows the reader's light or dark screen,
and says more under the pointer. Faults of the network have numbers, and their words stand below.

What this module does not know: how a timeline is read (`story`), who looks.
"""

from __future__ import annotations

import xml.etree.ElementTree as Xml
from collections.abc import Mapping
from typing import Any

from agents.chaos.story import Interval, Kind, Mark, Story, story_of

WIDTH = 1200
LEFT = 56
RIGHT = 24
TOP = 96
ROW = 46
LABEL = 22  # what is closer shares one
BAR = 14  # how high a node's bar is
LINE = 18  # of text
MAX_LINES = 30  # of faults; more than that are counted
TICKS = 12
STEPS_MS = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000)
CHARACTERS = 150
STYLE = """
text { font: 12px ui-monospace, monospace; fill: #1f2328; }
.title { font-size: 15px; font-weight: bold; }
.small { font-size: 10px; } .soft { fill: #59636e; } .bad { fill: #b3261e; }
.ground { fill: #ffffff; } .grid { stroke: #d1d9e0; } .fault { stroke: #8250df; }
.up { fill: #9ec5e8; } .down { stroke: #8c959f; stroke-dasharray: 2 4; }
.paused { fill: #d4a72c; } .leads, .done { fill: #1a7f37; } .cut { fill: #cf222e; }
.hurt { fill: #bc6c25; } .number, .lock { fill: #8250df; } .promised { fill: #0969da; }
.cross, .failed { fill: none; stroke: #b3261e; stroke-width: 2.5; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; } .soft { fill: #9198a1; } .bad { fill: #ff8b82; }
.ground { fill: #0d1117; } .grid { stroke: #30363d; } .fault { stroke: #ab7df8; }
.up { fill: #1f4f7d; } .down { stroke: #7d8590; }
.paused { fill: #bb8009; } .leads, .done { fill: #3fb950; } .cut { fill: #f85149; }
.hurt { fill: #db8b45; } .number, .lock { fill: #ab7df8; } .promised { fill: #58a6ff; }
.cross, .failed { stroke: #ff7b72; }
}
"""
# How far below the middle of its row a band lies, and how high it is.
BANDS = {
    Kind.UP: (-BAR / 2, BAR),
    Kind.PAUSED: (-BAR / 2, BAR),
    Kind.LEADS: (-BAR / 2 - 5, 4),
    Kind.CUT: (BAR / 2 + 1, 4),
    Kind.HURT: (BAR / 2 + 6, 2),
}
LEGEND = (
    ("up", "up"),
    ("paused", "stands still"),
    ("leads", "leads"),
    ("cut", "cut off from some"),
    ("hurt", "a link is slow or lossy"),
    ("promised", "tasks promised"),
    ("done", "results"),
    ("lock", "lock taken"),
)


def picture_of(said: Mapping[str, Any], name: str) -> str:
    """Draw a run.

    Args:
        said: what `Run.to_json` says, with events.
        name: of the scenario.
    """
    return _Drawing(said, story_of(said), name).text()


class _Drawing:
    """One picture; every coordinate is in pixels from the upper left."""

    def __init__(self, said: Mapping[str, Any], story: Story, name: str) -> None:
        self._said = said
        self._story = story
        self._ends_ms = max(story.ends_ms, 1)
        self._rows = {node: TOP + ROW * n + ROW / 2 for n, node in enumerate(story.nodes)}
        self._floor = TOP + ROW * len(story.nodes)
        self._free: dict[str, float] = {}  # from where on a row has room for a death
        network = [mark for mark in story.marks if mark.what == "fault" and not mark.node]
        self._faults = list(enumerate(network, 1))
        below = self._below()
        self._height = self._floor + 40 + LINE * (len(below) + 1)
        self._root = Xml.Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "viewBox": f"0 0 {WIDTH} {self._height:g}",
                "width": str(WIDTH),
                "height": f"{self._height:g}",
                "role": "img",
            },
        )
        _tell(self._root, f"{name}: {self._verdict()}")
        Xml.SubElement(self._root, "style").text = STYLE
        self._shape("rect", "ground", x=0, y=0, width=WIDTH, height=self._height)
        self._words(16, 26, f"{name}: {self._verdict()}", "title")
        self._legend()
        self._axis()
        for node in story.nodes:
            self._row(node)
        self._draw_faults()
        self._draw_failures()
        for mark in story.marks:
            self._mark(mark)
        for n, (text, style) in enumerate(below):
            self._words(16, self._floor + 56 + LINE * n, text, style)

    def text(self) -> str:
        Xml.indent(self._root)
        return Xml.tostring(self._root, encoding="unicode") + "\n"

    def _verdict(self) -> str:
        said = self._said
        colour = "green" if said["passed"] else "FAILED"
        where = "virtual time" if said["world"] == "virtual" else "processes"
        return f"seed {said['seed']}, {where}: {colour}"

    def _below(self) -> list[tuple[str, str]]:
        """Lines of text, and their styles."""
        lines = []
        for one in self._said["checks"]:
            holds = one["result"] == "holds"
            text = f"{'ok' if holds else one['result']:<9} {one['check']}: {one['seen']}"
            lines.append((text, "" if holds else "bad"))
        if self._said["error"]:
            lines.append((f"the script failed: {self._said['error'].splitlines()[0]}", "bad"))
        shown = self._faults[:MAX_LINES]
        lines += [("", "")] if shown else []
        lines += [(f"{n:>3} {m.at_ms / 1000:8.3f} s  {m.text}", "soft") for n, m in shown]
        if len(self._faults) > len(shown):
            lines.append((f"    and {len(self._faults) - len(shown)} more", "soft"))
        return [(_short(text), style) for text, style in lines]

    # -- parts ---------------------------------------------------------------------------------

    def _legend(self) -> None:
        x = 16.0
        for style, text in LEGEND:
            self._shape("rect", style, x=x, y=40, width=10, height=10)
            self._words(x + 15, 49, text, "small soft")
            x += 30 + 6.4 * len(text)
        self._cross(x + 5, 45, "legend")
        self._words(x + 15, 49, "killed, stopped  ! disk, clock  ✕b declares b dead", "small soft")

    def _axis(self) -> None:
        step_ms = next((s for s in STEPS_MS if self._ends_ms / s <= TICKS), STEPS_MS[-1])
        for at_ms in range(0, self._ends_ms + 1, step_ms):
            x = self._x(at_ms)
            self._shape("line", "grid", x1=x, y1=TOP - 8, x2=x, y2=self._floor)
            self._words(x, self._floor + 16, f"{at_ms / 1000:g} s", "small soft", "middle")

    def _row(self, node: str) -> None:
        y = self._rows[node]
        self._words(LEFT - 14, y + 4, node, "title", "end")
        self._shape("line", "down", x1=LEFT, y1=y, x2=WIDTH - RIGHT, y2=y)
        for kind in BANDS:  # in this order: what comes later lies above
            for one in self._story.intervals:
                if one.node == node and one.kind is kind:
                    self._band(one, y)

    def _band(self, one: Interval, y: float) -> None:
        below, height = BANDS[one.kind]
        x = self._x(one.from_ms)
        width = max(1.0, self._x(one.until_ms) - x)
        span = f"{one.from_ms / 1000:.3f} to {one.until_ms / 1000:.3f} s"
        drawn = self._shape("rect", one.kind.value, x=x, y=y + below, width=width, height=height)
        drawn.set("data-node", one.node)
        if one.kind is Kind.CUT:  # from one, or from all
            share = (one.note.count(",") + 1) / max(1, len(self._rows) - 1)
            drawn.set("fill-opacity", f"{0.3 + 0.7 * share:.2g}")
        whom = {Kind.CUT: "cut off from ", Kind.HURT: "slow or lossy to "}.get(one.kind, "")
        words = f"{one.node} {whom or one.kind.value + ' '}{one.note}".strip()
        _tell(drawn, f"{words}, {span}")
        if one.kind is Kind.LEADS and width > 6.4 * len(one.note):
            self._words(x + 1, y + below - 2, one.note, "small")

    def _draw_faults(self) -> None:
        """A line each; those that lie close together have one label, such as 3-7."""
        for near in self._near_faults():
            for _, mark in near:
                self._upright("fault", mark.at_ms, mark.text)
            first, last = near[0][0], near[-1][0]
            label = str(first) if first == last else f"{first}-{last}"
            middle = (self._x(near[0][1].at_ms) + self._x(near[-1][1].at_ms)) / 2
            self._words(middle, TOP - 18, label, "small number", "middle")

    def _near_faults(self) -> list[list[tuple[int, Mark]]]:
        groups: list[list[tuple[int, Mark]]] = []
        for number, mark in self._faults:
            x = self._x(mark.at_ms)
            if groups and x - self._x(groups[-1][-1][1].at_ms) < LABEL:
                groups[-1].append((number, mark))
            else:
                groups.append([(number, mark)])
        return groups

    def _draw_failures(self) -> None:
        for one in self._said["checks"]:
            if one["result"] == "FAILED":
                self._upright("failed", min(one["at_ms"], self._ends_ms), one["check"])

    def _upright(self, style: str, at_ms: int, text: str) -> None:
        x = self._x(at_ms)
        line = self._shape("line", style, x1=x, y1=TOP - 14, x2=x, y2=self._floor)
        _tell(line, f"{at_ms / 1000:.3f} s: {text}")

    def _mark(self, mark: Mark) -> None:
        if mark.node not in self._rows:
            return
        x, y = self._x(mark.at_ms), self._rows[mark.node]
        drawn: Xml.Element | None = None
        if mark.what in ("promised", "done", "lock"):
            low = {"promised": -3.0, "done": 0.0, "lock": 3.0}[mark.what]
            drawn = self._shape("circle", mark.what, cx=x, cy=y + low, r=2.5)
        elif mark.what in ("dead", "left"):
            x = max(x, self._free.get(mark.node, 0.0))  # beside the one before, not upon it
            self._free[mark.node] = x + 15
            drawn = self._words(x, y + BAR / 2 + 16, f"✕{mark.about}", "small bad", "middle")
        elif mark.what == "down":
            drawn = self._cross(x, y, mark.node)
        elif mark.what == "fault":
            drawn = self._words(x, y + 4, "!", "bad title", "middle")
        if drawn is not None:
            _tell(drawn, f"{mark.at_ms / 1000:.3f} s: {mark.node} {mark.text}")

    # -- shapes --------------------------------------------------------------------------------

    def _x(self, at_ms: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * at_ms / self._ends_ms

    def _shape(self, tag: str, style: str, **numbers: float) -> Xml.Element:
        values = {key: f"{value:.5g}" for key, value in numbers.items()}
        return Xml.SubElement(self._root, tag, {"class": style, **values})

    def _words(
        self, x: float, y: float, text: str, style: str = "", anchor: str = "start"
    ) -> Xml.Element:
        places = {"x": f"{x:.5g}", "y": f"{y:.5g}", "text-anchor": anchor, "xml:space": "preserve"}
        made = Xml.SubElement(self._root, "text", {"class": style, **places})
        made.text = _plain(text)
        return made

    def _cross(self, x: float, y: float, node: str) -> Xml.Element:
        d = f"M{x - 4:.5g} {y - 4:.5g}l8 8m-8 0l8 -8"
        return Xml.SubElement(self._root, "path", {"class": "cross", "d": d, "data-node": node})


def _tell(element: Xml.Element, text: str) -> None:
    """What is said under the pointer."""
    Xml.SubElement(element, "title").text = _plain(text)


def _plain(text: str) -> str:
    """Scripts may log what XML cannot hold."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def _short(text: str) -> str:
    return text if len(text) <= CHARACTERS else f"{text[: CHARACTERS - 3]}..."
