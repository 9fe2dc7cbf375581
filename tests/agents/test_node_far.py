"""Whole nodes with few links: agents, tasks and topics of those far away are as near as others."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from node_lab import NodeLab, in_lab, until

from agents import Agent, NoProvider
from agents.health import Health
from agents.node import Node
from p2p import SwimSettings, encode_payload
from p2p.members import reaching

FEW = SwimSettings(mesh=2, rings=1, links=4)  # beyond five members, two neighbours each
COUNT = 9


@pytest.fixture(autouse=True)
def soon_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaching, "IDLE_MS", 5_000)


def counter(name: str) -> Agent:
    agent = Agent(f"agent-{name}")

    @agent.serve("who.am_i")
    async def who() -> str:
        return name

    @agent.serve(f"only.{name}")
    async def only(value: int) -> int:
        return value + 1

    return agent


def linked(node: Node) -> set[str]:
    return {session.peer_id for session in node.peer.gathering.sessions}


def is_far(a: Node, b: Node) -> bool:
    return b.peer.peer_id not in linked(a) and a.peer.peer_id not in linked(b)


async def far_apart(lab: NodeLab) -> tuple[list[Node], Node, Node]:
    """All nodes, and two of them without a link to each other."""
    lab.membership = FEW
    spaces = ("shop",)
    nodes = [await lab.up(f"n{n}", [counter(f"n{n}")], namespaces=spaces) for n in range(COUNT)]
    await until(lambda: all(len(n.peer.presence.present()) == COUNT - 1 for n in nodes))
    await until(lambda: all(len(n.directory) == COUNT for n in nodes), 5)

    def voters(node: Node) -> set[str]:
        return set(node.quorum.electorate.voters)

    # Everybody has a link to those who vote, and who becomes one later gets one.
    await until(lambda: all(len(voters(n)) == 3 for n in nodes), 60)
    others = [n for n in nodes if n.peer.peer_id not in voters(n)]

    def pairs() -> list[tuple[Node, Node]]:
        return [(a, b) for a in others for b in others if a is not b and is_far(a, b)]

    await until(lambda: len(pairs()) >= 6, 600)
    return nodes, *pairs()[0]


def test_agents_without_a_link_are_called_by_name_and_by_what_they_can(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes, near, far = await far_apart(lab)
        name = far.peer.name
        assert await near.net.call(f"agent-{name}/only.{name}", 1, deadline=2) == 2
        await until(lambda: is_far(near, far), 600)
        assert await near.net.call(f"only.{name}", 2, deadline=2) == 3
        agents = {row["agent"]: row["node"] for row in await near.net.agents()}
        assert len(agents) == COUNT
        assert agents[f"agent-{name}"].startswith(name)
        rows = await near.gate.request("peers", {})
        assert {row["name"] for row in rows} == {node.peer.name for node in nodes}
        answers: set[str] = set()
        for _ in range(400):  # each call is to anybody, so that forty might leave one out
            answers.add(await near.net.call("who.am_i", deadline=2))
            if len(answers) == COUNT:
                break
        assert len(answers) == COUNT, "calls go to all who offer it"

    in_lab(tmp_path, scenario)


def test_how_a_far_agent_is_and_whether_it_is_there_is_known_soon(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, near, far = await far_apart(lab)
        name, own = far.peer.name, far.peer.peer_id
        far.host.close_agent(f"agent-{name}", "test", "closed for the test")
        far.advertising.one(f"agent-{name}")
        await until(lambda: not near.directory.providers(f"only.{name}"), 2)
        assert near.directory.state_of(own, f"agent-{name}") is Health.HEALTHY
        far.host.open_agent(f"agent-{name}", "test")
        far.advertising.one(f"agent-{name}")
        await until(lambda: near.directory.providers(f"only.{name}") == [own], 2)
        lab.crash(far)
        await until(lambda: near.directory.card_of(own, f"agent-{name}") is None, 10)
        with pytest.raises(NoProvider):
            await near.net.call(f"only.{name}", 2, deadline=2)
        lab.nodes.pop(name)

    in_lab(tmp_path, scenario)


def test_what_a_far_node_may_not_offer_is_left_out(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, near, far = await far_apart(lab)
        skills = [["bank:money.move", "", "", "", 1, False, "call"], ["plain", "", ""]]
        thief = encode_payload([1, 1, skills, ["healthy", "", 0], ""])
        far.peer.presence.adverts.change({"thief": thief})
        own = far.peer.peer_id
        await until(lambda: near.directory.card_of(own, "thief") is not None, 2)
        card = near.directory.card_of(own, "thief")
        assert card is not None
        assert set(card.skills) == {"plain"}
        assert near.directory.counts["offer_outside_namespaces"] >= 1

    in_lab(tmp_path, scenario)


def test_what_is_published_reaches_those_far_away(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, near, far = await far_apart(lab)
        got: list[object] = []

        async def listen() -> None:
            async with far.net.subscribe("news/") as messages:
                async for message in messages:
                    got.append(message.value)

        listening = asyncio.create_task(listen())
        await asyncio.sleep(2)
        await near.net.publish("news/today", {"n": 1})
        await near.net.publish("news/today", {"n": 2}, only_peers=[far.peer.name])
        await until(lambda: got == [{"n": 1}, {"n": 2}], 5)
        listening.cancel()

    in_lab(tmp_path, scenario)


def test_tasks_run_on_far_nodes(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, near, far = await far_apart(lab)
        await until(lambda: lab.leader() is not None)
        name = far.peer.name
        task = await near.net.submit(f"only.{name}", {"value": 4})
        assert await task.result(30) == 5
        listed = await near.net.tasks()
        assert [row["state"] for row in listed["tasks"]] == ["done"]

    in_lab(tmp_path, scenario)
