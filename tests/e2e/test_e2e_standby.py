"""Agents that stand by in real processes: one is killed, one stands still."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from cli_lab import ROOT, Node, eventually, lab

pytestmark = pytest.mark.e2e
EXAMPLE = str(ROOT / "examples" / "standby.py")


def notes(asked: Node) -> dict[str, str]:
    """What is said of the indexer, by its node."""
    return {row["node"].split()[0]: row["note"] for row in asked.run("agents", "--json").json}


def active(asked: Node) -> tuple[str, int] | None:
    found = [(name, note) for name, note in notes(asked).items() if note.startswith("active")]
    return (found[0][0], int(found[0][1].rsplit(" ", 1)[1])) if len(found) == 1 else None


def answers(asked: Node) -> bool:
    return asked.run("call", "index.add", "word", "--deadline", "1").status == 0


def test_another_process_takes_over_from_one_that_was_killed(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        nodes = here.network("ada", "bob", "cyd")
        for node in nodes:
            node.up(EXAMPLE, seeds=tuple(n for n in nodes if n is not node))
        for node in nodes:
            node.until_up()
        name, token = eventually(lambda: active(nodes[0]), "somebody who serves")
        eventually(lambda: answers(nodes[0]), "an answer")
        first = next(n for n in nodes if n.name == name)
        other = next(n for n in nodes if n is not first)
        first.kill()
        began = time.monotonic()
        eventually(lambda: answers(other), "the next one's answer")
        print(f"killed: taken over after {time.monotonic() - began:.1f} s")
        second = eventually(lambda: active(other), "the next one")
        assert second[0] != name
        assert second[1] > token


def test_one_that_stood_still_serves_no_more_when_it_goes_on(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        nodes = here.network("ada", "bob", "cyd")
        for node in nodes:
            node.up(EXAMPLE, seeds=tuple(n for n in nodes if n is not node))
        for node in nodes:
            node.until_up()
        name, token = eventually(lambda: active(nodes[0]), "somebody who serves")
        first = next(n for n in nodes if n.name == name)
        other = next(n for n in nodes if n is not first)
        assert first.process is not None
        os.kill(first.process.pid, signal.SIGSTOP)
        try:
            eventually(
                lambda: (found := active(other)) is not None and found[0] != name, "the next one"
            )
        finally:
            os.kill(first.process.pid, signal.SIGCONT)
        eventually(lambda: "serves here no more" in first.log, "its end")
        eventually(lambda: notes(first).get(name) == "stands by", "that it stands by")
        _, later = eventually(lambda: active(first), "one who serves")
        assert later > token


def test_up_standby_makes_any_agent_stand_by(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        node = here.network("ada", voters=1)[0]
        file = tmp_path / "plain.py"
        file.write_text(
            "from agents import Agent, Context\nagent = Agent('plain')\n"
            "@agent.serve('plain.token')\n"
            "async def token(context: Context) -> int | None:\n    return context.fence\n"
        )
        node.up(str(file), "--standby").until_up()
        said = eventually(lambda: node.run("call", "plain.token").out.strip(), "an answer")
        assert int(said) > 0
