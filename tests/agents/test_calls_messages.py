"""Notices, messages that are acknowledged, broadcasts and namespaces between whole nodes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from calling_lab import Bench, meet
from node_lab import NodeLab, in_lab, until

from agents import Agent, BadAgent, NoProvider
from agents.adverts import Told, entry_of
from keys import Permission
from p2p import (
    BadRequest,
    DeadlineExceeded,
    NoSuchMethod,
    Overloaded,
    PeerUnreachable,
    PermissionDenied,
    WorldError,
)


def test_a_notice_runs_in_the_background_and_a_drop_is_counted_by_its_reason(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        bench = Bench("b", limit=2)
        caller = await lab.up("caller")
        node = await lab.up("b", [bench.agent])
        await meet(caller, "bench.work", 1)
        bench.hang()
        for n in range(4):
            await caller.net.notify("bench.work", str(n))
        await caller.net.notify("bench.work", ["no", "text"])
        await caller.net.notify("bench.other", peer="b")
        await until(lambda: bench.seen == ["0", "1"])
        await until(lambda: node.calling.counters().get("notice_dropped_not_offered") == 1)
        counts = node.calling.counters()
        assert counts["notice_dropped_overloaded"] == 2
        assert counts["notice_dropped_bad_request"] == 1
        assert bench.left_s == [None, None]
        bench.open.set()
        await until(lambda: node.host.running == 0)
        with pytest.raises(NoProvider):
            await caller.net.notify("no.such")

    in_lab(tmp_path, scenario)


def test_a_send_returns_when_it_was_accepted_and_the_handler_runs_on(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        bench = Bench("b", limit=1)
        caller = await lab.up("caller")
        await lab.up("b", [bench.agent])
        await meet(caller, "bench.work", 1)
        bench.hang()
        await caller.net.send("bench.work", "kept", deadline=1)
        with pytest.raises(Overloaded, match="1 calls of it already run"):
            await caller.net.send("bench.work", "too much")
        with pytest.raises(BadRequest, match=r"bench\.work\(text: str\)"):
            await caller.net.send("bench.work", 7)
        with pytest.raises(NoSuchMethod):
            await caller.net.send("bench.other", peer="b")
        with pytest.raises(NoProvider):
            await caller.net.send("bench.other")
        await asyncio.sleep(5)
        assert bench.seen == ["kept"]
        assert bench.cancelled == []
        assert bench.left_s == [None]

    in_lab(tmp_path, scenario)


def test_a_send_that_is_refused_by_one_is_accepted_by_the_next(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        benches = [Bench("b", limit=1), Bench("c", limit=1)]
        caller = await lab.up("caller")
        for bench in benches:
            await lab.up(bench.agent.name, [bench.agent])
            bench.hang()
        await meet(caller, "bench.work", 2)
        await caller.net.send("bench.work", "x", balance="round_robin")
        await caller.net.send("bench.work", "y", balance="consistent_hash", key="k")
        assert sorted(t for bench in benches for t in bench.seen) == ["x", "y"]
        assert all(len(bench.seen) == 1 for bench in benches)

    in_lab(tmp_path, scenario)


def test_when_answers_are_lost_the_message_is_repeated_and_its_handler_runs_once(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        bench = Bench("b")
        caller = await lab.up("caller")
        node = await lab.up("b", [bench.agent])
        await meet(caller, "bench.work", 1)
        await caller.net.send("bench.work", "before")
        # Frames from b to the caller vanish: the message arrives, the answer does not.
        back = (lab.worlds["b"].host, lab.worlds["caller"].host)
        lab.network.cut([back[0]], [back[1]], both_ways=False)
        sending = asyncio.create_task(caller.net.send("bench.work", "once", deadline=60))
        await until(lambda: "once" in bench.seen, 5)
        await asyncio.sleep(3)
        assert not sending.done()
        lab.network.heal()
        await sending
        assert bench.seen == ["before", "once"]
        assert node.calling.counters()["send_accepted_before"] >= 1
        await caller.net.send("bench.work", "after")
        assert bench.seen == ["before", "once", "after"]

    in_lab(tmp_path, scenario)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_under_heavy_loss_every_message_that_was_accepted_ran_once(
    tmp_path: Path, seed: int
) -> None:
    async def scenario(lab: NodeLab) -> None:
        benches = [Bench("b"), Bench("c")]
        caller = await lab.up("caller")
        for bench in benches:
            await lab.up(bench.agent.name, [bench.agent])
        await meet(caller, "bench.work", 2)
        lab.network.faults.loss = 0.3
        sends = [caller.net.send("bench.work", str(n), deadline=20) for n in range(60)]
        said = await asyncio.gather(*sends, return_exceptions=True)
        lab.network.faults.loss = 0.0
        seen = [text for bench in benches for text in bench.seen]
        assert len(seen) == len(set(seen)), "a message ran twice"
        for n, outcome in enumerate(said):
            assert outcome is None or isinstance(outcome, WorldError), outcome
            if outcome is None:
                assert str(n) in seen
            elif outcome.definite:
                assert str(n) not in seen
        assert sum(outcome is None for outcome in said) > 30

    in_lab(tmp_path, scenario, seed=seed)


def test_a_message_is_not_repeated_to_another_start_of_its_receiver(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        bench = Bench("b")
        caller = await lab.up("caller")
        node = await lab.up("b", [bench.agent])
        await meet(caller, "bench.work", 1)
        # The caller believes in another start of b than the one that is there.
        real = caller.directory.start_of(node.peer.peer_id)
        assert real == node.peer.incarnation
        caller.directory._peers[node.peer.peer_id].start = real + 1
        with pytest.raises(PeerUnreachable, match="started again") as caught:
            await caller.net.send("bench.work", "x", deadline=5)
        assert caught.value.definite
        assert bench.seen == []

    in_lab(tmp_path, scenario)


def test_a_broadcast_reaches_all_and_says_what_became_of_it_at_each(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        benches = {name: Bench(name) for name in ("b", "c", "d")}
        caller = await lab.up("caller")
        for name, bench in benches.items():
            await lab.up(name, [bench.agent])
        await meet(caller, "bench.work", 3)
        assert await caller.net.broadcast("bench.work", "all") == 3
        await until(lambda: all(bench.seen == ["all"] for bench in benches.values()))
        dead = lab.nodes["c"]
        lab.crash(dead)
        said = await caller.net.broadcast("bench.work", "again", ack=True, deadline=5)
        assert {d.peer: d.error is None for d in said} == {
            lab.nodes["b"].peer.peer_id: True,
            dead.peer.peer_id: False,
            lab.nodes["d"].peer.peer_id: True,
        }
        failed = next(d for d in said if d.error is not None)
        assert isinstance(failed.error, WorldError)
        assert failed.name.startswith("c (")
        with pytest.raises(NoProvider):
            await caller.net.broadcast("no.such")
        everyone = await caller.net.broadcast("bench.work", "x", everyone=True, ack=True)
        errors = {d.name.split(" ")[0]: d.error for d in everyone}
        assert errors["b"] is None
        assert isinstance(errors["caller"], NoSuchMethod)

    in_lab(tmp_path, scenario)


def test_a_message_to_who_may_not_send_it_is_refused(tmp_path: Path) -> None:
    agent = Agent("guarded")

    @agent.serve("guarded.drain", permission=Permission.NODE_DRAIN)
    async def drain() -> None: ...

    async def scenario(lab: NodeLab) -> None:
        await lab.up("b", [agent])
        caller = await lab.up("c")
        await meet(caller, "guarded.drain", 1)
        with pytest.raises(PermissionDenied, match="c lacks the permission NODE_DRAIN"):
            await caller.net.send("guarded.drain")

    in_lab(tmp_path, scenario)


def test_arguments_that_are_called_like_options_travel_by_name(tmp_path: Path) -> None:
    agent = Agent("store")
    got: list[tuple[str, int]] = []

    @agent.serve("store.put")
    async def put(key: str, priority: int) -> str:
        got.append((key, priority))
        return key

    async def scenario(lab: NodeLab) -> None:
        net = (await lab.up("a", [agent])).net
        assert (
            await net.call("store.put", priority="high", named={"key": "k", "priority": 1}) == "k"
        )
        await net.send("store.put", "s", named={"priority": 2})
        await net.notify("store.put", named={"key": "n", "priority": 3})
        assert await net.broadcast("store.put", named={"key": "b", "priority": 4}) == 1
        await until(lambda: sorted(got) == [("b", 4), ("k", 1), ("n", 3), ("s", 2)])

    in_lab(tmp_path, scenario, voters=1)


def test_a_send_ends_with_its_deadline(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        caller = await lab.up("caller")
        await lab.up("b", [Bench("b").agent])
        await meet(caller, "bench.work", 1)
        lab.network.faults.loss = 1.0
        began = asyncio.get_running_loop().time()
        with pytest.raises(DeadlineExceeded, match=r"within 1\.5 s") as caught:
            await caller.net.send("bench.work", "x", deadline=1.5)
        assert not caught.value.definite
        assert 1.4 < asyncio.get_running_loop().time() - began < 2.5
        lab.network.faults.loss = 0.0

    in_lab(tmp_path, scenario)


def eye(capability: str = "image.read", namespace: str = "vision") -> Agent:
    agent = Agent("eye", namespace=namespace)

    @agent.serve(capability)
    async def read(name: str) -> str:
        return f"{namespace or 'default'}: {name}"

    return agent


def test_a_capability_of_a_namespace_is_called_by_its_full_name_or_from_within(
    tmp_path: Path,
) -> None:
    async def scenario(lab: NodeLab) -> None:
        net = (await lab.up("a")).net
        await lab.up("b", [eye()], namespaces=("vision",))
        await lab.up("c", [eye(namespace="")])
        await net.wait_for("vision:image.read")
        await net.wait_for("image.read")
        assert await net.call("vision:image.read", "x") == "vision: x"
        assert await net.call("image.read", "x") == "default: x"
        within = net.within("vision")
        assert await within.call("image.read", "x") == "vision: x"
        assert await within.call(":image.read", "x") == "default: x"
        task = await within.submit("image.read", {"name": "t"})
        assert await task.result(timeout=10) == "vision: t"
        offers = {o["capability"]: o for row in await net.agents() for o in row["offers"]}
        assert offers["vision:image.read"]["namespace"] == "vision"
        assert offers["image.read"]["namespace"] == ""

    in_lab(tmp_path, scenario, voters=1)


def test_a_node_hosts_only_in_namespaces_that_its_certificate_allows(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        await lab.up("a")
        await lab.up("b", [eye(namespace="shop.eu")], namespaces=("shop",))
        with pytest.raises(BadAgent, match="'vision', and the certificate of c allows: shop"):
            await lab.up("c", [eye()], namespaces=("shop",))
        del lab.nodes["c"], lab.worlds["c"]

    in_lab(tmp_path, scenario)


def test_what_a_peer_offers_outside_its_namespaces_is_left_out_and_counted(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        a = await lab.up("a")
        liar = await lab.up("b", [eye(namespace="")], namespaces=("shop",))
        await meet(a, "image.read", 1)
        liar.peer.presence.adverts.change({"eye": entry_of(eye(), Told())})
        liar.peer.presence.adverts.change({"other": entry_of(eye("o.k", ""), Told())})
        await meet(a, "o.k", 1)
        assert a.directory.providers("vision:image.read") == []
        assert a.directory.counts["offer_outside_namespaces"] == 1

    in_lab(tmp_path, scenario)


@pytest.mark.parametrize("namespace", ["Vision", "a b", "a:b", ".a", "*", "x" * 64])
def test_names_that_namespaces_cannot_have(namespace: str) -> None:
    with pytest.raises(BadAgent, match="namespace"):
        Agent("eye", namespace=namespace)
