"""Members that say what is not so: what voters believe, and what they go on with."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from node_lab import NodeLab, in_lab, until

from agents.cluster import Cluster
from agents.electorate import Electorate
from agents.governing import ADD_VOTER, REMOVE_VOTER, TRANSFER
from agents.node import Node
from agents.replica import MESSAGE, PART
from consensus import Entry, EntryKind, Membership, SnapshotMeta
from consensus.codec import encode_message
from consensus.raft.messages import AppendEntries
from consensus.snapshot_wire import SnapshotPart, encode_snapshot_frame
from keys import Role
from p2p import Lane, encode_payload


async def three(lab: NodeLab) -> list[Node]:
    nodes = [await lab.up(name) for name in "abc"]
    await until(lambda: lab.leader() is not None)
    return nodes


def says_later(node: Node, cluster: Cluster, index: int = 5) -> None:
    electorate = node.quorum.electorate
    electorate.cluster, electorate.index = cluster, index
    electorate.membership = Membership((node.peer.peer_id,))


def test_who_may_not_vote_is_not_believed_on_who_votes(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await three(lab)
        observer = await lab.up("d", namespaces=(), roles=Role.OBSERVER)
        await until(lambda: len(observer.peer.presence.present()) == 3)
        says_later(observer, Cluster(7, "f" * 32))
        await asyncio.sleep(20)
        for node in nodes:
            assert node.failure is None
            assert node.quorum.electorate.cluster.generation == 0
        await until(lambda: any(node.quorum.leads for node in nodes))

    in_lab(tmp_path, scenario)


def test_a_voter_is_not_told_who_votes_in_another_log_of_its_generation(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await three(lab)
        other = await lab.up("d")
        await until(lambda: len(other.peer.presence.present()) == 3)
        own = nodes[0].quorum.electorate.cluster
        says_later(other, Cluster(own.generation, "f" * 32), index=10_000)
        await asyncio.sleep(20)
        for node in nodes:
            assert node.failure is None
            assert node.quorum.electorate.cluster == own
            assert node.quorum.own_replica() is not None

    in_lab(tmp_path, scenario)


def test_words_beyond_what_a_log_can_hold_are_no_words() -> None:
    for generation, index in ((2**40, 1), (1, 2**63)):
        electorate = Electorate()
        word = [generation, "f" * 32, index, Membership(("a",)).encode()]
        assert not electorate.learn_from_wire(word)
        assert electorate.index == -1


def test_noise_on_the_log_s_channels_changes_nothing(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await three(lab)
        noisy = await lab.up("d", roles=Role.SERVICE | Role.ADMIN)  # so that its words are read
        await until(lambda: len(noisy.peer.presence.present()) == 3)
        me, rng = noisy.peer.peer_id, random.Random(3)
        cluster_id = nodes[0].quorum.electorate.cluster.cluster_id
        for target in nodes:
            to = target.peer.peer_id
            entry = Entry(1, 1, EntryKind.COMMAND, b"x" * 100)
            true = encode_message(cluster_id, AppendEntries(me, to, 9, 0, 0, 9, (entry,), 0))
            lie = encode_message(cluster_id, AppendEntries(nodes[0].peer.peer_id, to, 9, 0, 0, 9))
            meta = SnapshotMeta(5, 1, Membership((me,)), 0)
            part = encode_snapshot_frame(
                cluster_id, SnapshotPart(me, to, 0, 1, meta, 2**62, 2**61, b"y" * 100)
            )
            for _ in range(50):
                cut = rng.randrange(len(true))
                flipped = bytearray(true)
                flipped[cut] ^= 1 << rng.randrange(8)
                for data in (true, lie, true[:cut], bytes(flipped), rng.randbytes(cut), b""):
                    noisy.peer.notify(to, MESSAGE, data, lane=Lane.CONTROL)
                for data in (part, part[:cut], b""):
                    noisy.peer.notify(to, PART, data, lane=Lane.DATA)
            for method in (ADD_VOTER, REMOVE_VOTER, TRANSFER):
                for wanted in ([], ["nobody"], [None], [["x"]], ["x" * 10_000]):
                    answer = await noisy.peer.request(
                        to, method, encode_payload(wanted), timeout_s=5
                    )
                    assert answer
            await asyncio.sleep(1)
        await asyncio.sleep(10)
        await until(lambda: lab.leader() is not None)
        for node in nodes:
            assert node.failure is None
            assert set(node.quorum.electorate.voters) == {n.peer.peer_id for n in nodes}
            assert not list((node.home / "raft").glob("snapshot-5-*.snap"))
            assert len(list((node.home / "raft").glob("*.tmp"))) <= 1

    in_lab(tmp_path, scenario)


def test_two_that_are_added_at_once_both_vote(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await three(lab)
        nodes += [await lab.up(name) for name in "de"]
        await until(lambda: all(len(n.peer.presence.present()) == 4 for n in nodes))
        await nodes[0].governing.autopilot(on=False)
        await until(lambda: any(node.quorum.leads for node in nodes[:3]))
        leader = next(node for node in nodes if node.quorum.leads)
        replica = leader.quorum.replica
        assert replica is not None
        ids = [node.peer.peer_id for node in nodes]
        await replica.change_members(ids[:3], ids[3:], 10)
        bring_in = leader.governing._bring_in
        said = await asyncio.gather(*(bring_in(replica, peer_id) for peer_id in ids[3:]))
        assert said == [None, None]
        assert set(replica.status.membership.voters) == set(ids)

    in_lab(tmp_path, scenario)
