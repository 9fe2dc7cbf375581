"""Processes that leave, are killed, or are alone; and two networks on one machine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from cli_lab import (
    AGENT,
    Lab,
    Node,
    agreed,
    conclave,
    eventually,
    lab,
    leader_of,
    patient,
    refused,
)

from agents.net import Net
from agents.task import Tasks

pytestmark = pytest.mark.e2e


def submit_marks(node: Node, file: Path, count: int, hold_s: float) -> tuple[str, ...]:
    """Submit tasks that leave marks, and return their ids."""

    async def ask(net: Net) -> tuple[str, ...]:
        tasks = await net.submit_many(
            "lab.mark",
            [{"path": str(file), "key": f"k{n}", "hold_s": hold_s} for n in range(count)],
        )
        return tasks.ids

    return tuple(node.ask(ask))


def results_of(node: Node, ids: tuple[str, ...]) -> list[int]:
    async def ask(net: Net) -> list[int]:
        return await Tasks(net._gate, ids, "lab.mark").results(timeout=20)

    return list(node.ask(ask))


def marks(file: Path) -> list[list[str]]:
    """`[key, began | ended, pid]` in the order of writing."""
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def test_ctrl_c_leaves_in_under_two_seconds_and_the_others_hear_the_goodbye(
    tmp_path: Path,
) -> None:
    with lab(tmp_path) as here:
        nodes = here.network("ada", "bob", "cyd")
        here.up(nodes)
        leader = leader_of(nodes)
        others = [n for n in nodes if n is not leader]
        assert leader.interrupt() < patient(2)
        assert leader.process is not None
        assert leader.process.returncode == 0
        assert "Traceback" not in leader.log
        for node in others:
            eventually(lambda node=node: node.states().get(leader.name) == "left", "the goodbye")
        eventually(lambda: agreed(others), "a new leader", deadline_s=patient(5))


def test_a_killed_leader_is_replaced_and_the_task_it_was_told_of_completes(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        nodes = here.network("ada", "bob", "cyd")
        here.up(nodes)
        leader = leader_of(nodes)
        others = [n for n in nodes if n is not leader]
        ids = submit_marks(others[0], tmp_path / "marks", 4, hold_s=0.5)
        leader.kill()
        eventually(lambda: agreed(others), "a new leader")
        assert len(results_of(others[0], ids)) == 4
        eventually(lambda: others[1].states()[leader.name] == "dead", "the death noticed")


def test_tasks_of_a_killed_worker_run_elsewhere_and_each_completes_once(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        nodes = here.network("ada", "bob", "cyd")
        here.up(nodes)
        file = tmp_path / "marks"
        leader = leader_of(nodes)
        worker = next(n for n in nodes if n is not leader)
        others = [n for n in nodes if n is not worker]
        ids = submit_marks(others[0], file, 12, hold_s=0.4)
        assert worker.process is not None
        pid = str(worker.process.pid)
        eventually(lambda: any(mark[2] == pid for mark in marks(file)), "work at the worker")
        worker.kill()
        held = {mark[0] for mark in marks(file) if mark[1:] == ["began", pid]}
        assert len(results_of(others[0], ids)) == 12
        ended = [(key, by) for key, what, by in marks(file) if what == "ended"]
        # What the worker ended without being able to say so runs again; nothing else does.
        elsewhere = Counter(key for key, by in ended if by != pid)
        assert set(elsewhere.values()) == {1}
        assert held - {key for key, by in ended if by == pid} <= set(elsewhere)
        assert {key for key, _ in ended} == {f"k{n}" for n in range(12)}
        counts = others[0].run("tasks", "--json").json["counts"]
        assert {state: n for state, n in counts.items() if n} == {"done": 12}


def test_a_lone_node_of_three_cannot_submit_but_answers_calls(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        (ada,) = here.network("ada")
        ada.up(str(AGENT)).until_up()
        said = ada.run("submit", "lab.add", "[1]")
        refused(said, "NoQuorum", "1 of 3")
        assert said.took_s < patient(5)
        assert ada.run("call", "lab.add", "1", "2").out == "3.0\n"
        assert "NoQuorum" in ada.run("status").out


def test_two_of_three_decide_and_one_of_them_alone_does_not(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        nodes = here.network("ada", "bob", "cyd")
        here.up(nodes)
        ada, bob, cyd = nodes
        cyd.kill()
        eventually(lambda: agreed([ada, bob]), "a leader of two")
        assert ada.run("submit", "lab.add", '{"a": 1, "b": 1}', "--wait").out == "2.0\n"
        bob.kill()
        eventually(lambda: ada.states()["bob"] == "dead", "the second death noticed")
        eventually(lambda: ada.status()["leader"] is None, "nobody leads")
        refused(ada.run("submit", "lab.add", "[1]"), "NoQuorum", "1 of 3 voters are reachable")
        bob.up(str(AGENT), seeds=(ada,))
        eventually(lambda: agreed([ada, bob]), "a leader after the restart")
        listed = bob.run("tasks", "--json").json
        assert listed["counts"]["done"] == 1


def test_two_networks_on_one_machine_do_not_mix(tmp_path: Path) -> None:
    with lab(tmp_path) as here:
        (red,) = here.network("red", voters=1, label="reds")
        (blue,) = here.network("blue", voters=1, label="blues")
        red.up(str(AGENT), mdns=True)
        blue.up(seeds=(red,), mdns=True)
        for node in (red, blue):
            node.until_up()
            eventually(lambda node=node: agreed([node]), "a leader of one")
        refused_by_the_other(here, red, blue)


def refused_by_the_other(here: Lab, red: Node, blue: Node) -> None:
    def noticed() -> bool:
        return "network" in blue.run("doctor", "--json").out

    eventually(noticed, "the doctor of blue")
    assert blue.states() == {"blue": "alive"}
    assert red.states() == {"red": "alive"}
    refused(blue.run("call", "lab.add", "1", "2"), "nobody offers 'lab.add'")
    ticket = conclave("invite", "--home", str(blue.home)).out.strip()
    assert ticket.startswith("conclave1-")
    wrong = conclave("invite", "--home", str(blue.home), "--address", f"127.0.0.1:{red.port}")
    newcomer = here.node("newcomer")
    said = newcomer.run("join", wrong.out.strip(), "--wait", "2")
    refused(said, "another network")
