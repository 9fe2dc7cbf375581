"""A root that is rotated, and a second issuer, under nodes that run: in virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path

from node_lab import NodeLab, in_lab, until

from agents.doctoring import examine
from agents.node import Node
from keys import ALL_ROLES, Authority, Identity, Keystore, RootsSeen
from keys.ceremonies import IssuerRequest, Paper, asking_key, install_issuer, read_key_file
from p2p.memory import MemoryWorld

GRACE_MS = 60_000
NEW = Identity.from_secret(bytes([77]) * 32)


def wall_ms(lab: NodeLab) -> int:
    return lab.worlds["b"].clock.wall_ms()


def asked(store: Keystore, now_ms: int) -> Paper:
    key, network = asking_key(store.home, None), store.genesis.network_id
    wish = IssuerRequest.make(key, network, f"{store.name}-issuer", ALL_ROLES, ["*"], 300, now_ms)
    return Paper.issuing(wish, store.chain.roots)


def rotation(first: Node, now_ms: int, to: Identity = NEW) -> Paper:
    old = read_key_file(first.home / "root.key", "root", None)
    roots = first.keystore.chain.roots
    return Paper.rotation(roots, Authority(to.public_key), GRACE_MS, now_ms).sign(old).sign(to)


async def restarted(lab: NodeLab, node: Node, paper: Paper) -> Node:
    """Take the node down, install what was signed, and bring it up."""
    name = node.keystore.name
    await node.__aexit__(None, None, None)
    now_ms = wall_ms(lab)
    store = Keystore.open(node.home)
    store = install_issuer(store, paper.issuer_chain(now_ms), now_ms, None)
    world = MemoryWorld(lab.network, 99)
    lab.nodes[name] = Node(store, world, (), local_door=False)
    lab.worlds[name] = world
    await lab.nodes[name].__aenter__()
    return lab.nodes[name]


def seen(node: Node) -> RootsSeen:
    roots = node.keystore.trust.seen
    assert roots is not None
    return roots


def test_members_follow_a_new_root_while_they_run_and_nobody_is_lost(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b, c = await lab.up("a"), await lab.up("b"), await lab.up("c")
        await until(lambda: lab.leader() is not None)
        turned = rotation(a, wall_ms(lab))
        paper = asked(a.keystore, wall_ms(lab)).drafted(wall_ms(lab), line=turned.roots())
        a = await restarted(lab, a, paper.sign(NEW))
        assert a.keystore.chain.rotations == 1
        await until(lambda: seen(b).number == seen(c).number == 1, 60)
        assert (b.home / "roots").exists(), "it is on the disk before it counts"
        said = [(each.topic, each.level) for each in examine(b)]
        assert ("certificate", "warning") in said, "the doctor says that it has yet to renew"
        await until(lambda: all(n.keystore.chain.rotations for n in (b, c)), 60)
        assert ("certificate", "warning") not in [(f.topic, f.level) for f in examine(b)]
        assert Keystore.open(b.home).chain.rotations == 1
        await asyncio.sleep(4 * GRACE_MS / 1000)  # the grace and the tolerance are over
        for node in (a, b, c):
            others = {one.peer.peer_id for one in (a, b, c)} - {node.peer.peer_id}
            assert set(node.peer.presence.present()) == others
        for one in (b, c):
            session = a.peer.session_of(one.peer.peer_id)
            assert session is not None
            assert session.principal.roots, "they show the new line"
        assert lab.leader() is not None

    in_lab(tmp_path, scenario)


def test_who_comes_back_with_an_old_chain_after_the_grace_is_not_let_in(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b = await lab.up("a"), await lab.up("b")
        await until(lambda: b.peer.session_of(a.peer.peer_id) is not None)
        late = lab._keystore("late", ["*"], ALL_ROLES)
        turned = rotation(a, wall_ms(lab))
        paper = asked(a.keystore, wall_ms(lab)).drafted(wall_ms(lab), line=turned.roots())
        a = await restarted(lab, a, paper.sign(NEW))
        await until(lambda: b.keystore.chain.rotations == 1, 60)
        await asyncio.sleep(4 * GRACE_MS / 1000)
        world = MemoryWorld(lab.network, 55)
        back = Node(late, world, (), local_door=False)
        lab.nodes["late"], lab.worlds["late"] = back, world
        await back.__aenter__()
        await asyncio.sleep(20)
        for node in (a, b):
            assert node.peer.session_of(back.peer.peer_id) is None
            assert set(node.peer.presence.present()) & {a.peer.peer_id, b.peer.peer_id}
        assert not back.peer.presence.present()

    in_lab(tmp_path, scenario, voters=1)


def test_a_second_issuer_renews_what_the_first_one_gave(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b, c = await lab.up("a"), await lab.up("b"), await lab.up("c")
        await until(lambda: lab.leader() is not None)
        root = read_key_file(a.home / "root.key", "root", None)
        paper = asked(b.keystore, wall_ms(lab)).drafted(wall_ms(lab)).sign(root)
        b = await restarted(lab, b, paper)
        assert not b.keystore.names_voters
        lab.crash(a)
        await until(lambda: lab.leader() is not None, 60)
        await until(lambda: b.peer.peer_id in c.peer.presence.present(), 60)
        chain = await c.renewing.renew()
        assert b.keystore.issuer is not None
        assert chain.leaf.issuer_key_id == b.keystore.issuer.chain.leaf.key_id

    in_lab(tmp_path, scenario)


def test_who_does_not_renew_in_time_is_cut_off_when_the_grace_is_over(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a, b, c = await lab.up("a"), await lab.up("b"), await lab.up("c")
        await until(lambda: lab.leader() is not None)
        await c.renewing.close()  # it never renews
        turned = rotation(a, wall_ms(lab))
        paper = asked(a.keystore, wall_ms(lab)).drafted(wall_ms(lab), line=turned.roots())
        a = await restarted(lab, a, paper.sign(NEW))
        await until(lambda: seen(b).number == 1, 60)
        end_ms = turned.roots()[0].rotation
        assert end_ms is not None
        session = b.peer.session_of(c.peer.peer_id)
        assert session is not None
        assert not b.keystore.chain.rotations, "nobody has introduced himself again since"
        assert session.principal.not_after_ms == end_ms.old_until_ms, "b knew c before the root"
        left_s = (end_ms.old_until_ms - wall_ms(lab)) / 1000
        await asyncio.sleep(left_s + 2 * 60 + 40)
        assert c.peer.peer_id not in b.peer.presence.present()
        assert b.peer.session_of(c.peer.peer_id) is None
        assert a.peer.peer_id in b.peer.presence.present()

    in_lab(tmp_path, scenario)
