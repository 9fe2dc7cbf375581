"""Who may do what where it is served: roles, namespaces and policies at every point of a node.

One founder (administrator and service) that decides alone and serves; a service for everything, a
service, a manager and an observer that are limited.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from keeping_lab import in_lab
from node_lab import NodeLab, until

from agents import Agent, Context
from agents.errors import TaskFailed
from agents.node import Node
from consensus import ChangeRefused
from consensus.kv import encode_batch, encode_complete, encode_release, encode_renew, release
from keys import Action, Permission, Role
from keys.policies import parse_policy
from p2p import PermissionDenied, encode_payload

EVERYTHING = '[[rule]]\nname = "all"\neffect = "allow"\nwho = "*"\nactions = "*"\nwhat = "*"\n'

Ask = Callable[[Node], Awaitable[Any]]


def denying(who: str, action: str, what: str) -> str:
    return (
        f'version = 1\n{EVERYTHING}[[rule]]\nname = "no"\neffect = "deny"\n'
        f'who = "{who}"\nactions = "{action}"\nwhat = "{what}"\n'
    )


class Desk:
    """Agents in two namespaces and in none, and what they were asked."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.ended: list[str] = []

    def agents(self) -> list[Agent]:
        return [self._agent("plain", ""), self._agent("shop", "shop"), self._agent("bank", "bank")]

    def _agent(self, name: str, namespace: str) -> Agent:
        agent = Agent(name, namespace=namespace)

        @agent.serve("desk.work")
        async def work(text: str = "") -> str:
            self.seen.append(f"{name} {text}")
            return name

        @agent.serve("desk.count")
        async def count(context: Context) -> AsyncIterator[int]:
            number = 0
            try:
                while True:
                    yield number
                    number += 1
                    await asyncio.sleep(0.1)
            finally:
                self.ended.append(context.caller_name)

        @agent.serve("desk.drain", permission=Permission.NODE_DRAIN)
        async def drain(context: Context) -> str:
            self.seen.append(f"drained for {context.caller_name}")
            return "drained"

        return agent


async def office(lab: NodeLab) -> tuple[Desk, dict[str, Node]]:
    desk = Desk()
    nodes = {"ada": await lab.up("ada", desk.agents())}
    await until(lambda: nodes["ada"].quorum.leads)
    for name, roles, namespaces in (
        ("sam", Role.SERVICE, ("*",)),
        ("sue", Role.SERVICE, ("shop",)),
        ("max", Role.MANAGER | Role.SERVICE, ("shop",)),
        ("eye", Role.OBSERVER, ("*",)),
    ):
        nodes[name] = await lab.up(name, roles=roles, namespaces=namespaces)
    for node in nodes.values():
        await until(lambda n=node: len(n.directory.providers("bank:desk.work")) == 1)  # type: ignore[misc]
        await until(lambda n=node: n.quorum.leader() is not None)  # type: ignore[misc]
    await until(lambda: all(len(n.peer.presence.present()) == 4 for n in nodes.values()))
    return desk, nodes


async def refused(asked: Awaitable[Any], *words: str) -> None:
    with pytest.raises(PermissionDenied) as got:
        await asked
    for word in words:
        assert word in str(got.value), got.value


async def first(node: Node, capability: str) -> Any:
    async for item in node.net.stream(capability):
        return item


async def submitted(node: Node, skill: str) -> Any:
    return await node.net.submit(skill, {"text": "task"}, key=f"{node.peer.name} {skill}")


