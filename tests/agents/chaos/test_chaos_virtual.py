"""Whole nodes under faults in virtual time: that faults bite, and that runs repeat."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
import weakref
from pathlib import Path

import pytest

from agents import Agent, NodeNotUp, NoQuorum, OutcomeUnknown
from agents.chaos import (
    BadScenario,
    CannotHere,
    ChaosNet,
    NoSuchNode,
    NotSettled,
    Run,
    load_scenario,
    run_virtual_scenario,
)
from agents.chaos.running import Scenario
from agents.chaos.timeline import What

EXAMPLES = Path(__file__).parents[3] / "examples" / "chaos"


def worker(beats: list[str] | None = None) -> Agent:
    agent = Agent("worker", capacity=4)

    @agent.serve("math.add")
    async def add(a: int, b: int) -> int:
        return a + b

    @agent.serve("heart.beats")
    async def beat(name: str) -> None:
        assert beats is not None
        for _ in range(100):
            beats.append(name)
            await asyncio.sleep(0.1)

    return agent


def green(scenario: Scenario, seed: int = 5) -> Run:
    run = run_virtual_scenario(scenario, seed)
    assert run.passed, f"seed {seed}: {run.error}\n" + "\n".join(map(str, run.checks))
    return run


def texts(run: Run, what: What) -> list[str]:
    return [f"{event.node} {event.text}".strip() for event in run.events if event.what is what]


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_every_scenario_that_is_shipped_is_green(name: str) -> None:
    for seed in range(2):
        run = run_virtual_scenario(load_scenario(EXAMPLES / f"{name}.py"), seed)
        lines = [run.error, *map(str, run.checks)]
        assert run.passed, f"conclave chaos run {name}.py --seed {seed}\n" + "\n".join(lines)
        assert len(run.checks) >= 3


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    path = EXAMPLES / "slow_and_lossy.py"
    runs = [run_virtual_scenario(load_scenario(path), seed) for seed in (3, 3, 4)]
    assert runs[0].events == runs[1].events
    assert runs[0].digest == runs[1].digest != runs[2].digest


def test_chance_and_time_are_the_machine_s_again_after_a_run() -> None:
    before = (os.urandom, secrets.token_bytes, time.time, time.monotonic)
    seen: list[float] = []

    async def scenario(net: ChaosNet) -> None:
        await net.up(1, voters=1)
        began = time.time()
        await net.sleep(100)
        seen.append(time.time() - began)

    green(scenario)
    assert (os.urandom, secrets.token_bytes, time.time, time.monotonic) == before
    assert seen == [pytest.approx(100)]


def test_a_killed_node_runs_not_one_more_line_and_comes_back_with_its_files() -> None:
    beats: list[str] = []

    async def scenario(net: ChaosNet) -> None:
        await net.up(3, agents=[lambda: worker(beats)])
        client = net.client("c")
        await client.kv.put("k", 1)
        calling = net.spawn(asyncio.wait_for(client.call("heart.beats", "b", peer="b"), 60))
        await net.sleep(1)
        await net.crash("b")
        count = len(beats)
        assert count > 3
        await asyncio.wait([calling])
        await net.sleep(30)
        assert len(beats) == count
        with pytest.raises(NodeNotUp):
            await net.client("b").status()
        await net.restart("b")
        await net.settle()
        assert await net.client("b").kv.get("k", stale_ok=True) == 1
        net._spawned.remove(calling)
        calling.exception()

    green(scenario)


def test_a_program_hears_that_its_node_died_while_it_waited() -> None:
    async def scenario(net: ChaosNet) -> None:
        await net.up(3)
        await net.partition(["a"], ["b", "c"])
        asking = asyncio.ensure_future(net.client("a").kv.get("k", timeout=30))
        await net.sleep(0.1)
        await net.crash("a")
        with pytest.raises(NodeNotUp):
            await asking

    green(scenario)


def test_a_node_that_stands_still_does_nothing_and_then_goes_on() -> None:
    beats: list[str] = []

    async def scenario(net: ChaosNet) -> None:
        await net.up(3, agents=[lambda: worker(beats)])
        calling = net.spawn(net.client("b").call("heart.beats", "b", peer="b", deadline=60))
        await net.sleep(1)
        await net.pause("b", 5)
        count = len(beats)
        await net.sleep(4.9)
        assert len(beats) == count
        await calling
        assert len(beats) == 100

    run = green(scenario)
    assert any("declares b dead" in text for text in texts(run, What.PEER))


def test_a_cut_in_one_direction_lets_the_other_pass() -> None:
    async def scenario(net: ChaosNet) -> None:
        await net.up(3, voters=1)  # "a" alone decides
        await net.cut(["c"], ["a", "b"])
        with pytest.raises((NoQuorum, OutcomeUnknown)):
            await net.client("c").kv.put("k", 1, timeout=3)
        assert await net.client("b").kv.put("k", 2, timeout=3) > 0

    green(scenario)


def test_the_minority_learns_that_it_is_one_and_settle_says_what_is_missing() -> None:
    async def scenario(net: ChaosNet) -> None:
        await net.up(3)
        leader = await net.isolate_leader()
        await net.sleep(5)
        with pytest.raises(NotSettled, match="alive, and a, b, c are"):
            await net.settle(within=5)
        assert await net.leader(other_than=leader) != leader
        with pytest.raises(NoQuorum):
            await net.client(leader).kv.put("k", 1, timeout=5)

    green(scenario)


def test_late_and_narrow_links_make_calls_slow_by_as_much() -> None:
    async def scenario(net: ChaosNet) -> None:
        await net.up(2, agents=[worker], voters=1)

        async def took(text: str) -> float:
            began = net.now_ms
            await net.client("a").call("math.add", 1, len(text), peer="b", deadline=60)
            return (net.now_ms - began) / 1000

        assert await took("") < 0.05
        await net.delay("a", "b", 200)
        assert 0.4 <= await took("") < 0.5
        await net.heal()
        await net.delay("a", "b", 200, one_way=True)
        assert 0.2 <= await took("") < 0.3
        await net.heal()
        await net.loss("a", "b", 0.3)
        slow = [await took("") for _ in range(10)]
        assert max(slow) >= 0.2
        await net.heal()
        await took("")  # behind what was lost before, and is on its way again
        assert await took("") < 0.05

    green(scenario)


def test_a_voter_with_a_full_disk_keeps_nobody_from_deciding_and_recovers() -> None:
    async def scenario(net: ChaosNet) -> None:
        await net.up(3)
        leader = await net.leader()
        full, other = (name for name in net.nodes if name != leader)
        await net.disk_full(full)
        assert await net.client(leader).kv.put("k", 1, timeout=10) > 0
        await net.disk_full(other)
        with pytest.raises((NoQuorum, OutcomeUnknown)):
            await net.client(leader).kv.put("k", 2, timeout=5)
        await net.disk_full(full, False)
        await net.disk_full(other, False)
        await net.sleep(5)
        assert await net.client(full).kv.put("k", 3, timeout=20) > 0

    green(scenario)


def test_a_clock_that_is_wrong_is_wrong_for_its_node_alone() -> None:
    async def scenario(net: ChaosNet) -> None:
        await net.up(2, voters=1)
        await net.clock("b", -3600)
        clocks = [net.client(name)._clock.wall_ms() for name in net.nodes]
        assert clocks[0] - clocks[1] == 3_600_000

    said = texts(green(scenario), What.FAULT)
    assert said[-1] == "b its clock is right", "every fault is ended at the end"


def test_packets_that_come_twice_or_late_are_for_processes() -> None:
    async def scenario(net: ChaosNet) -> None:
        net._names = ["a", "b"]  # nobody has to run for a refusal
        assert not net.can("duplicate")
        with pytest.raises(CannotHere, match="it arrives once, and in order"):
            await net.duplicate("a", "b", 0.1)
        await net.loss("a", "b", 0.1)  # what was refused is forgotten
        await net.reorder("a", "b", 0.1)

    assert (
        "CannotHere: duplicate, reorder: the virtual world"
        in run_virtual_scenario(scenario, 1).error
    )


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda net: net.loss("a", "b", 1.0), "a share is 0 to below 1; for all of it"),
        (lambda net: net.duplicate("a", "b", -0.1), "a share is 0 to below 1"),
        (lambda net: net.delay("a", "b", 20, 10), "delay 20 to 10 ms"),
        (lambda net: net.delay("a", "b", 0, 1e9), "both are 0 to 60000"),
        (lambda net: net.slow_link("a", "b", 0), "some pass; for none, `partition`"),
        (lambda net: net.slow_link("a", "b", float("nan")), "some pass"),
    ],
)
def test_what_makes_no_sense_for_a_link_is_refused(ask, words: str) -> None:  # type: ignore[no-untyped-def]
    async def scenario(net: ChaosNet) -> None:
        net._names = ["a", "b"]
        await ask(net)

    assert words in run_virtual_scenario(scenario, 1).error


def test_what_fails_beside_the_script_fails_the_run() -> None:
    async def scenario(net: ChaosNet) -> None:
        await net.up(1, voters=1)

        async def fails() -> None:
            raise ZeroDivisionError("beside")

        net.spawn(fails())

    run = run_virtual_scenario(scenario, 1)
    assert not run.passed
    assert run.error.startswith("ZeroDivisionError: beside\n  test_chaos_virtual.py")


def test_a_name_that_is_no_node_s_is_told_with_those_that_are() -> None:
    async def scenario(net: ChaosNet) -> None:
        await net.up(2, voters=1)
        with pytest.raises(NoSuchNode, match="there is no node 'z'; there are a, b"):
            await net.crash("z")

    green(scenario)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1", "has no `async def scenario"),
        ("def scenario(net): ...", "has no `async def scenario"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_file_that_is_no_scenario_is_refused_in_words(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "some_scenario.py"
    path.write_text(text)
    with pytest.raises(BadScenario, match=words):
        load_scenario(path)
    with pytest.raises(BadScenario, match="there is no file"):
        load_scenario(tmp_path / "none.py")


def test_a_run_is_let_go_by_the_time_the_next_has_ended() -> None:
    made: list[weakref.ref[ChaosNet]] = []

    async def scenario(net: ChaosNet) -> None:
        made.append(weakref.ref(net))
        await net.up(1, voters=1)

    for seed in range(4):
        assert run_virtual_scenario(scenario, seed).passed
    assert [one() is None for one in made[1:3]] == [True, True]  # the first may stay, as what loads
