"""What a timeline says of each node: from when until when it was up, stood still, led, was cut off.

It reads a run as `Run.to_json` says it, so that it works on stored ones too.

What this module does not know: how it is drawn.

Invariants: intervals of one kind and node do not overlap, and lie within the run; a node that was
never up has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

Pairs = frozenset[tuple[str, str]]


class Kind(Enum):
    """What a node does, or has done to it, for a while."""

    UP = "up"
    PAUSED = "paused"
    LEADS = "leads"
    CUT = "cut"
    HURT = "hurt"


@dataclass(frozen=True, slots=True)
class Interval:
    """
    Attributes:
        note: what to say of it, such as the term or who is not reached.
    """

    node: str
    kind: Kind
    from_ms: int
    until_ms: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something at one moment.

    Attributes:
        node: "" for the whole network.
        what: the kind of its event, or "down", "dead", "left", "promised" and "done".
        about: who was declared dead.
    """

    node: str
    what: str
    at_ms: int
    text: str
    about: str = ""


@dataclass(slots=True)
class Story:
    """All of it."""

    nodes: tuple[str, ...]
    ends_ms: int
    intervals: list[Interval] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)


def story_of(said: Mapping[str, Any]) -> Story:
    """Read what a run said."""
    events = said["events"]
    nodes = dict.fromkeys(name for event in events for name in event["facts"].get("up", ()))
    ends_ms = max((event["at_ms"] for event in events), default=0)
    telling = _Telling(Story(tuple(nodes), ends_ms))
    for event in events:
        telling.take(event)
    return telling.end()


class _Telling:
    """What is open while events are read."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._open: dict[tuple[str, Kind], tuple[int, str]] = {}
        self._cuts: Pairs = frozenset()

    def take(self, event: Mapping[str, Any]) -> None:
        facts, node, at_ms = event["facts"], event["node"], event["at_ms"]
        for name in facts.get("down", ()):
            for kind in (Kind.UP, Kind.PAUSED, Kind.LEADS):
                self._close(name, kind, at_ms)
        for name in facts.get("up", ()):
            self._close(name, Kind.PAUSED, at_ms)
            self._begin(name, Kind.UP, at_ms, "")
        for name in facts.get("paused", ()):
            self._begin(name, Kind.PAUSED, at_ms, event["text"])
        if "leads" in facts:
            self._lead(node, facts["leads"], at_ms)
        if "cuts" in facts:
            self._links(facts, at_ms)
        self._mark(event)

    def _lead(self, node: str, term: int | None, at_ms: int) -> None:
        self._close(node, Kind.LEADS, at_ms)
        if term is None:
            return
        for other in self._story.nodes:  # one that hears of it leads no more; it says nothing then
            if (node, other) not in self._cuts:
                self._close(other, Kind.LEADS, at_ms)
        self._begin(node, Kind.LEADS, at_ms, f"term {term}")

    def _links(self, facts: Mapping[str, Any], at_ms: int) -> None:
        self._cuts = _pairs(facts["cuts"])
        hurt = _pairs(facts["hurt"])
        for name in self._story.nodes:
            for kind, pairs in ((Kind.CUT, self._cuts), (Kind.HURT, hurt)):
                others = sorted({a if b == name else b for a, b in pairs if name in (a, b)})
                note = ", ".join(others)
                before = self._open.get((name, kind))
                if before is None or before[1] != note:
                    self._close(name, kind, at_ms)
                    if note:
                        self._begin(name, kind, at_ms, note)

    def _mark(self, event: Mapping[str, Any]) -> None:
        facts, what, about = event["facts"], event["what"], ""
        if what in ("log", "leader", "check") or "up" in facts or "paused" in facts:
            return  # intervals or other places show it
        if "down" in facts:
            what = "down"
        for said in ("dead", "left"):
            if said in facts:
                what, about = said, facts[said]
        for said in ("promised", "done"):
            if said in facts:
                what = said
        mark = Mark(event["node"], what, event["at_ms"], event["text"], about)
        self._story.marks.append(mark)

    def _begin(self, node: str, kind: Kind, at_ms: int, note: str) -> None:
        self._open.setdefault((node, kind), (at_ms, note))

    def _close(self, node: str, kind: Kind, at_ms: int) -> None:
        began = self._open.pop((node, kind), None)
        if began is not None:
            self._story.intervals.append(Interval(node, kind, began[0], at_ms, began[1]))

    def end(self) -> Story:
        for node, kind in list(self._open):
            self._close(node, kind, self._story.ends_ms)
        self._story.intervals.sort(key=lambda one: (one.from_ms, one.node, one.kind.value))
        return self._story


def _pairs(pairs: Iterable[Iterable[str]]) -> Pairs:
    return frozenset((a, b) for a, b in pairs)
