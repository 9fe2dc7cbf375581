"""The same scripts on processes of `conclave up` on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents import Agent, NodeNotUp
from agents.chaos import ChaosNet, load_scenario, run_real_scenario
from agents.chaos.processes import ProcessWorld, _queued_s

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[3] / "examples" / "chaos"
adder = Agent("adder")


@adder.serve("math.add")
async def add(a: int, b: int) -> int:
    return a + b


def test_the_scenario_of_the_killed_leader_is_green_on_processes() -> None:
    run = run_real_scenario(load_scenario(EXAMPLES / "leader_killed.py"), 1, loopback=True)
    assert run.passed, run.error + "\n".join(map(str, run.checks))
    assert run.world == "real"
    assert any("is killed" in event.text for event in run.events)


def test_processes_stand_still_and_are_killed_and_none_is_left() -> None:
    pids: dict[str, int] = {}

    async def scenario(net: ChaosNet) -> None:
        await net.up(2, agents=[adder], voters=1)
        world = net._world
        assert isinstance(world, ProcessWorld)
        for name in net.nodes:
            process = world._machines[name].process
            assert process is not None
            pids[name] = process.pid
        client = net.client("a")
        assert await client.call("math.add", 1, 2, peer="b", deadline=10) == 3
        began_ms = net.now_ms
        await net.pause("b", 1.5)
        assert await client.call("math.add", 1, 2, peer="b", deadline=20) == 3
        assert net.now_ms - began_ms > 1000
        await net.crash("b")
        with pytest.raises(NodeNotUp):
            await net.client("b").status()

    run = run_real_scenario(scenario, 1, loopback=True)
    assert run.passed, run.error + "\n".join(map(str, run.checks))
    for pid in pids.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda net: net.isolate("a"), "a fault of the network: the real world cannot do this"),
        (lambda net: net.disk_full("a"), "all nodes have this machine's disk"),
        (lambda net: net.up(1, agents=[lambda: adder]), "an Agent that a file calls"),
    ],
)
def test_what_this_world_cannot_do_is_said_when_it_is_asked_for(ask, words: str) -> None:  # type: ignore[no-untyped-def]
    async def scenario(net: ChaosNet) -> None:
        net._names = ["a", "b"]  # nobody has to run for a refusal
        await ask(net)

    assert words in run_real_scenario(scenario, 1, loopback=True).error


def test_a_process_that_ends_by_itself_is_told_of() -> None:
    async def scenario(net: ChaosNet) -> None:
        await net.up(1, agents=["no_such_file.py"], voters=1)

    run = run_real_scenario(scenario, 1, loopback=True)
    assert "a does not come up: conclave: there is no file no_such_file.py" in run.error


def test_what_a_busy_machine_takes_from_a_node_that_starts_is_not_counted() -> None:
    here = min(os.sched_getaffinity(0))
    words = [sys.executable, "-c", f"import os\nos.sched_setaffinity(0, {{{here}}})\nwhile 1: pass"]
    with subprocess.Popen(words) as one, subprocess.Popen(words) as other:
        try:
            until_s = time.monotonic() + 30
            while _queued_s(one.pid) < 0.1 and time.monotonic() < until_s:
                os.sched_yield()
            assert _queued_s(one.pid) >= 0.1, "two that want one processor wait for each other"
        finally:
            one.kill()
            other.kill()
    assert _queued_s(one.pid) == 0.0, "it has ended"
