"""Keys that change on processes: by the command, by the settings, and with fixed ports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import Node, eventually, lab, refused

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    with lab(tmp_path_factory.mktemp("rotation")) as here:
        made = here.network("ada", "bob", voters=1)
        settings = made[1].home / "conclave.toml"
        settings.write_text("key_rotation_hours = 0.0006\n", encoding="utf-8")
        here.up(made)
        yield made


def test_a_person_changes_the_key_and_the_network_goes_on(nodes: list[Node]) -> None:
    ada, _ = nodes
    said = ada.run("keys", "rotate").out
    assert "1 of 1 peers came over, the old key is forgotten" in said, said
    first, second = (ada.run("keys", "rotate", "--json").json for _ in range(2))
    assert first["key"] != second["key"]
    assert first["missed"] == second["missed"] == []
    eventually(lambda: ada.states() == {"ada": "alive", "bob": "alive"}, "both are there")


def test_it_is_written_down_in_the_audit_log(nodes: list[Node]) -> None:
    ada, _ = nodes
    assert ada.run("keys", "rotate", "--json").json["missed"] == []

    def entries() -> str:
        return ada.run("audit", "show", "--json", "--kind", "key").out

    eventually(lambda: "key.rotated" in entries(), "the entry")


def test_the_settings_say_how_often(nodes: list[Node]) -> None:
    _, bob = nodes
    eventually(lambda: bob.log.count("the transport key was changed") >= 2, "two rotations")
    assert "were not changed" not in bob.log
    eventually(lambda: bob.states() == {"ada": "alive", "bob": "alive"}, "both are there")


def test_without_a_node_it_says_so(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        [eve] = here.network("eve", voters=1)
        refused(eve.run("keys", "rotate"), "no node is up")
        (eve.home / "conclave.toml").write_text("key_rotation_hours = -1\n", encoding="utf-8")
        assert json.dumps("key_rotation_hours")[1:-1] in refused(eve.run("up"))
