"""The health of agents on whole nodes: who is asked, who is restarted, who hears of it."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from node_lab import NodeLab, in_lab, until

from agents import Agent, Net
from agents.errors import AgentHopeless, BadAgent, NoProvider
from agents.health import Health
from agents.net_health import HealthChange
from agents.node import Node
from p2p import NoSuchMethod


class Patient:
    """An agent that is as one says."""

    def __init__(self, name: str = "patient") -> None:
        self.word: Any = "healthy"
        self.calls = 0
        self.starts: list[str] = []
        self.breaks_at_start = False
        agent = self.agent = Agent(name, capacity=2)

        @agent.serve("who.are_you")
        async def who() -> str:
            self.calls += 1
            return name

        @agent.health(every=1, limit=1)
        async def check() -> Any:
            if isinstance(self.word, Exception):
                raise self.word
            return self.word

        @agent.on_start
        async def start(net: Net) -> None:
            self.starts.append("start")
            if self.breaks_at_start:
                raise OSError("no disk")
            self.word = "healthy"

        @agent.on_stop
        def stop() -> None:
            self.starts.append("stop")


def state_of(node: Node, agent: str) -> Health | None:
    return next((card.condition.state for _, card in node.directory if card.name == agent), None)


async def asked(net: Net, times: int = 40) -> Counter[str]:
    return Counter([await net.call("who.are_you") for _ in range(times)])


def test_who_is_degraded_is_asked_only_when_nobody_else_is_there(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        one, two = Patient("one"), Patient("two")
        await lab.up("a", [one.agent])
        b = await lab.up("b", [two.agent])
        c = await lab.up("c")
        await until(lambda: len(c.directory.providers("who.are_you")) == 2)
        assert set(await asked(c.net)) == {"one", "two"}
        one.word = ("degraded", "it is hot")
        await until(lambda: state_of(c, "one") is Health.DEGRADED)
        assert set(await asked(c.net)) == {"two"}
        two.word = "failed"
        await until(lambda: state_of(c, "two") is Health.FAILED)
        assert set(await asked(c.net)) == {"one"}
        one.word = two.word = "healthy"
        await until(lambda: {state_of(c, n) for n in ("one", "two")} == {Health.HEALTHY}, 60)
        assert set(await asked(c.net)) == {"one", "two"}
        rows = {row["agent"]: row for row in await b.net.agents_health.show()}
        assert rows["one"]["health"] == "healthy"

    in_lab(tmp_path, scenario)


def test_a_failed_agent_gets_no_call_and_no_task_and_is_restarted_in_place(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        sick = Patient()
        a = await lab.up("a", [sick.agent])
        b, _ = await lab.up("b"), await lab.up("c")
        await until(lambda: state_of(b, "patient") is Health.HEALTHY)
        changes: list[HealthChange] = []

        async def watch() -> None:
            async for change in b.net.agents_health.watch():
                changes.append(change)

        watching = asyncio.ensure_future(watch())
        await until(lambda: lab.leader() is not None)
        sick.breaks_at_start, sick.word = True, OSError("no disk")
        await until(lambda: state_of(b, "patient") is Health.FAILED)
        failed = f"'who.are_you'; .* failed: patient on {re.escape(b.peer.label(a.peer.peer_id))}"
        with pytest.raises(NoProvider, match=failed):
            await b.net.call("who.are_you", deadline=2)
        with pytest.raises(NoSuchMethod, match="it has failed: its start raised OSError"):
            await b.net.call("who.are_you", peer=a.peer.peer_id, deadline=2)
        task = await b.net.submit("who.are_you")
        await asyncio.sleep(3)
        assert sick.calls == 0
        sick.breaks_at_start = False
        assert await task.result(timeout=60) == "patient"
        await until(lambda: state_of(b, "patient") is Health.HEALTHY, 60)
        assert [c.state for c in changes] == ["degraded", "failed", "degraded", "healthy"]
        assert changes[1].before is Health.DEGRADED
        assert changes[2].reason.startswith("it was restarted after: its start raised OSError")
        assert sick.starts[:2] == ["start", "stop"]
        assert sick.starts.count("start") == sick.starts.count("stop") + 1
        watching.cancel()

    in_lab(tmp_path, scenario)


def test_an_agent_offers_nothing_before_it_was_started(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        sick = Patient()
        sick.breaks_at_start = True
        a, b = await lab.up("a", [sick.agent]), await lab.up("b")
        await until(lambda: state_of(b, "patient") is Health.FAILED)
        assert not b.directory.providers("who.are_you")
        (found,) = [f for f in await a.net.doctor() if f["topic"] == "agents"]
        assert found["level"] == "problem"
        assert "patient of" in found["said"]
        assert "its start raised OSError: no disk" in found["said"]
        sick.breaks_at_start = False
        await until(lambda: b.directory.providers("who.are_you"), 60)

    in_lab(tmp_path, scenario, voters=1)


def test_a_supervised_node_ends_when_restarts_do_not_help(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        sick = Patient()
        a = await lab.up("a", [sick.agent])
        a._is_supervised = True
        sick.breaks_at_start, sick.word = True, "failed"
        async with asyncio.timeout(120):
            error = await a.until_failed()
        assert isinstance(error, AgentHopeless)
        assert "agent patient has failed again after 5 restarts" in str(error)

    in_lab(tmp_path, scenario, voters=1)


def test_a_node_without_a_supervisor_goes_on(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        sick, fine = Patient(), Patient("fine")
        del fine.agent._handlers["who.are_you"]
        a = await lab.up("a", [sick.agent, fine.agent])
        sick.breaks_at_start, sick.word = True, "failed"
        await until(lambda: len(sick.starts) > 16, 900)
        assert a.failure is None
        assert state_of(a, "fine") is Health.HEALTHY
        sick.breaks_at_start = False
        await until(lambda: state_of(a, "patient") is Health.HEALTHY, 200)

    in_lab(tmp_path, scenario, voters=1)


def test_a_check_that_hangs_is_a_failure_and_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.health.life._is_inline", lambda: False)

    async def scenario(lab: NodeLab) -> None:
        agent, may_go = Agent("stuck"), threading.Event()
        begun: list[int] = []

        @agent.health(every=1, limit=1)
        def check() -> None:
            begun.append(1)
            may_go.wait(30)

        a = await lab.up("a", [agent])
        try:
            await until(lambda: state_of(a, "stuck") is Health.FAILED, 60)
            await until(lambda: state_of(a, "stuck") is Health.DEGRADED, 60)
            await until(lambda: state_of(a, "stuck") is Health.FAILED, 60)
            assert begun == [1]
        finally:
            may_go.set()

    in_lab(tmp_path, scenario, voters=1)


def test_what_cannot_be_declared() -> None:
    agent = Agent("a")
    agent.health()(lambda: None)
    agent.on_start(lambda: None)
    agent.on_stop(lambda: None)
    with pytest.raises(BadAgent, match="two health checks"):
        agent.health()
    with pytest.raises(BadAgent, match="two functions for its start"):
        agent.on_start(lambda: None)
    with pytest.raises(BadAgent, match="two functions for its end"):
        agent.on_stop(lambda: None)
    for every, limit in ((0, 1), (-1, 1), (1, 0), (1, 61), (float("nan"), 1)):
        with pytest.raises(BadAgent, match="a health check is every"):
            Agent("b").health(every=every, limit=limit)
