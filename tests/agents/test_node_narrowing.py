"""A member with a newer certificate that gives less: what it has open, and what it asks then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from keeping_lab import in_lab
from node_lab import WALL_MS, NodeLab, until

from agents import Agent, Context
from agents.node import Node
from keys import Chain, Role
from keys.issuing import make_peer
from p2p import PermissionDenied

ENDED: list[str] = []


def desk() -> Agent:
    agent = Agent("desk", namespace="bank")

    @agent.serve("desk.work")
    async def work() -> str:
        return "done"

    @agent.serve("desk.count")
    async def count(context: Context) -> AsyncIterator[int]:
        number = 0
        try:
            while True:
                yield number
                number += 1
                await asyncio.sleep(0.1)
        finally:
            ENDED.append(context.caller_name)

    return agent


def certified(
    ada: Node, member: Node, minutes: int, roles: Role, namespaces: Iterable[str]
) -> Chain:
    """Another certificate for this member's key, given so many minutes later than its first."""
    issuer, key = ada.keystore.issuer, ada.keystore._issuer_key
    assert issuer is not None
    assert key is not None
    leaf = make_peer(
        key,
        issuer.chain.leaf,
        member.peer.papers.chain.leaf.public_key,
        member.peer.name,
        roles,
        WALL_MS + minutes * 60_000,
        namespaces=namespaces,
    )
    return Chain((leaf, *issuer.chain.certificates))


async def two(lab: NodeLab) -> tuple[Node, Node]:
    ENDED.clear()
    ada = await lab.up("ada", [desk()])
    await until(lambda: ada.quorum.leads)
    sam = await lab.up("sam", roles=Role.SERVICE | Role.MANAGER)
    await until(lambda: len(sam.directory.providers("bank:desk.work")) == 1)
    await until(lambda: sam.quorum.leader() is not None)
    await asyncio.sleep(
        10 * 60
    )  # a certificate is dated back by five minutes, not beyond its issuer
    return ada, sam


async def shows(sam: Node, ada: Node, chain: Chain) -> None:
    sam.peer.adopt_chain(chain)

    def is_known() -> bool:
        session = ada.peer.session_of(sam.peer.peer_id)
        return session is not None and session.sequence == sam.peer.papers.record().sequence

    await until(is_known, 5)


async def collected(items: AsyncIterator[Any], into: list[Any]) -> None:
    async for item in items:
        into.append(item)


def test_what_is_open_ends_and_nothing_is_given_that_the_newer_one_has_not(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, sam = await two(lab)
        numbers: list[int] = []
        changes: list[Any] = []
        stream = asyncio.ensure_future(collected(sam.net.stream("bank:desk.count"), numbers))
        watch = asyncio.ensure_future(collected(sam.net.kv.watch("bank:"), changes))
        assert await sam.net.call("bank:desk.work") == "done"
        await ada.net.kv.put("bank:key", 1)
        await until(lambda: numbers and changes)
        links = dict(sam.peer.links())
        await shows(sam, ada, certified(ada, sam, 10, Role.SERVICE, ["shop"]))
        with pytest.raises(PermissionDenied, match="sam has the namespaces: shop"):
            await stream
        assert ENDED == ["sam"]
        await ada.net.kv.put("bank:key", 2)
        with pytest.raises(PermissionDenied, match="namespace 'bank'"):
            await asyncio.wait_for(watch, 30)
        assert len(changes) == 1
        with pytest.raises(PermissionDenied, match="namespace 'bank'"):
            await sam.net.call("bank:desk.work")
        with pytest.raises(PermissionDenied, match="CONFIG_CHANGE"):
            await sam.governing.autopilot(on=False)
        assert dict(sam.peer.links()).keys() == links.keys(), "and nothing was cut"

    in_lab(tmp_path, scenario, voters=1)


def test_an_older_certificate_gives_back_nothing_and_a_newer_one_does(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        ada, sam = await two(lab)
        wide = sam.peer.papers.chain
        await shows(sam, ada, certified(ada, sam, 10, Role.SERVICE, ["shop", "yard"]))
        for _ in range(2):  # also to one that has cut it off meanwhile
            await shows(sam, ada, wide)
            with pytest.raises(PermissionDenied, match="sam has the namespaces: shop, yard"):
                await sam.net.call("bank:desk.work")
            ada.peer._expel(sam.peer.peer_id, "this is a test")
            await until(lambda: ada.peer.session_of(sam.peer.peer_id) is None)
            await until(lambda: ada.peer.session_of(sam.peer.peer_id) is not None)
            await until(lambda: len(ada.peer.presence.present()) == 1)
            await until(lambda: len(sam.peer.presence.present()) == 1)
        await shows(sam, ada, certified(ada, sam, 11, Role.SERVICE, ["bank", "shop.eu"]))
        assert await sam.net.call("bank:desk.work") == "done"
        await shows(sam, ada, certified(ada, sam, 10, Role.OBSERVER, ["*"]))
        session = ada.peer.session_of(sam.peer.peer_id)
        assert session is not None
        assert session.principal.namespaces == ("bank", "shop.eu")
        assert session.principal.roles == Role(0), "neither certificate gives what the other does"

    in_lab(tmp_path, scenario, voters=1)
