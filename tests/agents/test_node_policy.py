"""The policy of the network: decided, followed, kept over restarts, and how one gets out of it."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from random import Random
from typing import Any

import pytest
from keeping_lab import in_lab, network_of
from node_lab import NodeLab, until
from test_node_rights import EVERYTHING, denying, refused

from agents import Agent
from agents.cluster import Cluster
from agents.errors import KeyInvalid, PolicyRefused
from agents.hosting import to_bytes
from agents.node import Node
from agents.policing import RECOVER, SET
from agents.replicated import KV_TAG, command_for
from consensus.kv import encode_put
from keys import Action, HomeDamaged, PolicyInvalid, Role
from keys.policies import Place, PolicyStore
from keys.policies.store import Held
from p2p import PayloadError, PermissionDenied, RemoteError, encode_payload

ALL = f"version = 1\n{EVERYTHING}"


def bench() -> list[Agent]:
    agent = Agent("bench")

    @agent.serve("bench.work")
    async def work() -> str:
        return "done"

    return [agent]


def enforced(node: Node) -> str | None:
    policy = node.peer.guard.replicated
    return None if policy is None else policy.text


async def everywhere(nodes: list[Node], text: str | None) -> None:
    await until(lambda: all(enforced(node) == text for node in nodes))


def test_a_policy_is_decided_once_and_enforced_by_all_members_and_clients(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcde")
        late = await lab.up("f", bench())
        eye = await lab.up("g", roles=Role.OBSERVER)
        nodes += [late, eye]
        founder, caller = nodes[0], nodes[4]
        await until(lambda: caller.directory.providers("bench.work"))
        assert await caller.net.call("bench.work") == "done"
        text = denying("name:e", "call", "bench.*")
        await founder.net.policy.set(text)
        assert enforced(founder) == text
        await everywhere(nodes, text)
        await refused(caller.net.call("bench.work"), "rule 'no' of the replicated policy denies e")
        assert await nodes[3].net.call("bench.work") == "done"
        said = await caller.net.policy.explain("e", "call", "bench.work")
        assert (said["allowed"], said["source"], said["rule"]) == (False, "replicated", "no")
        assert (await caller.net.policy.explain("d", "call", "bench.work"))["rule"] == "all"
        assert (await caller.net.policy.show())["replicated"] == text
        await founder.net.policy.reset()
        await everywhere(nodes, None)
        assert await caller.net.call("bench.work") == "done"

    in_lab(tmp_path, scenario)


def test_only_who_may_configure_changes_it_and_nothing_that_is_no_policy(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        manager = await lab.up("m", roles=Role.MANAGER, namespaces=("shop",))
        await until(lambda: manager.quorum.leader() is not None)
        said = "lacks the permission CONFIG_CHANGE, which the role manager or admin gives"
        await refused(nodes[1].net.policy.set(ALL), "b " + said)
        await refused(nodes[1].net.policy.reset(), "b " + said)
        await refused(manager.net.policy.set(ALL), "concerns the whole network")
        with pytest.raises(PolicyInvalid, match="version"):
            await nodes[0].net.policy.set("")
        with pytest.raises(KeyInvalid, match="the network's own"):
            await nodes[0].net.kv.put("conclave/policy", ALL)
        foul = encode_payload(["version = 2", True])  # of a member that does not look first
        leader = nodes[0].quorum.leader()
        assert leader is not None
        answer = await nodes[0].peer.request(leader, "policy.set", foul)
        assert b"version = 1" in answer
        assert all(enforced(node) is None for node in nodes)

    in_lab(tmp_path, scenario)


def test_nobody_locks_himself_out_without_insisting_and_a_voter_s_machine_is_a_way_out(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        founder = nodes[0]
        closed = ALL.replace('who = "*"', 'who = "name:nobody"')
        with pytest.raises(PolicyRefused, match=r"a could not change the policy any more.*--force"):
            await founder.net.policy.set(closed)
        assert enforced(founder) is None
        await founder.net.policy.set(closed, force=True)
        await everywhere(nodes, closed)
        why = "no rule of the replicated policy allows a to configure 'policy'"
        await refused(founder.net.policy.set(ALL, force=True), why)
        await refused(founder.net.policy.reset(), why)
        voter = nodes[2]
        await voter.__aexit__(None, None, None)
        PolicyStore(voter.home).want_recovery()
        again = Node(voter.keystore, lab.worlds["c"], (), local_door=False)
        async with again:
            await everywhere([*nodes[:2], again], None)
            await until(lambda: not (again.home / "policy.recovery").exists())
            await founder.net.policy.set(ALL)
            await everywhere([*nodes[:2], again], ALL)

    in_lab(tmp_path, scenario)


def test_the_way_out_is_a_voter_s_alone_and_takes_nothing_later_with_it(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcd")
        await until(lambda: nodes[3].quorum.leader() is not None)
        entry = await nodes[0].net.policy.set(ALL)
        later = ALL + "# later\n"
        assert await nodes[0].net.policy.set(later) > entry
        client, voter = nodes[3].policing, nodes[1].policing
        with pytest.raises(PermissionDenied, match="d does not vote"):
            await client._asking.ask(RECOVER, [0, entry + 1000], 5)
        for place in ([0, entry], [7, entry + 1000]):
            why, _ = await voter._asking.ask(RECOVER, place, 5)
            assert "another one was decided since" in why
        await everywhere(nodes, later)

    in_lab(tmp_path, scenario)


def test_the_way_out_ends_where_nobody_takes_it(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcd")
        await nodes[0].net.policy.set(ALL)
        client = nodes[3]
        await client.__aexit__(None, None, None)
        PolicyStore(client.home).want_recovery()  # on the machine of one that does not vote
        async with Node(client.keystore, lab.worlds["d"], (), local_door=False) as again:
            await until(lambda: not (again.home / "policy.recovery").exists())
            await everywhere([*nodes[:3], again], ALL)

    in_lab(tmp_path, scenario)


def test_a_node_obeys_what_it_knew_before_it_hears_anybody(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcd")
        client = nodes[3]
        text = denying("name:d", "publish", "news/*")
        await nodes[0].net.policy.set(text)
        await everywhere(nodes, text)
        await client.__aexit__(None, None, None)
        hosts = [world.host for name, world in lab.worlds.items() if name != "d"]
        lab.network.partition([lab.worlds["d"].host], hosts)
        async with Node(client.keystore, lab.worlds["d"], (), local_door=False) as again:
            assert enforced(again) == text
            await refused(again.net.publish("news/x", 1), "rule 'no' of the replicated policy")
            lab.network.heal()
            await nodes[0].net.policy.reset()
            await everywhere([*nodes[:3], again], None)
            await again.net.publish("news/x", 1)

    in_lab(tmp_path, scenario)


def test_a_policy_that_was_reset_while_a_node_was_away_is_gone_there_too(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcd")
        await nodes[0].net.policy.set(ALL)
        await everywhere(nodes, ALL)
        away = nodes[3]
        await away.__aexit__(None, None, None)
        await nodes[0].net.policy.reset()
        async with Node(away.keystore, lab.worlds["d"], (), local_door=False) as again:
            await everywhere([again], None)
            held = PolicyStore(again.home).replicated()
            assert held is not None
            assert held.text is None

    in_lab(tmp_path, scenario)


def test_an_older_policy_never_replaces_a_newer_one(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        (node,) = await network_of(lab, "a", voters=1)
        entry = await node.net.policy.set(ALL)
        for older in (Place(0, entry - 1), Place(0, entry), Place(-1, entry + 50)):
            node.policing._take(Held(older, None))
            assert enforced(node) == ALL
        node.policing._take(Held(Place(0, entry + 1), None))
        assert enforced(node) is None

    in_lab(tmp_path, scenario, voters=1)


def test_a_log_that_was_begun_again_counts_from_where_it_is(tmp_path: Path) -> None:
    """Its entries have lower numbers, and its policy is the later one all the same."""

    async def scenario(lab: NodeLab) -> None:
        (node,) = await network_of(lab, "a", voters=1)
        await node.net.policy.set(ALL)
        node.policing._take(Held(Place(0, 10**6), ALL + "# of the old log\n"))
        electorate = node.quorum.electorate
        electorate.cluster = Cluster(1, "f" * 32)
        await until(lambda: enforced(node) == ALL)
        assert node.policing.held is not None
        assert node.policing.held.place.generation == 1

    in_lab(tmp_path, scenario, voters=1)


def test_what_a_newer_program_wrote_allows_nothing_and_the_log_goes_on(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        leader = lab.leader()
        assert leader is not None
        replica = leader.quorum.replica
        assert replica is not None
        for value in (to_bytes("version = 9"), to_bytes(7), b"\xc1"):
            command = encode_put("conclave/policy", value)
            await replica.propose(command_for(KV_TAG, 0, command))
            await until(lambda: all(n.peer.guard.replicated is not None for n in nodes))
            for node in nodes:
                verdict = node.peer.guard.judge(nodes[0].peer.principal, Action.CALL, "x.y")
                assert not verdict.is_allowed
        await refused(nodes[0].net.kv.put("x", 1), "no rule of the replicated policy")
        assert (await nodes[0].net.status())["leader"] == leader.peer.peer_id
        await leader.__aexit__(None, None, None)
        rest = [node for node in nodes if node is not leader]
        await until(lambda: any(node.quorum.leads for node in rest))

    in_lab(tmp_path, scenario)


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("policy.toml", "version = 2", PolicyInvalid),
        ("policy.toml", "\udcff", PolicyInvalid),
        ("policy.toml", "#" * 70_000, PolicyInvalid),
        ("policy.replicated", "", HomeDamaged),
        ("policy.replicated", "[" * 50_000, HomeDamaged),
        ("policy.replicated", '{"version": 1, "generation": 0, "index": 1.5}', HomeDamaged),
        ("policy.replicated", '{"version": 1, "generation": 0, "index": 1}', HomeDamaged),
        ("policy.recovery", "{}", HomeDamaged),
    ],
)
def test_a_node_does_not_start_with_what_it_cannot_read(
    tmp_path: Path, name: str, text: str, error: type[Exception]
) -> None:
    async def scenario(lab: NodeLab) -> None:
        (node,) = await network_of(lab, "a", voters=1)
        await node.__aexit__(None, None, None)
        (node.home / name).write_text(text, errors="surrogateescape")
        with pytest.raises(error, match=name):
            async with Node(node.keystore, lab.worlds["a"], (), local_door=False):
                raise AssertionError("it is up")
        (node.home / name).unlink()
        async with Node(node.keystore, lab.worlds["a"], (), local_door=False):
            pass

    in_lab(tmp_path, scenario, voters=1)


def test_the_node_s_own_policy_counts_beside_the_network_s(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        (node,) = await network_of(lab, "a", voters=1)
        await node.__aexit__(None, None, None)
        (node.home / "policy.toml").write_text(denying("*", "write", "secret/*"))
        async with Node(node.keystore, lab.worlds["a"], (), local_door=False) as again:
            await until(lambda: again.quorum.leads)
            await again.net.policy.set(denying("*", "write", "public/*"))
            await again.net.kv.put("other", 1)
            await refused(again.net.kv.put("secret/x", 1), "rule 'no' of the file policy")
            await refused(again.net.kv.put("public/x", 1), "rule 'no' of the replicated policy")
            said: dict[str, Any] = await again.net.policy.explain("role:observer", "write", "x")
            assert (said["source"], said["who"]) == ("role", "role:observer")

    in_lab(tmp_path, scenario, voters=1)


def test_a_disk_that_takes_nothing_does_not_keep_a_policy_from_counting(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        (node,) = await network_of(lab, "a", voters=1)
        (node.home / "policy.replicated").mkdir()  # nothing can be renamed over it
        await node.net.policy.set(ALL)
        assert enforced(node) == ALL
        (node.home / "policy.replicated").rmdir()
        await asyncio.sleep(1)

    in_lab(tmp_path, scenario, voters=1)


def test_garbage_changes_no_policy_and_fails_no_handler(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        admin = await lab.up("boss", roles=Role.SERVICE | Role.ADMIN)
        await until(lambda: len(admin.peer.presence.present()) == 3)
        await nodes[0].net.policy.set(ALL)
        await everywhere([*nodes, admin], ALL)
        rng = Random(11)
        values: list[Any] = [None, 7, [], [None], [[], True], ["", 1], [b"x", True], [1, 2, 3]]
        values += [["version = 1\n" * 2, True], ["\ud800", True], [-1, 2**63 - 1], [1.5, "x"]]
        for target in nodes:
            for method in (SET, RECOVER):
                for value in values:
                    with contextlib.suppress(PayloadError, RemoteError, UnicodeEncodeError):
                        payload = encode_payload(value)
                        await admin.peer.request(target.peer.peer_id, method, payload, timeout_s=5)
                for _ in range(50):
                    payload = rng.randbytes(rng.randrange(40))
                    with contextlib.suppress(PermissionDenied):
                        await admin.peer.request(target.peer.peer_id, method, payload, timeout_s=5)
        for node in nodes:
            assert node.peer.counters().get("rpc_handler_failed", 0) == 0
            assert enforced(node) == ALL

    in_lab(tmp_path, scenario)
