"""`conclave raft`: status, hand-over, members, snapshots, backups, the way out of a disaster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_lab import AGENT, Lab, Node, Said, conclave, eventually, lab, refused

from agents.net import Net

pytestmark = pytest.mark.e2e


def raft(node: Node, *words: str) -> Said:
    return conclave("raft", *words, "--home", str(node.home), timeout_s=90)


def led_by(node: Node) -> str | None:
    said: str | None = raft(node, "status", "--json").json["leader_name"]
    return said and said.split(" ")[0]


def network(here: Lab, names: tuple[str, ...]) -> list[Node]:
    nodes: list[Node] = here.network(*names)
    here.up(nodes)
    return nodes


def submit(node: Node, file: Path, key: str) -> str:
    async def ask(net: Net) -> str:
        task = await net.submit("lab.mark", {"path": str(file), "key": key, "hold_s": 0}, key=key)
        await task.result(timeout=20)
        return str(task.id)

    return str(node.ask(ask))


def test_a_person_looks_and_changes_who_leads_and_votes(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        nodes = network(here, ("ada", "bob", "cyd"))
        said = raft(nodes[0], "status")
        assert said.status == 0
        assert said.out.count("voter") >= 3
        plain = raft(nodes[1], "transfer")
        refused(plain, "bob lacks the permission RAFT_ADMIN, which the role admin gives")
        leader = led_by(nodes[0])
        other = next(n for n in nodes if n.name != leader)
        assert raft(nodes[0], "transfer", other.name).status == 0
        eventually(lambda: led_by(nodes[0]) == other.name, "the hand-over")
        gone = next(n for n in nodes if n.name != led_by(nodes[0]))
        assert raft(nodes[0], "remove-voter", gone.name).status == 0
        again = raft(nodes[0], "remove-voter", gone.name)  # as after an answer that was lost
        assert (again.status, "2 voters" in again.out) == (0, True)
        rows: Any = raft(other, "status", "--json").json
        assert len(rows["voters"]) == 2
        assert "off" in rows["autopilot"]
        assert raft(nodes[0], "add-voter", gone.name).status == 0
        assert len(raft(other, "status", "--json").json["voters"]) == 3
        again = raft(nodes[0], "add-voter", gone.name)  # as after an answer that was lost
        assert (again.status, "3 voters" in again.out) == (0, True)
        refused(raft(nodes[0], "add-voter", "nobody"), "nobody")
        assert raft(nodes[0], "autopilot", "on").status == 0
        assert "snapshot up to entry" in raft(gone, "snapshot").out


def test_a_disaster_and_the_way_out_of_it(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        nodes = network(here, ("ada", "bob", "cyd"))
        task = submit(nodes[0], tmp_path / "marks", "k")
        leader = next(n for n in nodes if n.name == led_by(nodes[0]))
        backup = tmp_path / "saved"
        said = raft(leader, "backup", str(backup))
        assert said.status == 0, said
        assert backup.stat().st_mode & 0o777 == 0o600
        refused(raft(leader, "backup", str(backup)), "exists already")
        refused(raft(nodes[0], "force-new-cluster", "--yes"), "in use by process")
        for node in nodes[1:]:
            node.kill()
        nodes[0].interrupt()
        no = raft(nodes[0], "force-new-cluster")
        assert no.status != 0
        assert "--yes" in no.err
        done = raft(nodes[0], "force-new-cluster", "--yes")
        assert done.status == 0, done
        assert "generation 1" in done.out
        nodes[0].up(str(AGENT)).until_up()
        eventually(lambda: raft(nodes[0], "status").status == 0, "the start")
        eventually(lambda: led_by(nodes[0]) == "ada", "the new log")
        tasks = conclave("tasks", "--json", "--home", str(nodes[0].home)).json
        assert [row["task_id"] for row in tasks["tasks"]] == [task]
        # One that was not told stops by itself and says what to do.
        nodes[1].up(seeds=(nodes[0],))
        eventually(lambda: not nodes[1].is_running, "the stop of a member of the old log")
        assert "conclave raft rejoin" in nodes[1].log
        assert raft(nodes[1], "rejoin", "--yes").status == 0
        nodes[1].up(seeds=(nodes[0],)).until_up()
        eventually(lambda: "bob" in nodes[0].states(), "the meeting")
        eventually(lambda: raft(nodes[0], "add-voter", "bob").status == 0, "the new voter")
        assert len(raft(nodes[0], "status", "--json").json["voters"]) == 2
