"""`conclave submit --policy vote` with real processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_lab import AGENT, Lab, Node, agreed, eventually, lab, refused

pytestmark = pytest.mark.e2e


def workers(here: Lab, *names: str) -> list[Node]:
    nodes = here.network(*names)
    for node in nodes:
        node.up(str(AGENT), seeds=tuple(other for other in nodes if other is not node))
    for node in nodes:
        node.until_up()
    eventually(lambda: agreed(nodes), "a leader")
    return nodes


def test_a_task_waits_for_its_voters_and_a_guardian_stops_another(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        nodes = workers(here, "ada", "bob", "cyd")
        voting = ("--policy", "vote", "--threshold", "1/2", "--json")

        def rows() -> Any:
            said = nodes[0].run("tasks", "--json").json
            return {task["task_id"]: task for task in said["tasks"]}

        def question(node: Node, task: str) -> Any:
            rows = node.run("vote", "--json").json
            return next((row["id"] for row in rows if task[:12] in row["question"]), None)

        said = nodes[0].run("submit", "lab.add", '{"a": 2, "b": 3}', "--key", "sum", *voting).json
        assert (said["state"], said["vote"]["needed"]) == ("pending", 2)
        asked = eventually(lambda: question(nodes[1], said["task"]), "the question")
        assert f"vote {asked[:12]}" in nodes[2].run("tasks").out
        for node in nodes[1:]:
            assert node.run("vote", asked, "approve", "--reason", "fine").status == 0
        task = said["task"]
        eventually(lambda: rows()[task]["state"] == "done", "the result")
        assert rows()[task]["executions"] == 1

        words = ("submit", "lab.echo", "hello", *voting, "--may-veto", "cyd")
        said = nodes[0].run(*words).json
        asked = eventually(lambda: question(nodes[2], said["task"]), "the second question")
        assert nodes[2].run("vote", asked, "veto", "--reason", "not today").status == 0
        eventually(lambda: rows()[said["task"]]["state"] == "parked", "the veto")
        shown = nodes[1].run("tasks").out
        assert "NotApproved" in shown
        assert "cyd vetoed (not today)" in rows()[said["task"]]["error"][1]
        assert rows()[said["task"]]["executions"] == 0
        assert nodes[0].run("retry", said["task"]).status == 0
        asked = eventually(lambda: question(nodes[2], said["task"]), "the third question")
        for node in nodes:
            assert node.run("vote", asked, "approve").status == 0
        eventually(lambda: rows()[said["task"]]["state"] == "done", "the approval")
        refused(
            nodes[0].run("submit", "lab.echo", "x", "--voter", "ada"), "only a task with policy"
        )
        refused(
            nodes[0].run("submit", "lab.echo", "x", "--policy", "vote", "--voter", "eve"),
            "eve is none of those who could vote",
        )
