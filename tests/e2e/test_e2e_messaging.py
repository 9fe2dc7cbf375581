"""top, bench and pub from stdin as whole commands, between two nodes and at one that is alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_lab import AGENT, DEADLINE_S, Node, agreed, environment, eventually, lab, refused

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Node]]:
    """Ada has the agents, bob has none."""
    with lab(tmp_path_factory.mktemp("messaging")) as here:
        ada, bob = nodes = here.network("ada", "bob", voters=1)
        ada.up(str(AGENT)).until_up()
        eventually(lambda: agreed([ada]), "a leader of one")
        bob.up(seeds=(ada,)).until_up()
        eventually(lambda: agreed(nodes), "bob knows the leader")
        yield ada, bob


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with lab(tmp_path_factory.mktemp("alone")) as here:
        (eve,) = here.network("eve", voters=1)
        yield eve.up().until_up()


def test_pub_that_waits_for_stdin_publishes_each_line_at_once_and_ends_on_interrupt(
    pair: tuple[Node, Node],
) -> None:
    ada, bob = pair
    words = [sys.executable, "-m", "agents.cli", "pub", "--home", str(ada.home), "waiting", "-"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, stdin=pipe, stderr=pipe, text=True, env=environment(), bufsize=1
    ) as pub:
        assert pub.stdin is not None
        assert pub.stderr is not None
        pub.stdin.write("first\n")
        heard = bob.run("tail", "waiting", "--replay", "1", "--count", "1", "--json")
        assert heard.json["value"] == "first"
        pub.send_signal(signal.SIGINT)
        assert pub.wait(DEADLINE_S) == 130
        assert pub.stderr.read() == ""


def test_a_line_of_stdin_that_is_too_long_is_refused_with_its_number(
    pair: tuple[Node, Node],
) -> None:
    ada, _ = pair
    refused(ada.run("pub", "a", "-", stdin="short\n" + "x" * 2_000_000), "line 2", "limit")


def test_top_shows_peers_and_calls_once_and_plainly(pair: tuple[Node, Node]) -> None:
    ada, bob = pair
    assert bob.run("call", "lab.add", "1", "2").status == 0
    refused(bob.run("call", "lab.fail", "x"), "ZeroDivisionError")
    said = ada.run("top", "--once", "--interval", "0.2")
    assert said.status == 0, said.err
    assert "\x1b" not in said.out
    assert said.out.startswith("ada (")
    assert "PEERS" in said.out
    assert "CAPABILITIES" in said.out

    def seen_whole() -> Any:
        """All of it: a busy machine may not answer to a ping within the second that it has."""
        seen = ada.run("top", "--json", "--interval", "0.2").json
        (peer,) = seen["peers"]
        assert peer["name"] == "bob"
        is_whole = {"control_ms", "data_ms"} <= (peer["round_trip"] or {}).keys()
        return is_whole and peer["state"] == "alive" and peer["lanes"]["data"] == "up" and seen

    seen = eventually(seen_whole, "bob in full")
    by_name = {row["capability"]: row for row in seen["capabilities"]}
    assert (by_name["lab.add"]["calls"], by_name["lab.add"]["failed"]) == (1, 0)
    assert (by_name["lab.fail"]["calls"], by_name["lab.fail"]["failed"]) == (1, 1)


def test_bench_measures_between_two_nodes(pair: tuple[Node, Node]) -> None:
    _, bob = pair
    said = bob.run("bench", "--seconds", "0.1", "--json")
    result = said.json
    assert result["name"].startswith("ada (")
    assert "encryption" in result["note"]
    found = result["found"]
    assert [(row["what"], row.get("in_flight")) for row in found] == [
        ("requests", 1),
        ("requests", 16),
        ("requests", 256),
        ("notices", None),
        ("stream", None),
    ]
    for row in found[:3]:
        assert row["per_s"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"]
    assert found[3]["sent"] > 0
    assert found[3]["lost"] == 0
    assert found[4]["bytes"] > 0
    table = bob.run("bench", "ada", "--seconds", "0.05")
    assert table.status == 0
    assert "requests, 256 in flight" in table.out
    assert "encryption" in table.out
    assert "measuring stream ..." in table.err


def test_bench_refuses_whom_it_cannot_measure_with(pair: tuple[Node, Node], alone: Node) -> None:
    _, bob = pair
    refused(bob.run("bench", "bob"), "this node")
    refused(bob.run("bench", "nobody"), "cannot reach nobody")
    refused(bob.run("bench", "--seconds", "100"), "100 seconds", "60")
    refused(alone.run("bench"), "no other peer is alive", "conclave invite")


def test_alone_or_without_a_node_the_commands_say_so(alone: Node, tmp_path: Path) -> None:
    assert alone.run("top", "--json", "--interval", "0.2").json["peers"] == []
    nowhere = Node(tmp_path / "nowhere")
    for words in (("pub", "a", "1"), ("tail", "a"), ("top", "--once"), ("bench",)):
        refused(nowhere.run(*words), "no node is up")
