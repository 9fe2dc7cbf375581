"""Whose word on who votes is taken."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from node_lab import NodeLab, in_lab, until

from agents.cluster import ID_CHARS, Cluster
from agents.electorate import MAX_INDEX
from consensus import Membership


@pytest.mark.parametrize("lie", ["another log", "a later entry"])
def test_a_member_that_does_not_vote_stops_nobody_by_what_it_says(tmp_path: Path, lie: str) -> None:
    async def scenario(lab: NodeLab) -> None:
        voters = [await lab.up(name) for name in "abc"]
        await until(lambda: lab.leader() is not None)
        liar = await lab.up("d")
        await until(lambda: len(liar.peer.presence.present()) == 3)
        await until(lambda: len(liar.quorum.electorate.voters) == 3)
        before = {node.peer.name: node.quorum.electorate.place for node in voters}
        now = liar.quorum.electorate.cluster
        other = Cluster(now.generation + 1, "x" * ID_CHARS) if lie == "another log" else now
        liar.quorum.electorate.learn(other, MAX_INDEX, Membership((liar.peer.peer_id,)))
        await asyncio.sleep(10)
        for node in voters:
            assert node.failed is not None
            assert not node.failed.is_set()
            assert node.quorum.electorate.place == before[node.peer.name]
            assert len(node.quorum.electorate.voters) == 3
        assert lab.leader() is not None

    in_lab(tmp_path, scenario)
