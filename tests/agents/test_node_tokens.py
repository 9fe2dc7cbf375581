"""Tokens among whole nodes: given by one, taken by all, revoked everywhere, and not for members."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from keeping_lab import in_lab, network_of
from node_lab import WALL_MS, NodeLab, until
from test_node_rights import refused

from agents.errors import InvalidArguments, KeyInvalid
from agents.node import Node
from agents.tokens_keeping import CHANGE
from keys import Action, Identity, Role
from keys.tokens import (
    MAX_LIFE_S,
    Caller,
    Client,
    Scope,
    TokenClientUnknown,
    TokenIssuerMayNot,
    TokenOfStranger,
    TokenRefused,
    TokenReplayed,
    TokenRevoked,
    TokensNotKnown,
    TokenTooWide,
    TokenWrongAudience,
    make_assertion,
)
from p2p import PermissionDenied, encode_payload

KEY = Identity.from_secret(bytes([42]) * 32)
JTI = 0


def asserted(node: Node, name: str = "web") -> str:
    global JTI
    JTI += 1
    now_ms = node.world.clock.wall_ms()
    return make_assertion(KEY, name, node.peer.peer_id, now_ms, f"n{JTI}")


async def ready(*nodes: Node) -> None:
    await until(lambda: all(node.tokens.kept.book.is_known for node in nodes))


async def taken_by(node: Node, text: str, error: type[TokenRefused] | None = None) -> None:
    """Until this node takes the token, or refuses it so."""

    def there() -> bool:
        try:
            node.tokens.verify(text)
        except TokenRefused as why:
            return error is not None and isinstance(why, error)
        return error is None

    await until(there)


def test_a_client_is_registered_asks_and_is_taken_by_every_member(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        eye = await lab.up("eye", roles=Role.OBSERVER)
        founder, other = nodes[0], nodes[1]
        await ready(*nodes, eye)
        added = await founder.net.tokens.add_client("web", KEY.public_key, ["call:math.*"])
        assert added["scope"] == "call:math.*"
        await asyncio.sleep(11)  # its clock may be behind that of who asked it before it started
        text = (await founder.net.tokens.exchange(asserted(founder), audience="network"))["token"]
        for node in (*nodes, eye):
            await taken_by(node, text)
        said = await other.net.tokens.verify(text)
        assert (said["subject"], said["issuer_name"]) == ("client:web", "a")
        caller: Caller = other.tokens.verify(text)
        guard = other.peer.guard
        assert caller.refusal(guard, Action.CALL, "math.add") is None
        assert "scope" in str(caller.refusal(guard, Action.CALL, "x.y"))
        assert (await eye.net.tokens.clients())[0]["name"] == "web"
        # Who has it not cannot give it.
        with pytest.raises(TokenIssuerMayNot):
            await other.net.tokens.issue(["call:math.*"], roles="service")
        with pytest.raises(TokenTooWide):
            await founder.net.tokens.exchange(asserted(founder), scope="call:*")
        await refused(other.net.tokens.add_client("x", KEY.public_key, ["call:*"]), "CONFIG_CHANGE")
        # Nobody writes them as keys, and all may read them.
        with pytest.raises(KeyInvalid):
            await founder.net.kv.put("conclave/tokens/client/evil", b"x")

    in_lab(tmp_path, scenario)


def test_what_is_taken_back_is_refused_everywhere(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        founder, other = nodes[0], nodes[2]
        await ready(*nodes)
        for name in ("web", "app"):
            await founder.net.tokens.add_client(name, KEY.public_key, ["call:math.*"])
        await asyncio.sleep(11)
        tokens = [
            await founder.net.tokens.exchange(asserted(founder, name), audience="network")
            for name in ("web", "web", "app")
        ]
        for made in tokens:
            await taken_by(other, made["token"])
        await founder.net.tokens.revoke(tokens[0]["jti"])
        await taken_by(other, tokens[0]["token"], TokenRevoked)
        await taken_by(other, tokens[1]["token"])
        await founder.net.tokens.revoke(client="web")
        await taken_by(other, tokens[1]["token"], TokenClientUnknown)
        again = await founder.net.tokens.exchange(asserted(founder), audience="network")
        await taken_by(other, again["token"])
        await founder.net.tokens.remove_client("web")
        await taken_by(other, again["token"], TokenClientUnknown)
        with pytest.raises(TokenClientUnknown):
            await founder.net.tokens.exchange(asserted(founder))
        await taken_by(other, tokens[2]["token"])
        with pytest.raises(InvalidArguments, match="not registered"):
            await founder.net.tokens.remove_client("web")
        with pytest.raises(InvalidArguments, match="jti"):
            await founder.net.tokens.revoke("../../x")
        # What was revoked falls out when no token can live that long.
        assert len(other.tokens.kept.book.revoked) == 1
        await asyncio.sleep(25 * 60)
        await until(lambda: not other.tokens.kept.book.revoked)

    in_lab(tmp_path, scenario)


def test_an_assertion_works_once_and_at_one_node(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        founder = nodes[0]
        await ready(*nodes)
        await founder.net.tokens.add_client("web", KEY.public_key, ["call:math.*"])
        early = asserted(founder)
        with pytest.raises(TokensNotKnown):
            await founder.net.tokens.exchange(early)
        await asyncio.sleep(11)
        text = asserted(founder)
        assert await founder.net.tokens.exchange(text)
        with pytest.raises(TokenReplayed):
            await founder.net.tokens.exchange(text)
        with pytest.raises(TokenWrongAudience):
            await nodes[1].net.tokens.exchange(asserted(founder))
        here = await founder.net.tokens.exchange(asserted(founder))
        assert founder.tokens.verify(here["token"])
        with pytest.raises(TokenWrongAudience):
            nodes[1].tokens.verify(here["token"])

    in_lab(tmp_path, scenario)


def test_a_token_outlives_its_issuer_where_that_was_known(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        admin = await lab.up("admin", roles=Role.ADMIN | Role.SERVICE)
        other = nodes[1]
        await ready(*nodes, admin)
        text = (await admin.net.tokens.issue(["call:math.*"], audience="network"))["token"]
        await taken_by(other, text)
        await asyncio.sleep(2)
        lab.crash(admin)
        await until(lambda: admin.peer.peer_id not in other.peer.presence.present())
        assert other.tokens.verify(text)
        late = await lab.up("late")  # which never met the issuer
        await ready(late)
        with pytest.raises(TokenOfStranger):
            late.tokens.verify(text)

    in_lab(tmp_path, scenario)


def test_a_manager_cannot_make_a_client_that_gets_more_than_it_has(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        manager = await lab.up("m", roles=Role.MANAGER | Role.SERVICE)
        await ready(*nodes, manager)
        with pytest.raises(InvalidArguments, match="only"):
            await manager.net.tokens.add_client("x", KEY.public_key, ["call:*"], roles="admin")
        # A manager that lies to the leader, too.
        wide = Client(
            "x", KEY.public_key, Scope.parse("call:*"), Role.ADMIN, ("*",), bytes(8), WALL_MS, "m"
        )
        with pytest.raises(InvalidArguments, match="no roles that m has not"):
            await manager.tokens.kept.put_client(wide)
        for payload in (b"", b"\xc1", encode_payload(["client"]), encode_payload([1, 2, 3])):
            leader = lab.leader()
            assert leader is not None
            if leader is not manager:
                await manager.peer.request(leader.peer.peer_id, CHANGE, payload, timeout_s=3)
        assert await manager.net.tokens.add_client("y", KEY.public_key, ["call:*"])
        assert set(manager.tokens.kept.book.clients) == {"y"}

    in_lab(tmp_path, scenario)


def test_a_policy_can_keep_clients_from_being_registered(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        founder = nodes[0]
        await ready(*nodes)
        await founder.net.policy.set(
            'version = 1\n[[rule]]\nname = "all"\neffect = "allow"\nwho = "*"\nactions = "*"\n'
            'what = "*"\n[[rule]]\nname = "no"\neffect = "deny"\nwho = "*"\n'
            'actions = "configure"\nwhat = "tokens"\n'
        )
        with pytest.raises(PermissionDenied, match="rule 'no'"):
            await founder.net.tokens.add_client("web", KEY.public_key, ["call:*"])

    in_lab(tmp_path, scenario)


def test_a_revocation_in_a_network_that_was_quiet_lasts_as_long_as_any_other(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        node = await lab.up("a")
        await until(lambda: lab.leader() is not None)
        await ready(node)
        await asyncio.sleep(2 * MAX_LIFE_S)  # nothing is decided, so that ledger time stands still
        text = (await node.net.tokens.issue(["call:math.*"], audience="network"))["token"]
        await node.net.tokens.revoke((await node.net.tokens.verify(text))["jti"])
        await asyncio.sleep(60)
        with pytest.raises(TokenRevoked):
            node.tokens.verify(text)
        assert len(node.tokens.kept.book.revoked) == 1

    in_lab(tmp_path, scenario, voters=1)
