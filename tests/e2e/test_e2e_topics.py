"""`conclave pub` and `conclave tail` between two processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from cli_lab import DEADLINE_S, Node, agreed, environment, eventually, lab, refused

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Node]]:
    with lab(tmp_path_factory.mktemp("topics")) as here:
        ada, bob = nodes = here.network("ada", "bob", voters=1)
        ada.up().until_up()
        eventually(lambda: agreed([ada]), "a leader of one")
        bob.up(seeds=(ada,)).until_up()
        eventually(lambda: agreed(nodes), "bob knows the leader")
        yield ada, bob


# `tail` is a process of its own, which a busy machine starts when it likes.
ONE_LISTENS = ("--wait-subscribers", "1", "--timeout", "60")


def tailing(node: Node, *words: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "agents.cli", "tail", "--home", str(node.home), *words],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def test_lines_of_stdin_arrive_at_another_node_with_sender_and_number(
    pair: tuple[Node, Node],
) -> None:
    ada, bob = pair
    tail = tailing(bob, "log/", "--count", "3")
    said = ada.run("pub", "log/a", "-", *ONE_LISTENS, stdin='one\n{"n": 2}\nthree \x1b[2J\n')
    assert (said.status, said.out, said.err) == (0, "", "")
    out, err = tail.communicate(timeout=DEADLINE_S)
    assert (tail.returncode, err) == (0, "")
    lines = out.splitlines()
    assert all(line.startswith("log/a ada (") for line in lines), lines
    assert lines[0].endswith(" #1: one")
    assert lines[1].endswith(' #2: {"n": 2}')
    assert lines[2].endswith(" #3: three \\x1b[2J")


def test_tail_replays_what_was_published_before_as_json(pair: tuple[Node, Node]) -> None:
    ada, bob = pair
    said = ada.run("pub", "past", "\x9bvalue", "--count", "4", "--json").json
    assert said == {"topic": "past", "published": 4, "last_sequence": 4}
    tail = bob.run("tail", "past", "--replay", "2", "--count", "2", "--json")
    assert "\x9b" not in tail.out
    found = [json.loads(line) for line in tail.out.splitlines()]
    assert [m["sequence"] for m in found] == [3, 4]
    assert {(m["topic"], m["gap"], m["value"]) for m in found} == {("past", 0, "\x9bvalue")}


def test_tail_ends_cleanly_on_ctrl_c(pair: tuple[Node, Node]) -> None:
    ada, bob = pair
    tail = tailing(bob, "ticks")
    said = ada.run("pub", "ticks", "1", *ONE_LISTENS)
    assert said.status == 0, said
    assert tail.stdout is not None
    assert tail.stdout.readline().endswith(" #1: 1\n")
    tail.send_signal(signal.SIGINT)
    _, err = tail.communicate(timeout=DEADLINE_S)
    assert (tail.returncode, err) == (130, "")


def test_tail_ends_quietly_when_its_reader_has_gone(pair: tuple[Node, Node]) -> None:
    ada, bob = pair
    tail = tailing(bob, "pipe")
    assert tail.stdout is not None
    tail.stdout.close()
    said = ada.run("pub", "pipe", "1", *ONE_LISTENS, "--count", "2")
    assert said.status == 0, said
    assert tail.stderr is not None
    assert tail.stderr.read() == ""
    tail.stderr.close()
    assert tail.wait(DEADLINE_S) == 1


def test_what_cannot_be_published_is_refused_in_one_line(pair: tuple[Node, Node]) -> None:
    ada, _ = pair
    refused(ada.run("pub", "log/", "1"), "names a subtree")
    refused(ada.run("tail", ""), "no topic can be called")
    refused(ada.run("pub", "log", "1", "--wait-subscribers", "5", "--timeout", "0.1"), "of 5 peers")
    refused(ada.run("pub", "log", "1", "--only-role", "king"), "'king' is none of")
    refused(ada.run("pub", "log", "-", stdin="x" * 1_000_000), "over the limit")
