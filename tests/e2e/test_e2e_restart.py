"""`conclave up --restart`: real processes that are killed, and begun again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from cli_lab import AGENT, Lab, Node, conclave, eventually, lab, patient, refused

pytestmark = pytest.mark.e2e

FAILING = """
from agents import Agent

agent = Agent("moody")
state = {"word": "healthy", "starts": 0}

@agent.on_start
def start():
    state["starts"] += 1
    if state["word"] != "healthy":
        raise OSError("the disk is gone")

@agent.serve("moody.spoil")
async def spoil() -> int:
    state["word"] = "failed"
    return state["starts"]

@agent.health(every=0.1, limit=1)
async def check():
    return state["word"]
"""


def child_of(node: Node) -> int:
    assert node.process is not None
    pid = node.process.pid
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def ups(node: Node) -> int:
    return node.log.count("Ctrl-C leaves")


def alone(here: Lab) -> Node:
    return here.network("ada", voters=1)[0]


def test_a_node_that_is_killed_begins_again_until_it_happens_too_often(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        node = alone(here).up(str(AGENT), "--restart", "2").until_up()
        for count in (2, 3):
            os.kill(child_of(node), signal.SIGKILL)
            eventually(lambda count=count: ups(node) == count, "the restart")
        assert node.run("call", "lab.add", "2", "3").out.strip() in ("5", "5.0", "")
        os.kill(child_of(node), signal.SIGKILL)
        eventually(lambda: not node.is_running, "the end")
        assert node.process is not None
        assert node.process.returncode == 137
        assert "the node has ended by signal 9; restart 1 in" in node.log
        assert "it was begun anew 2 times within 10 minutes" in node.log
        assert "Traceback" not in node.log


def test_ctrl_c_passes_through_and_ends_both_in_peace(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        node = alone(here).up(str(AGENT), "--restart").until_up()
        child = child_of(node)
        assert node.interrupt() < patient(4)
        assert node.process is not None
        assert node.process.returncode == 0
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
        assert "restart" not in node.log


def test_a_node_leaves_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        node = alone(here).up(str(AGENT), "--restart").until_up()
        child = child_of(node)
        node.kill()
        eventually(lambda: not Path(f"/proc/{child}/fd/0").exists(), "the child's end")
        node.up(str(AGENT), "--restart")
        eventually(lambda: ups(node) == 2, "the next one")


def test_what_is_wrong_from_the_beginning_is_said_once(tmp_path: Path) -> None:
    home = ("--home", str(tmp_path / "none"))
    refused(conclave("up", *home, "--restart"))
    assert conclave("up", *home, "--restart", "many").status == 2


def test_an_agent_that_no_restart_helps_has_its_node_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "moody.py"
    file.write_text(FAILING)
    with lab(tmp_path) as here:
        node = alone(here).up(str(file), "--restart").until_up()
        said = eventually(lambda: node.run("call", "moody.spoil").out.strip(), "an answer")
        assert said == "1"
        eventually(lambda: "agent moody is failed" in node.log, "the failure")
        rows = {row["agent"]: row["health"] for row in node.run("agents", "--json").json}
        assert rows == {"moody": "failed"}
        eventually(lambda: "the disk is gone" in node.run("agents").out, "why no restart helps")
        eventually(lambda: ups(node) == 2, "the restart", deadline_s=90)
        assert "has failed again after 5 restarts" in node.log
        rows = {row["agent"]: row["health"] for row in node.run("agents", "--json").json}
        assert rows == {"moody": "healthy"}
