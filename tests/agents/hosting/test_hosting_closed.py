"""Agents that run nothing now, and handlers that do not end."""

from __future__ import annotations

import asyncio
import threading

import pytest
from hosting_lab import call, context, hosting, incoming, run

from agents import Agent
from agents.errors import AgentClosed
from agents.hosting import to_bytes
from agents.hosting.host import STUCK_AFTER_MS
from p2p import Incoming, NoSuchMethod


def bench() -> tuple[Agent, threading.Event]:
    agent, may_go = Agent("bench", capacity=1), threading.Event()

    @agent.serve("lab.hold")
    def hold(now: bool) -> str:
        if now:
            may_go.wait(30)
        return "done"

    return agent, may_go


def test_a_closed_agent_runs_nothing_until_all_have_opened_it() -> None:
    agent, _ = bench()

    async def main() -> None:
        with hosting(agent) as host:
            host.close_agent("bench", "health", "it has failed")
            host.close_agent("bench", "standby", "it stands by")
            with pytest.raises(NoSuchMethod, match="it has failed; it stands by"):
                await call(host, "lab.hold", False)
            with pytest.raises(AgentClosed, match="agent bench runs nothing now: it has failed"):
                await host.run_task("lab.hold", to_bytes([[False], {}]), context("lab.hold"))
            host.open_agent("bench", "health")
            with pytest.raises(NoSuchMethod, match="it stands by"):
                await call(host, "lab.hold", False)
            host.open_agent("bench", "standby")
            host.open_agent("bench", "standby")
            assert await call(host, "lab.hold", False) == "done"
            assert host.running == 0

    run(main())


def test_handlers_past_their_deadline_are_stuck_and_new_threads_go_on_without_them() -> None:
    agent, may_go = bench()

    async def main() -> None:
        with hosting(agent) as host:
            asked = incoming()
            late = Incoming(asked.caller, asked.method, 1_000, b"", 1)
            holding = [
                asyncio.ensure_future(
                    host.run_call("lab.hold", [True], {}, late, lambda _, name: context(name))
                )
                for _ in range(4)
            ]
            await asyncio.sleep(0)
            assert host.sample(agent, 1_000 + STUCK_AFTER_MS, 0).stuck == 0
            sample = host.sample(agent, 1_001 + STUCK_AFTER_MS, 7)
            assert (sample.stuck, sample.threads, sample.lag_ms) == (4, 4, 7)
            waits = asyncio.ensure_future(call(host, "lab.hold", False))
            await asyncio.wait({waits}, timeout=0.2)
            assert not waits.done()
            host.renew_threads(agent)
            assert await call(host, "lab.hold", False) == "done"
            assert host.sample(agent, 2**40, 0).stuck == 0
            may_go.set()
            assert await asyncio.gather(*holding, waits) == [to_bytes("done")] * 4 + ["done"]

    run(main())