# How each way in is asked, of a capability, topic, key or kind in a namespace; what the guard's
# listener hears of it.
WAYS: dict[str, Callable[[Node, str], Awaitable[Any]]] = {
    "call": lambda node, ns: node.net.call(f"{ns}desk.work"),
    "send": lambda node, ns: node.net.send(f"{ns}desk.work"),
    "stream": lambda node, ns: first(node, f"{ns}desk.count"),
    "submit": lambda node, ns: submitted(node, f"{ns}desk.work"),
    "write": lambda node, ns: node.net.kv.put(f"{ns}key", 1),
    "read": lambda node, ns: node.net.kv.get(f"{ns}key"),
    "publish": lambda node, ns: node.net.publish(f"{ns}news", 1),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_service_of_one_namespace_does_not_reach_into_another(tmp_path: Path, way: str) -> None:
    async def scenario(lab: NodeLab) -> None:
        desk, nodes = await office(lab)
        sue, ask = nodes["sue"], WAYS[way]
        await ask(sue, "shop:")
        await ask(sue, "")
        desk.seen.clear()
        await refused(ask(sue, "bank:"), "namespace 'bank'", "sue has the namespaces: shop")
        await ask(nodes["sam"], "bank:")
        await asyncio.sleep(1)
        assert "bank task" not in desk.seen or way == "submit"

    in_lab(tmp_path, scenario, voters=1)


@pytest.mark.parametrize("way", WAYS)
def test_an_observer_does_nothing_of_this_and_is_told_which_role_does(
    tmp_path: Path, way: str
) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, nodes = await office(lab)
        await refused(WAYS[way](nodes["eye"], ""), "eye lacks the permission", "service or manager")

    in_lab(tmp_path, scenario, voters=1)


@pytest.mark.parametrize("way", WAYS)
def test_a_policy_counts_at_the_next_request_and_its_end_too(tmp_path: Path, way: str) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, nodes = await office(lab)
        sam, ada, ask = nodes["sam"], nodes["ada"], WAYS[way]
        heard: list[tuple[str, str, str]] = []
        judge = sam if way == "publish" else ada
        judge.peer.guard.on_denied.append(
            lambda who, action, what, rule: heard.append((who.name, action, rule))
        )
        await ask(sam, "bank:")
        judge.peer.guard.set_replicated(parse_policy(denying("name:sam", way, "bank:*")))
        await refused(ask(sam, "bank:"), "rule 'no' of the replicated policy denies sam")
        assert heard == [("sam", way, "replicated:no")]
        await ask(sam, "shop:")
        judge.peer.guard.set_replicated(None)
        await ask(sam, "bank:")

    in_lab(tmp_path, scenario, voters=1)


def test_a_notice_that_is_not_allowed_is_dropped_counted_and_told(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        desk, nodes = await office(lab)
        heard: list[tuple[str, ...]] = []
        ada = nodes["ada"]
        ada.peer.guard.on_denied.append(lambda who, *rest: heard.append((who.name, *rest)))
        await nodes["sue"].net.notify("bank:desk.work", "psst")
        await until(lambda: ada.calling.counters().get("notice_dropped_denied"))
        assert await nodes["sam"].net.broadcast("bank:desk.work", "loud", everyone=True) == 5
        await until(lambda: "bank loud" in desk.seen)
        assert "bank psst" not in desk.seen
        assert heard == [("sue", "notify", "bank:desk.work", "namespace")]

    in_lab(tmp_path, scenario, voters=1)


def test_a_running_stream_ends_when_it_is_no_longer_allowed(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        desk, nodes = await office(lab)
        guard = nodes["ada"].peer.guard
        got: dict[str, list[int]] = {"sam": [], "sue": []}

        async def follow(name: str) -> None:
            async for number in nodes[name].net.stream("desk.count"):
                got[name].append(number)

        async with asyncio.TaskGroup() as group:
            others = group.create_task(follow("sue"))
            mine = group.create_task(refused(follow("sam"), "rule 'no' of the file policy"))
            await until(lambda: all(len(numbers) > 2 for numbers in got.values()))
            guard.set_file(parse_policy(denying("name:sam", "call", "*")))  # nothing to do with it
            await asyncio.sleep(1)
            assert not mine.done()
            guard.set_file(parse_policy(denying("name:sam", "stream", "desk.*")))
            await mine
            assert desk.ended == ["sam"]
            count = len(got["sue"])
            await until(lambda: len(got["sue"]) > count + 5)
            others.cancel()

    in_lab(tmp_path, scenario, voters=1)


def test_own_tasks_are_everybody_s_and_those_of_others_take_a_right(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, nodes = await office(lab)
        sam, sue, mgr, eye = (nodes[name].net for name in ("sam", "sue", "max", "eye"))
        waiting = {
            ns: await sam.submit(f"{ns}nobody.serves", key=f"of sam {ns}")
            for ns in ("", "shop:", "bank:")
        }
        own = await sue.submit("shop:nobody.serves", key="of sue")
        # To inspect: a role, in the namespace.
        assert {t["skill"] for t in (await eye.tasks())["tasks"]} == {
            "nobody.serves",
            "shop:nobody.serves",
            "bank:nobody.serves",
        }
        seen = await sue.tasks()
        assert {t["skill"] for t in seen["tasks"]} == {"nobody.serves", "shop:nobody.serves"}
        assert set(seen["waiting"]) == {"nobody.serves", "shop:nobody.serves"}
        await refused(sue.task(waiting["bank:"].id), "tasks.view", "namespace 'bank'")
        assert (await sue.task(waiting["shop:"].id)).id == waiting["shop:"].id
        # To control: a manager, in its namespaces alone.
        await refused(sue.cancel(waiting["shop:"].id), "sue lacks the permission TASK_CONTROL")
        await refused(eye.cancel(waiting["shop:"].id), "eye lacks the permission TASK_SUBMIT")
        await refused(mgr.cancel(waiting["bank:"].id), "namespace 'bank'")
        await refused(mgr.cancel(waiting[""].id), "the whole network", "max")
        await refused(mgr.retry(waiting[""].id), "the whole network", "max")
        await mgr.cancel(waiting["shop:"].id)
        await sue.cancel(own.id)
        await sam.cancel(waiting["bank:"].id)
        await nodes["ada"].net.cancel(waiting[""].id)
        counts = (await sam.tasks())["counts"]
        assert counts["cancelled"] == 4

    in_lab(tmp_path, scenario, voters=1)


def test_of_long_lists_one_sees_as_much_as_one_may(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, nodes = await office(lab)
        await nodes["sam"].net.submit_many("shop:nobody.serves", range(5))
        await nodes["sam"].net.submit_many("bank:nobody.serves", range(20))
        found = (await nodes["sue"].net.tasks(limit=4))["tasks"]
        assert [t["skill"] for t in found] == ["shop:nobody.serves"] * 4

    in_lab(tmp_path, scenario, voters=1)


def test_what_a_handler_asks_for_is_asked_of_a_task_s_submitter(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        desk, nodes = await office(lab)
        await refused(
            nodes["sam"].net.call("shop:desk.drain"), "sam lacks the permission NODE_DRAIN"
        )
        task = await nodes["sam"].net.submit("shop:desk.drain")
        with pytest.raises(TaskFailed, match="sam lacks the permission NODE_DRAIN"):
            await task.result(timeout=10)
        assert desk.seen == []
        allowed = await nodes["max"].net.submit("shop:desk.drain")
        assert await allowed.result(timeout=10) == "drained"
        assert len(desk.seen) == 1
        assert desk.seen[0].startswith("drained for max (")

    in_lab(tmp_path, scenario, voters=1)


def test_a_submitter_who_lost_the_right_meanwhile_gets_nothing_done(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        desk, nodes = await office(lab)
        task = await nodes["sam"].net.submit("late.work")
        worker = Agent("late")

        @worker.serve("late.work")
        async def work() -> None:
            desk.seen.append("late")

        policy = denying("name:sam", "submit", "late.*")
        await lab.up("late", [worker], files={"policy.toml": policy})
        with pytest.raises(TaskFailed, match="rule 'no' of the file policy denies sam"):
            await task.result(timeout=20)
        assert desk.seen == []

    in_lab(tmp_path, scenario, voters=1)


def test_keys_and_locks_are_read_listed_and_watched_as_far_as_one_may(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, nodes = await office(lab)
        kv = {name: node.net.kv for name, node in nodes.items()}
        changes: dict[str, list[str]] = {"sue": [], "ada": []}

        async def follow(name: str) -> None:
            async for change in kv[name].watch(""):
                changes[name].append(change.key)  # type: ignore[union-attr]

        following = [asyncio.ensure_future(follow(name)) for name in changes]
        await asyncio.sleep(1)
        for key in ("a", "bank:b", "shop:c", "bank:z"):
            await kv["sam"].put(key, key)
        await nodes["ada"].governing.autopilot(on=False)
        assert [key async for key, _ in kv["sue"].list()] == ["a", "shop:c"]
        assert [key async for key, _ in kv["sam"].list()] == ["a", "bank:b", "bank:z", "shop:c"]
        own = [key async for key, _ in kv["ada"].list(stale_ok=True)]
        assert own == ["a", "bank:b", "bank:z", "conclave/autopilot", "shop:c"]
        assert [key async for key, _ in kv["eye"].list("conclave/")] == ["conclave/autopilot"]
        for stale_ok in (False, True):
            await refused(kv["sue"].get("bank:b", stale_ok=stale_ok), "sue has the namespaces")
            await refused(anext(kv["sue"].list("bank:", stale_ok=stale_ok)), "namespace 'bank'")
            await refused(kv["sam"].get("conclave/autopilot", stale_ok=stale_ok), "CONFIG_READ")
            await refused(kv["eye"].get("a", stale_ok=stale_ok), "eye lacks the permission STORE")
        await refused(anext(kv["sue"].watch("bank:")), "namespace 'bank'")
        await until(lambda: len(changes["ada"]) == 5)
        await until(lambda: changes["sue"] == ["a", "shop:c"])
        async with nodes["sue"].net.lock("shop:printer"):
            pass
        with pytest.raises(PermissionDenied, match="namespace 'bank'"):
            async with nodes["sue"].net.lock("bank:printer"):
                pass
        for one in following:
            one.cancel()

    in_lab(tmp_path, scenario, voters=1)


def test_a_page_of_which_one_may_read_nothing_does_not_end_the_list(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, nodes = await office(lab)
        for number in range(12):
            await nodes["sam"].net.kv.put(f"bank:{number:02}", b"x" * 200_000)
        await nodes["sam"].net.kv.put("shop:last", 1)
        assert [key async for key, _ in nodes["sue"].net.kv.list()] == ["shop:last"]

    in_lab(tmp_path, scenario, voters=1)


def test_the_log_and_its_switches_are_the_administrators(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, nodes = await office(lab)
        sam, mgr, ada = (nodes[name].governing for name in ("sam", "max", "ada"))
        peer_id = nodes["sam"].peer.peer_id
        said = "lacks the permission RAFT_ADMIN, which the role admin gives"
        for one in (sam, mgr):
            await refused(one.add_voter(peer_id), said)
            await refused(one.remove_voter(peer_id), said)
            await refused(one.transfer(None), said)
        await refused(sam.autopilot(on=False), "CONFIG_CHANGE, which the role manager or admin")
        await refused(mgr.autopilot(on=False), "concerns the whole network")
        await ada.autopilot(on=False)
        guard = nodes["ada"].peer.guard
        guard.set_file(parse_policy(denying("role:admin", "govern", "voters")))
        await refused(ada.add_voter(peer_id), "rule 'no' of the file policy denies ada")
        with pytest.raises(ChangeRefused, match="hand leadership to anyone"):
            await ada.transfer(None)  # it may, and there is nobody

    in_lab(tmp_path, scenario, voters=1)


def test_who_may_ask_a_question_depends_on_its_kind(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, nodes = await office(lab)
        guard = nodes["ada"].peer.guard
        guard.set_file(parse_policy(denying("name:sam", "decide", "deploy")))
        sam, eye = nodes["sam"].net, nodes["eye"].net
        await refused(sam.decide("go?", kind="deploy", deadline=1), "sam")
        await refused(eye.decide("go?", deadline=1), "eye lacks the permission DECIDE")
        await refused(nodes["sue"].net.decide("go?", kind="bank:x", deadline=1), "namespace")
        assert (await sam.decide("go?", kind="other", deadline=1)).outcome == "expired"
        guard.set_file(parse_policy(denying("*", "decide", "people")))
        await refused(sam.decide("go?", deadline=1), "to decide 'people'")

    in_lab(tmp_path, scenario, voters=1)


def test_a_denied_method_is_told_too(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        _, nodes = await office(lab)
        heard: list[tuple[str, ...]] = []
        nodes["ada"].peer.guard.on_denied.append(lambda who, *rest: heard.append((who.name, *rest)))
        await refused(nodes["eye"].net.call("desk.work"), "CALL")
        with pytest.raises(PermissionDenied):
            await first(nodes["eye"], "desk.count")
        await refused(nodes["sam"].net.call("desk.drain"), "NODE_DRAIN")
        calls, streams = ("agents.call", "role"), ("agents.stream", "role")
        assert heard == [
            ("eye", "use", *calls),
            ("eye", "use", *streams),
            ("sam", "call", "desk.drain", "role"),
        ]
        assert nodes["ada"].peer.guard.judge(nodes["eye"].peer.principal, Action.CALL, "x").why

    in_lab(tmp_path, scenario, voters=1)


def test_a_lock_is_given_back_renewed_and_completed_by_its_holder_alone(tmp_path: Path) -> None:
    """Its token is no secret: who may lock can read it, and every fence is told it."""

    async def scenario(lab: NodeLab) -> None:
        _, nodes = await office(lab)
        leader = nodes["ada"].peer.peer_id

        async def write(name: str, command: bytes) -> bytes:
            payload = encode_payload([command])
            return await nodes[name].peer.request(leader, "kv.write", payload, timeout_s=5)

        async with nodes["sue"].net.lock("shop:printer") as lock:
            for command in (
                encode_release("shop:printer", lock.token),
                encode_renew("shop:printer", lock.token, 60_000),
                encode_complete("shop:printer", lock.token, b"mine"),
                encode_batch([release("shop:printer", lock.token)]),
            ):
                with pytest.raises(PermissionDenied, match="than sam holds it"):
                    await write("sam", command)
            assert lock.is_valid()
            found = nodes["ada"].quorum.kv.lock("shop:printer")
            assert found is not None
            assert found.holder is not None
        await until(lambda: nodes["ada"].quorum.kv.lock("shop:printer").holder is None)  # type: ignore[union-attr]

    in_lab(tmp_path, scenario, voters=1)
