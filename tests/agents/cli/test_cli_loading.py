"""Finding agents in files and modules, and what is said when there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.cli.loading import load_agents
from agents.errors import BadAgent

TWO = """
from agents import Agent
first = Agent("first")
second = Agent("second")
again = first

@first.serve("lab.add")
def add(a: int, b: int) -> int:
    return a + b
"""


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Leave no module and no path of these tests behind."""
    modules = dict(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]


def write(directory: Path, name: str, text: str) -> str:
    path = directory / name
    path.write_text(text)
    return str(path)


def test_a_file_gives_all_of_its_agents_once(tmp_path: Path) -> None:
    agents = load_agents([write(tmp_path, "pair_of.py", TWO)])
    assert [agent.name for agent in agents] == ["first", "second"]
    assert list(agents[0].handlers) == ["lab.add"]


def test_a_name_behind_a_colon_picks_one(tmp_path: Path) -> None:
    path = write(tmp_path, "pair_of.py", TWO)
    assert [agent.name for agent in load_agents([path + ":second"])] == ["second"]


def test_a_module_of_the_current_directory_is_found_by_its_name(tmp_path: Path) -> None:
    write(tmp_path, "pair_here.py", TWO)
    assert [agent.name for agent in load_agents(["pair_here:again"])] == ["first"]


def test_a_file_may_import_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path, "neighbour_of.py", 'NAME = "named"\n')
    text = "from agents import Agent\nfrom neighbour_of import NAME\nagent = Agent(NAME)\n"
    assert load_agents([write(tmp_path, "reader_of.py", text)])[0].name == "named"


@pytest.mark.parametrize(
    ("text", "wanted", "words"),
    [
        ("x = 1\n", "", ["holds no agent", 'agent = Agent("name")']),
        (TWO, ":third", ["no agent called 'third'", "first, second, again"]),
        (TWO, ":add", ["no agent called 'add'"]),
        ("x = 1\ndef f(:\n", "", ["SyntaxError", "line 2"]),
        ("x = 1\n\ny = x.z\n", "", ["AttributeError", "line 3"]),
        ("import nowhere_at_all\n", "", ["ModuleNotFoundError", "nowhere_at_all", "line 1"]),
        ("import sys\nsys.exit(3)\n", "", ["SystemExit: 3", "line 2"]),
        ("from agents import Agent\nagent = Agent('No Name')\n", "", ["agent name 'No Name'"]),
        ("x = '\x00'\n", "", ["cannot be loaded"]),
    ],
)
def test_a_file_that_gives_no_agent_is_refused_in_words(
    tmp_path: Path, text: str, wanted: str, words: list[str]
) -> None:
    path = write(tmp_path, "broken_one.py", text)
    with pytest.raises(BadAgent) as caught:
        load_agents([path + wanted])
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("none.py", "there is no file none.py"),
        ("./none", "there is no file none"),
        ("no_such_module_here", "ModuleNotFoundError"),
        ("", "cannot be loaded"),
        (":agent", "cannot be loaded"),
        ("a..b", "cannot be loaded"),
        (".", "cannot be loaded"),
    ],
)
def test_a_place_that_is_none_is_refused_in_words(place: str, words: str) -> None:
    with pytest.raises(BadAgent, match=words):
        load_agents([place])


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary_one.py"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadAgent, match="cannot be loaded"):
        load_agents([str(path)])
