"""Whose word on who votes is taken."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest
from node_lab import NodeLab, in_lab, until

from agents.cluster import ID_CHARS, Cluster, ClusterReplaced
from agents.disaster import restore
from agents.doctoring import examine
from agents.electorate import MAX_INDEX
from agents.errors import NotFollowed
from agents.node import Node
from agents.vouching import VOUCH
from consensus import Membership
from keys import Role
from keys.voters import Confirmed, ConfirmedFile, VotersBook, VotersStatement
from p2p import Lane, encode_payload


@pytest.mark.parametrize("lie", ["another log", "a later entry"])
def test_a_member_that_does_not_vote_stops_nobody_by_what_it_says(tmp_path: Path, lie: str) -> None:
    async def scenario(lab: NodeLab) -> None:
        voters = [await lab.up(name) for name in "abc"]
        await until(lambda: lab.leader() is not None)
        liar = await lab.up("d")
        await until(lambda: len(liar.peer.presence.present()) == 3)
        await until(lambda: len(liar.quorum.electorate.voters) == 3)
        await until(lambda: liar.quorum.leader() is not None)
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
        leaders = {node.quorum.leader() for node in voters}
        assert len(leaders) == 1
        assert None not in leaders

    in_lab(tmp_path, scenario)


def cut_off(lab: NodeLab, *names: str) -> None:
    """These hear nobody but each other."""
    hosts = {name: world.host for name, world in lab.worlds.items()}
    rest = [host for name, host in hosts.items() if name not in names]
    lab.network.cut([hosts[name] for name in names], rest)


async def four(lab: NodeLab) -> list[Node]:
    """Three that vote, and d, which comes when they do and so never will."""
    nodes = [await lab.up(name) for name in "abc"]
    ids = {node.peer.peer_id for node in nodes}
    await until(lambda: all(set(n.quorum.electorate.voters) == ids for n in nodes))
    await until(lambda: lab.leader() is not None)
    nodes.append(await lab.up("d"))
    await until(lambda: all(len(n.peer.presence.present()) == 3 for n in nodes))
    await until(lambda: nodes[3].quorum.roster is not None)
    return nodes


@pytest.mark.parametrize("lie", ["another log", "a later entry"])
def test_one_that_is_alone_with_a_client_makes_it_believe_in_nobody(
    tmp_path: Path, lie: str
) -> None:
    """No voter that the client knows is here, and the liar signs all that it can."""

    async def scenario(lab: NodeLab) -> None:
        _, _, _, client = await four(lab)
        liar = await lab.up("liar")
        await until(lambda: client.peer.session_of(liar.peer.peer_id) is not None)
        voters = client.quorum.electorate.voters
        cut_off(lab, "d", "liar")
        await until(lambda: len(client.peer.presence.present()) == 1, 60)
        now = client.quorum.electorate.cluster
        other = Cluster(now.generation + 1, "x" * ID_CHARS) if lie == "another log" else now
        liar.quorum.electorate.learn(other, 500, Membership((liar.peer.peer_id,)))
        liar.quorum.vouching.decided()
        await until(lambda: client.quorum.vouching.counts["unproven"] >= 3, 60)
        assert client.quorum.electorate.voters == voters
        assert client.quorum.leader() is None
        assert not client.quorum.is_voter(liar.peer.peer_id)
        asked = client.quorum.vouching.counts["unproven"]
        await asyncio.sleep(300)
        assert client.quorum.vouching.counts["unproven"] <= asked + 20, "it is asked seldom"

    in_lab(tmp_path, scenario)


def test_a_client_is_fed_no_log_by_one_that_does_not_vote(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        client = (await four(lab))[3]
        liar = await lab.up("liar")
        await until(lambda: client.peer.session_of(liar.peer.peer_id) is not None)
        before = client.quorum.replica
        cut_off(lab, "d", "liar")
        for _ in range(20):
            liar.peer.notify(client.peer.peer_id, "consensus.message", b"\x01" * 40)
            await asyncio.sleep(0.1)
        assert client.quorum.replica is before
        assert client.quorum.electorate.voters == client.quorum.roster.voters  # type: ignore[union-attr]

    in_lab(tmp_path, scenario, voters=3)


def test_who_was_away_believes_new_voters_whoever_shows_the_proof(tmp_path: Path) -> None:
    """All that it knew are gone when it is back; one that never voted leads it to those of now."""

    async def scenario(lab: NodeLab) -> None:
        nodes = await four(lab)
        a, b, c, away = nodes
        others = [await lab.up(name) for name in ("e", "f", "g", "h")]
        here = (a, b, c, *others)
        await until(lambda: all(len(n.peer.presence.present()) == 7 for n in here))
        cut_off(lab, "d")
        wanted = {node.peer.peer_id for node in others[:3]}
        for new, old in zip(others[:3], (b, c, a), strict=True):
            await until(lambda: a.quorum.leader() is not None)
            await a.governing.add_voter(new.peer.peer_id)
            await until(lambda: a.quorum.leader() is not None)
            await a.governing.remove_voter(old.peer.peer_id)
        helper = others[3]
        await until(lambda: set(helper.quorum.electorate.voters) == wanted)
        assert set(away.quorum.electorate.voters) == {n.peer.peer_id for n in (a, b, c)}
        for node in (a, b, c, *others[:3]):
            lab.crash(node)
        lab.network.heal()
        await until(lambda: set(away.quorum.electorate.voters) == wanted, 60)
        assert away.quorum.vouching.counts["believed"] >= 1
        # It knows them from its disk when it begins anew, whoever is there.
        known = VotersBook(away.home, away.keystore.genesis.network_id).load()
        assert set(known[-1].who.voters) == wanted

    in_lab(tmp_path, scenario)


def shown_alone(client: Node, signer: Node, index: int, *voters: Node) -> None:
    """The signer tells the client that these vote since this entry, with no signature but its own:
    as where all voters change at once, before their members have exchanged theirs."""
    known = client.quorum.electorate.known()
    names = tuple(sorted(node.peer.peer_id for node in voters))
    who = dataclasses.replace(known, index=known.index + index, voters=names)
    made = VotersStatement.make(client.keystore.genesis.network_id, who)
    word = made.signed(signer.peer.papers.credentials.identity)
    packed = encode_payload(word.encode())
    signer.peer.notify(client.peer.peer_id, VOUCH, packed, lane=Lane.CONTROL)


def test_signatures_that_each_voter_shows_alone_are_counted_together(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b, c, client = await four(lab)
        other = await lab.up("e")
        before = client.quorum.electorate.voters
        for node in (a, b, c, other):
            await until(lambda node=node: client.peer.session_of(node.peer.peer_id) is not None)
        shown_alone(client, a, 7, c, client)
        shown_alone(client, a, 7, c, client)  # the same voter counts once
        shown_alone(client, other, 7, c, client)  # by one that does not vote
        shown_alone(client, b, 8, c, client)  # of another entry
        shown_alone(client, c, 7, b, client)  # of other voters at the same entry
        await asyncio.sleep(1)
        assert client.quorum.electorate.voters == before
        assert client.quorum.vouching.counts["believed"] == 0
        shown_alone(client, b, 7, c, client)
        wanted = {c.peer.peer_id, client.peer.peer_id}
        await until(lambda: set(client.quorum.electorate.voters) == wanted, 1)
        known = VotersBook(client.home, client.keystore.genesis.network_id).load()
        assert known[-1].claimed() == {a.peer.peer_id, b.peer.peer_id}, "and it can prove it"

    in_lab(tmp_path, scenario)


def test_a_log_that_was_begun_again_where_nobody_voted_takes_an_administrator_s_word(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b, c, d = await four(lab)
        file = tmp_path / "backup"
        leader = next(n for n in (a, b, c) if n.quorum.leads)
        await leader.net.raft.backup(str(file))
        e = await lab.up("e")
        client = await lab.up("client")
        await until(lambda: client.quorum.roster is not None)
        await until(lambda: client.peer.session_of(e.peer.peer_id) is not None)
        for node in (b, c, d):
            lab.crash(node)
        await e.__aexit__(None, None, None)
        begun = restore(e.keystore, file).cluster
        again = Node(e.keystore, lab.worlds["e"], (), local_door=False)
        async with again:
            await until(lambda: again.quorum.leads)
            await until(lambda: client.peer.session_of(e.peer.peer_id) is not None)
            await asyncio.sleep(30)
            assert client.quorum.electorate.cluster.generation == 0, "e is a service, and no voter"
            with pytest.raises(NotFollowed, match="roles"):
                await client.net.raft.follow("e")
            with pytest.raises(NotFollowed, match="no later log"):
                await a.net.raft.follow("client")
            assert await a.net.raft.follow("e") == begun.generation
            assert isinstance(await a.until_failed(), ClusterReplaced)
            await until(lambda: client.quorum.leader() == again.peer.peer_id)
        lab.nodes.pop("e")

    in_lab(tmp_path, scenario)


async def long_away(lab: NodeLab) -> tuple[Node, dict[str, Node]]:
    """d knows a, b and c, by what it wrote down 91 days ago; e, f and g vote, and d is up again.
    a, b and c are gone, h never voted."""
    nodes = dict(zip("abcd", await four(lab), strict=True))
    for name in "efgh":
        nodes[name] = await lab.up(name)
    here = [node for name, node in nodes.items() if name != "d"]
    await until(lambda: all(len(n.peer.presence.present()) == 7 for n in here))
    away = nodes["d"]
    await away.__aexit__(None, None, None)
    known = away.quorum.electorate.known()
    then_ms = away.world.clock.wall_ms() - 91 * 86_400_000
    ConfirmedFile(away.home).save(Confirmed.now(known, then_ms))
    # What an administrator says holds while its certificate does: here nobody has asked a.
    vars(nodes["a"].quorum.vouching)["_may_confirm"] = lambda statement: False
    for new, old in zip("efg", "bca", strict=True):
        await until(lambda: nodes["a"].quorum.leader() is not None)
        await nodes["a"].governing.add_voter(nodes[new].peer.peer_id)
        await until(lambda: nodes["a"].quorum.leader() is not None)
        await nodes["a"].governing.remove_voter(nodes[old].peer.peer_id)
    wanted = {nodes[name].peer.peer_id for name in "efg"}
    await until(lambda: set(nodes["h"].quorum.electorate.voters) == wanted)
    cut_off(lab, *"defgh")
    again = Node(away.keystore, lab.worlds["d"], (), local_door=False)
    lab.nodes["d"] = again
    await again.__aenter__()
    await until(lambda: len(again.peer.presence.present()) == 4)
    return again, nodes


def knows(node: Node, nodes: dict[str, Node], names: str) -> bool:
    return set(node.quorum.electorate.voters) == {nodes[name].peer.peer_id for name in names}


def of_voters(node: Node) -> list[str]:
    return [each.level for each in examine(node) if each.topic == "voters"]


@pytest.mark.parametrize("helper", ["one that voted", "an administrator"])
def test_voters_of_long_ago_alone_convince_nobody(tmp_path: Path, helper: str) -> None:
    async def scenario(lab: NodeLab) -> None:
        again, nodes = await long_away(lab)
        vouching = again.quorum.vouching
        await until(lambda: vouching.counts["long_ago"] >= 3, 60)
        await asyncio.sleep(60)
        assert knows(again, nodes, "abc")
        assert of_voters(again) == ["problem"]
        assert all(of_voters(nodes[name]) == [] for name in "efgh")
        if helper == "one that voted":
            lab.crash(nodes["a"])
            lab.network.heal()
        else:
            await lab.up("i", roles=Role.ADMIN | Role.SERVICE)
        await until(lambda: knows(again, nodes, "efg"), 120)
        await until(lambda: not vouching.confirming.is_stale, 120)
        assert of_voters(again) == []
        kept = ConfirmedFile(again.home).load()
        assert kept is not None
        assert kept.is_of(again.quorum.electorate.known())
        assert not kept.is_stale(again.world.clock.wall_ms())

    in_lab(tmp_path, scenario)
