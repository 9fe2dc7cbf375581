"""Who offers what, among whole nodes: right everywhere within two seconds, whatever was lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

from node_lab import NodeLab, in_lab, until

from agents import Agent
from agents.node import Node

PROOF_BYTES = 90  # of a table that others may pass on, with SWIM


def crowd(prefix: str, count: int = 60) -> list[Agent]:
    """Agents that serve one capability each."""
    made = []
    for number in range(count):
        agent = Agent(f"{prefix}-{number}")

        @agent.serve(f"{prefix}.n{number}")
        async def work(value: int) -> int:
            return value

        made.append(agent)
    return made


def picture(node: Node) -> list[tuple[str, str, str, str]]:
    return [
        (peer, card.name, card.condition.state, ",".join(sorted(card.skills)))
        for peer, card in node.directory
    ]


def told_bytes(node: Node) -> int:
    counters = node.peer.counters()
    return sum(counters.get(f"membership_adverts_{w}_bytes", 0) for w in ("told", "given"))


def test_all_know_all_two_seconds_after_messages_were_lost(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = [await lab.up(name, crowd(name)) for name in ("a", "b", "c")]
        await until(lambda: all(len(node.directory) == 180 for node in nodes), 2)
        assert picture(nodes[0]) == picture(nodes[1]) == picture(nodes[2])
        for seed in range(3):
            lab.network.faults.loss = 0.7
            for node in nodes:
                for number in range(seed, 60, 3):
                    node.host.close_agent(f"{node.peer.name}-{number}", "test", "why not")
                    node.advertising.one(f"{node.peer.name}-{number}")
            await asyncio.sleep(0.1)  # all of it is told now, and most of that is lost
            assert not picture(nodes[0]) == picture(nodes[1]) == picture(nodes[2])
            lab.network.faults.loss = 0.0
            await until(lambda: picture(nodes[0]) == picture(nodes[1]) == picture(nodes[2]), 2)
            closed = [word for word in picture(nodes[0]) if not word[3]]
            assert len(closed) == 60 * (seed + 1)

    in_lab(tmp_path, scenario)


def test_a_change_of_one_agent_costs_the_bytes_of_that_one(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b = await lab.up("a", crowd("a")), await lab.up("b")
        await until(lambda: len(b.directory) == 60)
        await asyncio.sleep(1)  # both have told all that they have
        before = told_bytes(a)
        a.host.close_agent("a-7", "test", "why not")
        a.advertising.one("a-7")
        await until(lambda: not b.directory.providers("a.n7"))
        assert 0 < told_bytes(a) - before < 100 + PROOF_BYTES

    in_lab(tmp_path, scenario)


def test_who_shows_other_papers_is_judged_anew_by_what_it_said_before(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        eye = Agent("eye", namespace="shop")

        @eye.serve("image.read")
        async def read(value: int) -> int:
            return value

        a, b = await lab.up("a"), await lab.up("b", [eye], namespaces=("shop",))
        await until(lambda: a.directory.providers("shop:image.read"))
        a.directory.remove(b.peer.peer_id)  # as if it had been left out
        assert not a.directory.providers("shop:image.read")
        a.peer.presence.adverts.admitted(b.peer.peer_id)
        assert a.directory.providers("shop:image.read") == [b.peer.peer_id]

    in_lab(tmp_path, scenario)
