"""Whole nodes in virtual time that change their keys: the quorum does not notice."""

from __future__ import annotations

import asyncio
from pathlib import Path

from keeping_lab import in_lab, network_of
from node_lab import NodeLab, until

from agents.node import Node
from p2p import MemberChange, MemberState, PresenceEvent


def test_decisions_go_on_under_one_leader_and_nobody_is_suspected(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        await until(lambda: lab.leader() is not None)
        leader, term = lab.leader(), nodes[0].quorum.term
        changes: list[PresenceEvent] = []
        for node in nodes:
            node.peer.watch(changes.append)
        going = True
        versions: list[int] = []

        async def write(node: Node) -> None:
            while going:
                versions.append(await node.net.kv.put(f"of/{node.peer.name}", len(versions)))
                await asyncio.sleep(0.02)

        writing = [asyncio.ensure_future(write(node)) for node in nodes]

        async def rotate(node: Node) -> None:
            for _ in range(3):
                said = await node.net.keys.rotate()
                assert said["missed"] == []
                await asyncio.sleep(0.3)

        await asyncio.gather(*map(rotate, nodes))
        going = False
        await asyncio.gather(*writing)
        assert len(versions) == len(set(versions)) > 50
        assert lab.leader() is leader
        assert {node.quorum.term for node in nodes} == {term}
        bad = [
            event
            for event in changes
            if isinstance(event, MemberChange) and event.after is not MemberState.ALIVE
        ]
        assert bad == []
        assert all(node.peer.counters()["key_rotations"] == 3 for node in nodes)

    in_lab(tmp_path, scenario)
