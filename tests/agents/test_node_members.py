"""Who votes, while nodes come, go and are asked for: whole nodes in virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from node_lab import NodeLab, in_lab, until

from agents.node import Node
from consensus import ChangeRefused, Role
from keys import PeerId
from keys import Role as NodeRole


async def network_of(lab: NodeLab, names: str) -> list[Node]:
    """The first three are the voters of the roster. A person may sit at any of them."""
    roles = NodeRole.SERVICE | NodeRole.ADMIN
    nodes = [await lab.up(name, roles=roles) for name in names[:3]]
    await until(lambda: lab.leader() is not None)
    nodes += [await lab.up(name, roles=roles) for name in names[3:]]
    await until(lambda: all(len(n.peer.presence.present()) == len(nodes) - 1 for n in nodes))
    await until(lambda: lab.leader() is not None)
    return nodes


def ids(nodes: list[Node]) -> set[str]:
    return {node.peer.peer_id for node in nodes}


def voters_as(node: Node) -> set[str]:
    return set(node.quorum.electorate.voters)


def applied_by(node: Node) -> int:
    assert node.quorum.replica is not None
    return node.quorum.replica.applied


def test_a_node_that_came_later_becomes_a_voter_and_everybody_knows(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcde")
        newcomer = nodes[3]
        assert newcomer.quorum.replica is None
        asked = next(n for n in nodes[:3] if not n.quorum.leads)
        voters, learners = await asked.governing.add_voter(newcomer.peer.peer_id)
        assert set(voters) == ids(nodes[:4])
        assert learners == []
        await until(lambda: all(voters_as(node) == ids(nodes[:4]) for node in nodes))
        assert newcomer.quorum.replica is not None
        assert newcomer.quorum.status()["role"] == "follower"
        assert nodes[4].quorum.status()["role"] == "client"
        leader = lab.leader()
        assert leader is not None
        await until(lambda: applied_by(newcomer) == applied_by(leader) > 0)

    in_lab(tmp_path, scenario)


def test_a_removed_voter_is_a_client_that_still_finds_the_leader(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        leader = lab.leader()
        assert leader is not None
        gone = leader.peer.peer_id
        other = next(node for node in nodes if node is not leader)
        await other.governing.remove_voter(gone)
        rest = [node for node in nodes if node is not leader]
        await until(lambda: all(voters_as(node) == ids(rest) for node in nodes))
        await until(lambda: lab.leader() is not None and lab.leader() is not leader)
        assert leader.quorum.status()["role"] == "client"
        task = await leader.net.tasks()
        assert task["counts"]["pending"] == 0

    in_lab(tmp_path, scenario)


def test_a_removed_follower_is_a_client_too(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        gone = next(node for node in nodes if not node.quorum.leads)
        await gone.governing.remove_voter(gone.peer.peer_id)
        await until(lambda: gone.quorum.status()["role"] == "client")
        await until(lambda: gone.quorum.leader() is not None)
        assert (await gone.net.tasks())["counts"]["pending"] == 0

    in_lab(tmp_path, scenario)


def test_what_cannot_be_is_refused_by_name(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "a")
        own = nodes[0].peer.peer_id
        assert await nodes[0].governing.add_voter(own) == [[own], []]  # what was asked for is so
        with pytest.raises(ChangeRefused, match="it is not here"):
            await nodes[0].governing.add_voter(PeerId("nobody"))
        with pytest.raises(ChangeRefused, match="not possible"):
            await nodes[0].governing.remove_voter(nodes[0].peer.peer_id)

    in_lab(tmp_path, scenario, voters=1)


def test_a_dead_voter_is_replaced_by_a_spare_but_not_at_once(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcd")
        victim = next(node for node in nodes[:3] if not node.quorum.leads)
        alive = [node for node in nodes if node is not victim]
        lab.crash(victim)
        await asyncio.sleep(40)
        assert victim.peer.peer_id in voters_as(alive[0])
        await until(lambda: all(voters_as(node) == ids(alive) for node in alive), 120)
        assert sum(node.quorum.leads for node in alive) == 1

    in_lab(tmp_path, scenario)


def test_leadership_goes_where_a_person_wants_it(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        target = next(node for node in nodes if not node.quorum.leads)
        asked = next(n for n in nodes if not n.quorum.leads and n is not target)
        await asked.governing.transfer(target.peer.peer_id)
        await until(lambda: lab.leader() is target)
        assert target.quorum.replica is not None
        assert target.quorum.replica.status.role is Role.LEADER

    in_lab(tmp_path, scenario)


def test_a_member_that_was_added_is_one_after_its_restart(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcd")
        newcomer = nodes[3]
        await nodes[0].governing.add_voter(newcomer.peer.peer_id)
        await until(lambda: newcomer.quorum.status()["role"] == "follower")
        await newcomer.__aexit__(None, None, None)
        again = Node(newcomer.keystore, lab.worlds["d"], (), local_door=False)
        async with again:
            await until(lambda: again.quorum.leader() is not None)
            assert again.quorum.status()["role"] == "follower"
            assert voters_as(again) == ids(nodes)

    in_lab(tmp_path, scenario)
