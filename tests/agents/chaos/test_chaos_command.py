"""`conclave chaos run` and the fixture, as people use them; and an agent that is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agents.cli.main import main

if TYPE_CHECKING:
    from agents.chaos.fixture import Sim

pytest_plugins = ["agents.chaos.fixture"]

EXAMPLES = Path(__file__).parents[3] / "examples" / "chaos"

FORGETFUL = '''
"""A shop that says yes to an order before it has written it down anywhere."""

from agents import Agent


def shop():
    agent, orders = Agent("shop"), []

    @agent.serve("shop.order")
    async def order(what: str) -> int:
        orders.append(what)
        return len(orders)

    @agent.serve("shop.orders")
    async def count() -> int:
        return len(orders)

    return agent


async def scenario(net):
    await net.up(3, agents=[shop])
    client = net.client("a")
    for n in range(3):
        await client.call("shop.order", f"book {n}", peer="b")
    await net.restart("b")
    await net.settle()
    kept = await client.call("shop.orders", peer="b")
    net.expect.that("no order is forgotten", kept == 3, f"{kept} of 3 orders are there")
'''


@pytest.fixture
def forgetful(tmp_path: Path) -> Path:
    path = tmp_path / "forgetful.py"
    path.write_text(FORGETFUL)
    return path


def test_a_broken_agent_is_found_and_the_run_says_where_and_how_to_replay(
    forgetful: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chaos", "run", str(forgetful), "--seed", "3"]) == 1
    out = capsys.readouterr().out
    assert "fault   b     is killed" in out
    assert "FAILED     no order is forgotten at " in out
    assert ": 0 of 3 orders are there" in out
    assert f"replay: conclave chaos run {forgetful} --seed 3\n" in out


def test_many_seeds_are_counted_and_only_failures_are_shown(
    forgetful: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["chaos", "run", str(forgetful), "--seeds", "0:3", "--workers", "2"]
    assert main(words) == 1
    out = capsys.readouterr().out
    assert out.count("replay: ") == 3
    assert "0 green, 3 failed" in out
    assert main(["chaos", "run", str(EXAMPLES / "leader_killed.py"), "--seeds", "0:3"]) == 0
    assert capsys.readouterr().out.startswith("3 green, 0 failed; ")


def test_json_says_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chaos", "run", str(EXAMPLES / "split_brain.py"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["passed"]
    assert said["world"] == "virtual"
    assert {"at_ms", "what", "node", "text", "facts"} == set(said["events"][0])


def test_traces_are_alike_under_other_hash_seeds() -> None:
    def trace(hash_seed: str) -> str:
        words = [sys.executable, "-m", "agents.cli.chaos", str(EXAMPLES / "rolling_restart.py")]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        out = subprocess.run(
            [*words, "11", "12"], env=environment, capture_output=True, text=True, check=True
        ).stdout
        said = json.loads(out.partition("chaos ")[2])
        del said["took_s"]
        return json.dumps(said)

    assert trace("1") == trace("2") == trace("77")


@pytest.mark.parametrize("words", ["5:5", "x", "1:y", "7:3"])
def test_a_span_of_seeds_that_is_none_is_refused(words: str) -> None:
    with pytest.raises(SystemExit):
        main(["chaos", "run", "x.py", "--seeds", words])


def test_the_fixture_runs_a_scenario_with_many_seeds(sim: Sim) -> None:
    async def scenario(net):  # type: ignore[no-untyped-def]
        await net.up(3)
        await net.crash(net.random.choice(net.nodes))
        await net.client(net.living[0]).kv.put("k", 1, timeout=20)

    assert sim(scenario, seeds=range(3)).passed


def test_the_fixture_fails_a_test_with_the_verdict_and_the_seed(
    sim: Sim, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(net):  # type: ignore[no-untyped-def]
        await net.up(1, voters=1)
        net.expect.that("one is two", False)

    with pytest.raises(pytest.fail.Exception, match="replay: CONCLAVE_SEEDS=4 pytest") as caught:
        sim(scenario, seeds=[4])
    assert "FAILED    one is two at 0." in str(caught.value)
    monkeypatch.setenv("CONCLAVE_SEEDS", "8:9")
    with pytest.raises(pytest.fail.Exception, match="CONCLAVE_SEEDS=8"):
        sim(scenario, seeds=[4])
