"""What a timeline says of each node, and the picture of it."""

from __future__ import annotations

import xml.etree.ElementTree as Xml
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.chaos import ChaosNet, load_scenario, picture_of, run_virtual_scenario
from agents.chaos.story import Kind, story_of
from agents.cli.main import main

EXAMPLES = Path(__file__).parents[3] / "examples" / "chaos"
SVG = "{http://www.w3.org/2000/svg}"


def said_of(*events: dict[str, Any], checks: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    whole = [{"what": "fault", "node": "", "text": "", "facts": {}, **event} for event in events]
    passed = not checks
    world = {"seed": 1, "world": "virtual", "passed": passed, "error": "", "checks": list(checks)}
    return {**world, "events": whole}


def spans(said: dict[str, Any], kind: Kind) -> list[tuple[str, int, int, str]]:
    found = [one for one in story_of(said).intervals if one.kind is kind]
    return [(one.node, one.from_ms, one.until_ms, one.note) for one in found]


UP = {"at_ms": 0, "facts": {"up": ["a", "b", "c"]}}


def test_a_node_is_up_between_its_starts_and_its_ends() -> None:
    said = said_of(
        UP,
        {"at_ms": 10, "node": "a", "facts": {"down": ["a"]}},
        {"at_ms": 30, "node": "a", "facts": {"up": ["a"]}},
        {"at_ms": 50, "what": "log"},
    )
    assert spans(said, Kind.UP) == [
        ("a", 0, 10, ""),
        ("b", 0, 50, ""),
        ("c", 0, 50, ""),
        ("a", 30, 50, ""),
    ]


def test_who_stands_still_goes_on_or_is_killed() -> None:
    said = said_of(
        UP,
        {"at_ms": 10, "node": "a", "text": "still", "facts": {"paused": ["a"]}},
        {"at_ms": 12, "node": "b", "text": "still", "facts": {"paused": ["b"]}},
        {"at_ms": 20, "node": "a", "facts": {"up": ["a"]}},
        {"at_ms": 25, "node": "b", "facts": {"down": ["b"]}},
    )
    assert spans(said, Kind.PAUSED) == [("a", 10, 20, "still"), ("b", 12, 25, "still")]


def test_a_leader_that_is_cut_off_leads_in_its_own_eyes_until_it_says_otherwise() -> None:
    cut = {"cuts": [["a", "b"], ["b", "a"], ["a", "c"], ["c", "a"]], "hurt": []}
    said = said_of(
        UP,
        {"at_ms": 5, "what": "leader", "node": "a", "facts": {"leads": 1}},
        {"at_ms": 10, "facts": cut},
        {"at_ms": 20, "what": "leader", "node": "b", "facts": {"leads": 2}},
        {"at_ms": 30, "what": "leader", "node": "a", "facts": {"leads": None}},
        {"at_ms": 40, "facts": {"cuts": [], "hurt": []}},
        {"at_ms": 50, "what": "leader", "node": "c", "facts": {"leads": 3}},
        {"at_ms": 60, "what": "log"},
    )
    assert spans(said, Kind.LEADS) == [
        ("a", 5, 30, "term 1"),
        ("b", 20, 50, "term 2"),
        ("c", 50, 60, "term 3"),
    ]
    assert spans(said, Kind.CUT) == [
        ("a", 10, 40, "b, c"),
        ("b", 10, 40, "a"),
        ("c", 10, 40, "a"),
    ]


KINDS = st.sampled_from(["up", "down", "paused", "leads", "cuts"])
NAMES = st.sampled_from(["a", "b", "c"])
PAIRS = st.lists(st.tuples(NAMES, NAMES).map(list), max_size=4)


@given(st.lists(st.tuples(KINDS, NAMES, st.integers(0, 50), PAIRS, st.text(max_size=9))))
def test_intervals_of_one_kind_never_overlap_and_the_picture_is_xml(
    drawn: list[tuple[str, str, int, list[list[str]], str]],
) -> None:
    events, at_ms = [UP], 0
    for kind, node, later_ms, pairs, text in drawn:
        at_ms += later_ms
        facts: dict[str, Any] = {kind: [node]}
        if kind == "leads":
            facts = {"leads": at_ms}
        elif kind == "cuts":
            facts = {"cuts": pairs, "hurt": pairs}
        events.append({"at_ms": at_ms, "node": node, "text": text, "facts": facts})
    said = said_of(*events)
    ends: dict[tuple[str, Kind], int] = {}
    for one in story_of(said).intervals:
        assert 0 <= one.from_ms <= one.until_ms <= at_ms
        assert ends.get((one.node, one.kind), 0) <= one.from_ms
        ends[one.node, one.kind] = one.until_ms
    Xml.fromstring(picture_of(said, "drawn"))


def test_the_picture_shows_a_run_and_says_who_was_down_and_led() -> None:
    run = run_virtual_scenario(load_scenario(EXAMPLES / "leader_killed.py"), 7)
    root = Xml.fromstring(picture_of(run.to_json(), "leader_killed"))
    killed = next(event.node for event in run.events if event.text == "is killed")
    ups = [
        r for r in root.iter(f"{SVG}rect") if (r.get("class"), r.get("data-node")) == ("up", killed)
    ]
    first, second = sorted(ups, key=lambda rect: float(rect.get("x", "")))
    assert float(first.get("x", "")) + float(first.get("width", "")) < float(second.get("x", ""))
    leads = {r.get("data-node") for r in root.iter(f"{SVG}rect") if r.get("class") == "leads"} - {
        None
    }
    assert killed in leads
    assert len(leads) == 2
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert texts.count(f"✕{killed}") == 4, "the four others declare it dead"
    assert any(text.startswith("ok ") and "members agree" in text for text in texts)
    for element in root.iter():
        for name in ("x", "cx", "x1"):
            assert 0 <= float(element.get(name, "0")) <= 1200
        for name in ("y", "cy", "y1"):
            assert 0 <= float(element.get(name, "0")) <= float(root.get("height", ""))


def test_a_check_that_failed_is_drawn_where_it_failed() -> None:
    async def scenario(net: ChaosNet) -> None:
        await net.up(1, voters=1)
        net.log("<no & tag> \x00 \ud800")
        net.expect.that("one is two", False)

    root = Xml.fromstring(picture_of(run_virtual_scenario(scenario, 1).to_json(), "x"))
    assert len([line for line in root.iter(f"{SVG}line") if line.get("class") == "failed"]) == 1
    assert any("FAILED" in (text.text or "") for text in root.iter(f"{SVG}text"))


def test_the_command_writes_it_and_only_for_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.svg"
    words = ["chaos", "run", str(EXAMPLES / "split_brain.py"), "--quiet", "--picture", str(path)]
    assert main(words) == 0
    root = Xml.parse(path).getroot()
    assert "partition" in "".join(root.itertext())
    assert main([*words, "--seeds", "0:2"]) != 0
    assert "give one --seed" in capsys.readouterr().err
