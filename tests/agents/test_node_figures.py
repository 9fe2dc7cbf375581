"""The figures of a node, its probes, and what is measured with them, in virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from node_lab import NodeLab, in_lab, until

from agents import Agent
from agents.errors import InvalidArguments, NoOtherPeer
from agents.figures import LoopLag
from agents.node import Node
from agents.probing import COUNT, ECHO, MAX_COUNTED, MAX_ECHO_BYTES, noticed_by
from keys import PeerId
from p2p import BadRequest, HandlerFailed, Overloaded


def bench_agent() -> Agent:
    agent = Agent("bench")

    @agent.serve("lab.add", limit=1)
    async def add(a: float, b: float) -> float:
        await asyncio.sleep(1)
        return a + b

    @agent.serve("lab.fail")
    async def fail() -> None:
        raise ZeroDivisionError("no luck")

    return agent


async def pair(lab: NodeLab) -> tuple[Node, Node]:
    ada = await lab.up("ada", (bench_agent(),))
    bob = await lab.up("bob")
    await until(lambda: ada.peer.presence.present() and bob.peer.presence.present())
    return ada, bob


def capability(figures: dict[str, Any], name: str) -> dict[str, Any]:
    (row,) = [row for row in figures["capabilities"] if row["capability"] == name]
    return dict(row)


def test_calls_are_told_as_running_ended_failed_and_refused(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob = await pair(lab)
        await bob.net.wait_for("lab.add")
        slow = asyncio.create_task(bob.net.call("lab.add", 1, 2))
        await until(lambda: ada.host.running == 1)
        assert capability(await ada.net.figures(), "lab.add")["running"] == 1
        with pytest.raises(Overloaded):
            await bob.net.call("lab.add", 1, 2)
        assert await slow == 3
        with pytest.raises(BadRequest):
            await bob.net.call("lab.add", "one", "two")
        with pytest.raises(HandlerFailed):
            await bob.net.call("lab.fail")
        said = await ada.net.figures()
        add, fail = capability(said, "lab.add"), capability(said, "lab.fail")
        assert (add["calls"], add["running"], add["failed"], add["refused"]) == (1, 0, 0, 2)
        assert (fail["calls"], fail["failed"], fail["refused"]) == (1, 1, 0)
        assert sum(add["buckets"]) == 1

    in_lab(tmp_path, scenario, voters=1)


def test_every_living_peer_has_lanes_and_round_trips_when_asked(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob = await pair(lab)
        (quiet,) = (await ada.net.figures())["peers"]
        assert quiet["round_trip"] is None
        (row,) = (await ada.net.figures(pings=True))["peers"]
        assert (row["name"], row["state"]) == ("bob", "alive")
        assert row["round_trip"].keys() == {"control_ms", "data_ms"}
        assert row["lanes"]["data"]["envelopes_out"] > quiet["lanes"]["data"]["envelopes_out"]
        lab.crash(bob)
        (gone,) = (await ada.net.figures(pings=True))["peers"]
        assert gone["round_trip"].keys() == {"control_error", "data_error"}
        await until(lambda: not ada.peer.presence.present())
        (dead,) = (await ada.net.figures(pings=True))["peers"]
        assert (dead["state"], dead["round_trip"]) == ("dead", None)
        lab.nodes.pop("bob")

    in_lab(tmp_path, scenario, voters=1)


def test_topics_are_told_on_both_sides(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob = await pair(lab)
        async with bob.net.subscribe("news/") as messages:
            for number in range(3):
                await ada.net.publish("news/today", number, wait_subscribers=1)
            for _ in range(3):
                await anext(messages)
            (published,) = (await ada.net.figures())["topics"]["published"]
            assert published == {"topic": "news/today", "sequence": 3, "subscribers": 1}
            (heard,) = (await bob.net.figures())["topics"]["subscribed"]
            assert (heard["topic"], heard["received"], heard["dropped"]) == ("news/", 3, 0)
        assert (await bob.net.figures())["topics"]["subscribed"] == []

    in_lab(tmp_path, scenario, voters=1)


def test_probes_are_bounded_and_count_by_sender(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, bob = await pair(lab)
        to = ada.peer.peer_id
        assert await bob.peer.request(to, ECHO, b"x" * MAX_ECHO_BYTES, timeout_s=5)
        with pytest.raises(BadRequest, match="over the limit"):
            await bob.peer.request(to, ECHO, b"x" * (MAX_ECHO_BYTES + 1), timeout_s=5)
        for _ in range(5):
            bob.peer.notify(to, COUNT, b"")
        assert await noticed_by(bob.peer, to, 5.0) == 5
        assert await noticed_by(ada.peer, to, 5.0) == 0
        for number in range(MAX_COUNTED * 2):
            ada.probing._noticed(PeerId(f"stranger {number}"), b"")
        assert len(ada.probing._counted) <= MAX_COUNTED

    in_lab(tmp_path, scenario, voters=1)


def test_a_node_measures_another_once_at_a_time(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada = await lab.up("ada")
        with pytest.raises(NoOtherPeer, match="no other peer is alive"):
            await anext(aiter(ada.net.bench()))
        bob = await lab.up("bob")
        await until(lambda: bob.peer.presence.present())
        for seconds in (0.0, 61.0, float("nan")):
            with pytest.raises(InvalidArguments, match=r"seconds are not b|no number"):
                await anext(aiter(bob.net.bench(seconds=seconds)))
        with pytest.raises(InvalidArguments, match="is this node"):
            await anext(aiter(bob.net.bench("bob")))
        found = []
        async for event in bob.net.bench(seconds=0.05):
            if event["event"] == "peer":
                assert event["peer"] == ada.peer.peer_id
                with pytest.raises(Overloaded, match="measures already"):
                    await anext(aiter(bob.net.bench(seconds=0.05)))
            if event["event"] == "found":
                found.append(event["what"])
        assert found == ["requests", "requests", "requests", "notices", "stream"]
        assert (await anext(aiter(bob.net.bench("ada", seconds=0.05))))["event"] == "peer"

    in_lab(tmp_path, scenario, voters=1)


def test_a_loop_that_is_kept_busy_is_told_as_late() -> None:
    async def main() -> None:
        lag = LoopLag()
        lag.start()
        try:
            loop = asyncio.get_running_loop()
            until_s = loop.time() + 0.4
            while loop.time() < until_s:
                pass  # a handler that never gives the loop back
            await asyncio.sleep(0.01)
            assert lag.figures()["max_ms"] >= 100
        finally:
            lag.close()

    asyncio.run(main())
