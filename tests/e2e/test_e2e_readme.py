"""The way that the README shows, word for word on processes: init, invite, up, join, up, use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import AGENT, LOOPBACK, Node, agreed, conclave, eventually, lab

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """Three nodes that came to be by commands alone; the third hosts no agent."""
    with lab(tmp_path_factory.mktemp("readme")) as here:
        ada, bob, cyd = here.node("ada"), here.node("bob"), here.node("cyd")
        assert "lab is made" in ada.run("init", "lab", "--name", "ada").out
        ada.up(str(AGENT)).until_up()
        join(ada, bob)
        bob.up(str(AGENT), seeds=(ada,))
        join(ada, cyd)
        cyd.up(seeds=(ada,))
        for node in (bob, cyd):
            node.until_up()
        eventually(lambda: agreed([ada, bob, cyd]), "a leader")
        yield [ada, bob, cyd]


def join(ada: Node, node: Node) -> None:
    ticket = ada.run("invite")
    assert ticket.status == 0, ticket.err
    said = conclave("join", ticket.out.strip(), "--home", str(node.home), "--name", node.name)
    assert f"This node is {node.name}, a member of lab" in said.out, said


def test_status_names_the_leader_and_the_voters(network: list[Node]) -> None:
    for node in network:
        eventually(lambda: agreed(network), "all see each other")
        said = node.run("status", "--json").json
        assert said["leader_name"].split()[0] in ("ada", "bob", "cyd")
        assert len(said["voters"]) == 3
        assert said["peers_alive"] == 2
    text = network[2].run("status")
    assert re.search(r"^leader +(ada|bob|cyd) \(\w{8}\), term \d+$", text.out, re.MULTILINE)


def test_peers_lists_everybody_with_one_leader(network: list[Node]) -> None:
    eventually(lambda: set(network[1].states().values()) == {"alive"}, "nobody is suspected")
    rows = network[1].run("peers", "--json").json
    assert sorted(row["name"] for row in rows) == ["ada", "bob", "cyd"]
    assert [row["is_leader"] for row in rows].count(True) == 1
    assert "bob (this node)" in network[1].run("peers").out


def test_agents_lists_what_is_offered_and_where(network: list[Node]) -> None:
    rows = network[2].run("agents", "--json").json
    assert sorted((row["agent"], row["node"].split()[0]) for row in rows) == [
        ("bench", "ada"),
        ("bench", "bob"),
    ]
    usages = [offer["usage"] for offer in rows[0]["offers"]]
    assert "lab.add(a: float, b: float)" in usages
    assert "Add two numbers." in network[2].run("agents").out


def test_a_call_by_position_and_by_name_answers_alike(network: list[Node]) -> None:
    cyd = network[2]
    assert cyd.run("call", "lab.add", "2", "3").out == "5.0\n"
    assert cyd.run("call", "lab.add", "b=3", "a=2").out == "5.0\n"
    assert cyd.run("call", "lab.add", '{"a": 2, "b": 3}', "--json").json == 5.0
    assert cyd.run("call", "lab.echo", "two words", "--peer", "bob").out == "two words\n"


def test_a_submitted_task_is_decided_by_the_voters_and_done(network: list[Node]) -> None:
    cyd = network[2]
    assert cyd.run("submit", "lab.add", '{"a": 1, "b": 5}', "--wait").out == "6.0\n"
    said = cyd.run("submit", "lab.add", "[1]", "--key", "k", "--json").json
    assert re.fullmatch(r"[23] of 3 voters", said["decided_by"])
    again = cyd.run("submit", "lab.add", "[1]", "--key", "k", "--json").json
    assert again["task"] == said["task"]
    listed = cyd.run("tasks", "--json").json
    assert {task["skill"] for task in listed["tasks"]} == {"lab.add"}
    assert said["task"][:12] in cyd.run("tasks").out


def test_an_invitation_names_the_door_that_is_open(network: list[Node]) -> None:
    said = network[0].run("invite", "--json").json
    assert said["addresses"] == [f"{LOOPBACK}:{network[0].port}"]


def test_after_a_join_the_inviting_node_is_found_without_mdns(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        (ada,) = here.network("ada")
        bob = here.node("bob")
        ada.up().until_up()
        join(ada, bob)
        bob.up()
        eventually(lambda: ada.states().get("bob") == "alive", "bob seen by ada")


def test_nodes_find_each_other_by_mdns_alone(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        ada, bob = here.network("ada", "bob")
        for node in (ada, bob):
            node.up(mdns=True)
        eventually(lambda: ada.states().get("bob") == "alive", "bob seen by ada")
