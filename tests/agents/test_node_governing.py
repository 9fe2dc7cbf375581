"""Who votes, changed by hand: what is asked again because the answer was lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from node_lab import NodeLab, in_lab, until

from agents.errors import OutcomeUnknown
from agents.node import Node
from consensus import ChangeRefused
from p2p import PeerUnreachable

NEVER = "it neither votes nor listens"


async def voters(lab: NodeLab, names: str = "abc") -> list[Node]:
    """All of them vote, and `a` is the founder, who may change that."""
    nodes = [await lab.up(name) for name in names]
    ids = {node.peer.peer_id for node in nodes}
    await until(lambda: all(set(n.quorum.electorate.voters) == ids for n in nodes))
    await until(lambda: lab.leader() is not None)
    return nodes


def founder_of(lab: NodeLab) -> Node:
    return lab.nodes["a"]


async def let_another_lead(lab: NodeLab) -> Node:
    """Somebody else than the founder leads, who asks it from afar."""
    b = lab.nodes["b"]
    await founder_of(lab).governing.transfer(b.peer.peer_id)
    await until(lambda: lab.leader() is b and b.quorum.leads)
    return b


async def removed_unheard(lab: NodeLab, leader: Node, gone: Node) -> None:
    """The founder asks to remove it, it is removed, and the answer does not arrive."""
    asking, peer_id = founder_of(lab), gone.peer.peer_id
    ask = asyncio.ensure_future(asking.governing.remove_voter(peer_id))
    hosts = (lab.worlds[node.peer.name].host for node in (leader, asking))
    leader_host, asking_host = hosts
    while not leader.steering.was_to_be_removed(peer_id):
        await asyncio.sleep(0.0005)
    lab.network.cut([leader_host], [asking_host])
    with pytest.raises(OutcomeUnknown):
        await ask
    await until(lambda: peer_id not in leader.quorum.electorate.membership.members)
    lab.network.heal()


@pytest.mark.parametrize("who_leads", ["the same", "another one", "one begun again from its log"])
def test_a_removal_whose_answer_was_lost_is_asked_again(tmp_path: Path, who_leads: str) -> None:
    async def scenario(lab: NodeLab) -> None:
        await voters(lab)
        asking, gone = founder_of(lab), lab.nodes["c"]
        leader = await let_another_lead(lab)
        await removed_unheard(lab, leader, gone)
        await until(lambda: len(asking.peer.presence.present()) == 2)
        if who_leads != "the same":
            await asking.governing.transfer(asking.peer.peer_id)
            await until(lambda: lab.leader() is asking)
        if who_leads == "one begun again from its log":
            await leader.__aexit__(None, None, None)
            again = Node(leader.keystore, lab.worlds["b"], (), local_door=False)
            lab.nodes["b"] = again
            await again.__aenter__()
            await until(lambda: again.quorum.leader() is not None)
        ids = sorted(lab.nodes[name].peer.peer_id for name in "ab")
        await until(lambda: asking.quorum.leader() is not None)
        for _ in range(2):
            assert await asking.governing.remove_voter(gone.peer.peer_id) == [ids, []]

    in_lab(tmp_path, scenario)


def test_the_one_that_leads_is_removed_and_whoever_asked_hears_of_it(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        await voters(lab)
        leader = await let_another_lead(lab)
        now, _ = await founder_of(lab).governing.remove_voter(leader.peer.peer_id)
        assert now == sorted(lab.nodes[name].peer.peer_id for name in "ac")
        await until(lambda: founder_of(lab).quorum.leader() in now)

    in_lab(tmp_path, scenario)


@pytest.mark.parametrize("after_ms", [0, 2, 5])
def test_a_leader_that_dies_while_it_removes_one_leaves_it_to_the_next(
    tmp_path: Path, after_ms: int
) -> None:
    """Whatever it had done by then: nothing, the note, a joint membership, all of it."""

    async def scenario(lab: NodeLab) -> None:
        await voters(lab, "abcde")
        leader, gone = await let_another_lead(lab), lab.nodes["e"].peer.peer_id
        ask = asyncio.ensure_future(founder_of(lab).governing.remove_voter(gone))
        while not leader.steering.was_to_be_removed(gone):
            await asyncio.sleep(0.0005)
        await asyncio.sleep(after_ms / 1000)
        lab.crash(leader)
        now, _ = await ask
        assert now == sorted(lab.nodes[name].peer.peer_id for name in "abcd")

    in_lab(tmp_path, scenario, voters=5)


def test_one_that_never_was_a_member_is_not_removed(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        await voters(lab)
        leader = await let_another_lead(lab)
        other = await lab.up("d")
        await until(lambda: len(leader.peer.presence.present()) == 3)
        await until(lambda: len(founder_of(lab).peer.presence.present()) == 3)
        for _ in range(2):
            with pytest.raises(ChangeRefused, match=NEVER):
                await founder_of(lab).net.raft.remove_voter("d")
        await removed_unheard(lab, leader, lab.nodes["c"])
        with pytest.raises(ChangeRefused, match=NEVER):
            await founder_of(lab).governing.remove_voter(other.peer.peer_id)

    in_lab(tmp_path, scenario)


def test_one_that_votes_again_is_removed_again(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        await voters(lab)
        asking, raft = founder_of(lab), founder_of(lab).net.raft
        c = lab.nodes["c"].peer.peer_id
        for _ in range(2):
            assert c not in (await raft.remove_voter("c"))[0]
            assert c in (await raft.add_voter("c"))[0]
        assert c in asking.quorum.electorate.voters

    in_lab(tmp_path, scenario)


def test_a_dead_one_that_was_removed_is_still_known_by_its_name(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        await voters(lab)
        asking, dead = founder_of(lab), lab.nodes["c"]
        lab.crash(dead)
        await until(lambda: len(asking.peer.presence.present()) == 1)
        await until(lambda: asking.quorum.leader() is not None)
        peer_id = dead.peer.peer_id
        for wanted in ("c", "c", peer_id, peer_id[:8]):
            now = await asking.net.raft.remove_voter(wanted)
            assert len(now[0]) == 2
        with pytest.raises(PeerUnreachable):
            await asking.net.raft.remove_voter("d")

    in_lab(tmp_path, scenario)


def test_a_removal_waits_for_the_change_that_another_one_has_begun(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        await voters(lab)
        leader = await let_another_lead(lab)
        b, c = leader.peer.peer_id, lab.nodes["c"].peer.peer_id
        replica = leader.quorum.replica
        assert replica is not None
        a = founder_of(lab).peer.peer_id
        lab.network.faults.latency_ms = (50, 60)
        change = asyncio.ensure_future(replica.change_members([a, b], [c], 10))
        await until(lambda: replica.status.is_changing)
        assert await founder_of(lab).governing.remove_voter(c) == [sorted([a, b]), []]
        await change

    in_lab(tmp_path, scenario)
