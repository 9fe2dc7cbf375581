"""Sealed files and settings as whole commands, between three real nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import AGENT, Node, agreed, conclave, eventually, lab, refused

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Node, Node]]:
    with lab(tmp_path_factory.mktemp("sealing")) as here:
        ada, bob, eve = everyone = here.network("ada", "bob", "eve", voters=1)
        ada.up(str(AGENT)).until_up()
        eventually(lambda: agreed([ada]), "a leader of one")
        for node in (bob, eve):
            node.up(seeds=(ada,)).until_up()
        eventually(lambda: agreed(everyone), "all know the leader")
        yield ada, bob, eve


def test_a_sealed_file_opens_at_its_reader_and_nowhere_else(
    nodes: tuple[Node, Node, Node], tmp_path: Path
) -> None:
    ada, bob, eve = nodes
    plain, closed = tmp_path / "plain", tmp_path / "closed"
    plain.write_text("the code is 0000\n")
    said = eventually(
        lambda: (s := ada.run("seal", "--to", "bob", str(plain))).status == 0 and s, "ada meets bob"
    )
    closed.write_text(said.out)
    assert "0000" not in said.out
    assert max(len(line) for line in said.out.splitlines()) <= 76
    for _ in range(2):
        found = bob.run("unseal", str(closed))
        assert found.out == "the code is 0000\n"
        assert "sealed by ada" in found.err
    assert bob.run("unseal", "--json", str(closed)).json["name"] == "ada"
    refused(eve.run("unseal", str(closed)), "sealed for 1 other peer")
    refused(bob.run("unseal", "--purpose", "pay", str(closed)), "shown as 'program/pay'")
    refused(bob.run("unseal", str(plain)), "no sealed message")
    refused(bob.run("unseal", str(tmp_path / "none")), "No such file")
    refused(ada.run("seal", "--to", "nobody", str(plain)), "nobody")


def test_a_message_is_taken_once_also_by_a_node_that_was_killed(
    nodes: tuple[Node, Node, Node],
) -> None:
    ada, bob, _ = nodes
    text = eventually(
        lambda: ada.run("seal", "--to", "bob", "-", stdin="once").out, "ada meets bob"
    )
    assert bob.run("unseal", "--once", stdin=text).out == "once"
    refused(bob.run("unseal", "--once", stdin=text), "not taken a second time")
    bob.kill()
    bob.up(seeds=(ada,))
    eventually(lambda: agreed([*nodes]), "bob is up again, and seen")
    refused(bob.run("unseal", "--once", stdin=text), "not taken a second time")
    assert bob.run("unseal", stdin=text).out == "once"


def test_a_task_and_a_publication_are_sealed_from_the_shell(nodes: tuple[Node, Node, Node]) -> None:
    ada, bob, eve = nodes
    said = eventually(
        lambda: (
            (
                s := eve.run(
                    "submit", "lab.echo", "launch-code", "--sealed-to", "ada", "--wait", "--json"
                )
            ).status
            == 0
            and s
        ),
        "eve meets ada",
    )
    assert said.json["result"] == "launch-code"
    assert b"launch-code" not in b"".join(p.read_bytes() for p in (ada.home / "raft").iterdir())
    said = ada.run("pub", "codes", "launch-code", "--only-peer", "bob", "--sealed")
    assert said.status == 0, said
    heard = bob.run("tail", "codes", "--replay", "1", "--count", "1", "--json")
    assert heard.json["value"] == "launch-code"
    refused(ada.run("pub", "codes", "x", "--sealed"), "for whom")


def test_a_node_does_not_come_up_without_the_hybrid_that_it_was_told_to_have(
    nodes: tuple[Node, Node, Node], tmp_path: Path
) -> None:
    ada, _, _ = nodes
    hidden = tmp_path / "cryptography.py"
    hidden.write_text("raise ImportError('as if it was not installed')\n")
    words = ("up", "--home", str(ada.home))
    said = conclave(*words, CONCLAVE_SEALING="triple")
    refused(said, "CONCLAVE_SEALING", "hybrid")
    with lab(tmp_path / "other") as here:
        (eve,) = here.network("eve", voters=1)
        root = str(Path(__file__).parents[2])
        path = f"{tmp_path}:{root}"
        said = conclave("up", "--home", str(eve.home), CONCLAVE_SEALING="hybrid", PYTHONPATH=path)
        refused(said, "conclave-mesh[pq]", 'sealing = "x25519"')
