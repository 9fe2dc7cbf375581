"""Calls between whole nodes: who is asked, who is left alone, and what is asked twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from calling_lab import Bench, meet
from node_lab import NodeLab, in_lab, until

from agents import Agent, CircuitOpen, Context, InvalidArguments, NoProvider
from agents.local import describe_error, rebuild_error
from p2p import (
    ConnectionLost,
    DeadlineExceeded,
    HandlerFailed,
    NoSuchMethod,
    Overloaded,
    PeerUnreachable,
)


async def work(lab: NodeLab, count: int, **options: object) -> Counter[str]:
    """Call so often, one after another, and return who answered."""
    net = lab.nodes["caller"].net
    said = [await net.call("bench.work", str(n), **options) for n in range(count)]
    return Counter(said)


def test_calls_are_spread_as_the_caller_or_the_providers_say(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        caller = await lab.up("caller")
        await lab.up("b", [Bench("b", balance="weighted", weight=3).agent])
        await lab.up("c", [Bench("c", balance="weighted", weight=1).agent])
        await meet(caller, "bench.work", 2)
        assert await work(lab, 40) == {"b": 30, "c": 10}
        assert await work(lab, 40, balance="round_robin") == {"b": 20, "c": 20}
        assert len(await work(lab, 20, balance="consistent_hash", key="k")) == 1
        shares = await work(lab, 200, balance="least_outstanding")
        assert all(70 < share < 130 for share in shares.values()), shares
        with pytest.raises(InvalidArguments, match="'consistent_hash' needs a key"):
            await work(lab, 1, balance="consistent_hash")
        with pytest.raises(InvalidArguments, match="balance 'best' is none of round_robin"):
            await work(lab, 1, balance="best")
        with pytest.raises(InvalidArguments, match="priority 'urgent' is none of low"):
            await work(lab, 1, priority="urgent")

    in_lab(tmp_path, scenario)


def test_those_named_are_asked_before_it_is_known_what_they_offer(tmp_path: Path) -> None:
    """As the members of a cluster are, by one who was cut off and hears of them again."""

    async def scenario(lab: NodeLab) -> None:
        caller = await lab.up("caller")
        up = {name: await lab.up(name, [Bench(name).agent]) for name in "bc"}
        ids = {name: node.peer.peer_id for name, node in up.items()}
        bare = await lab.up("d")
        await meet(caller, "bench.work", 2)
        await until(lambda: caller.peer.session_of(bare.peer.peer_id))
        known = caller.directory.offering
        offered = known("bench.work")
        for hidden in ({ids["b"]}, set(ids.values())):
            left = {peer: terms for peer, terms in offered.items() if peer not in hidden}
            caller.directory.offering = lambda _, left=left: left  # type: ignore[method-assign]
            caller.directory.version += 1
            assert await work(lab, 5, among=[ids["b"]]) == {"b": 5}
            among = [bare.peer.peer_id, ids["b"]]  # who does not offer it is passed over
            assert await work(lab, 9, among=among) == {"b": 9}
            with pytest.raises(NoSuchMethod):
                await work(lab, 1, among=[bare.peer.peer_id])
            with pytest.raises(NoProvider):
                await work(lab, 1, among=[])
        with pytest.raises(PeerUnreachable, match="nobody"):
            await work(lab, 1, among=["nobody"])
        lab.crash(up["b"])
        with pytest.raises((PeerUnreachable, ConnectionLost)):
            await work(lab, 1, among=[ids["b"]])
        caller.directory.offering = known  # type: ignore[method-assign]

    in_lab(tmp_path, scenario)


def test_when_a_provider_dies_idempotent_calls_go_to_the_other(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        caller = await lab.up("caller")
        dead = await lab.up("b", [Bench("b", idempotent=True).agent])
        await lab.up("c", [Bench("c", idempotent=True).agent])
        await meet(caller, "bench.work", 2)
        assert set(await work(lab, 20)) == {"b", "c"}
        lab.crash(dead)
        assert await work(lab, 20) == {"c": 20}
        with pytest.raises(PeerUnreachable):
            await caller.net.call("bench.work", "x", peer="b", deadline=30)

    in_lab(tmp_path, scenario)


def test_a_provider_that_hangs_is_left_alone_until_a_probe_is_answered(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        hung, well = Bench("b"), Bench("c")
        caller = await lab.up("caller")
        await lab.up("b", [hung.agent])
        await lab.up("c", [well.agent])
        await meet(caller, "bench.work", 2)
        hung.hang()
        failures = 0
        for n in range(20):
            try:
                await caller.net.call("bench.work", str(n), deadline=0.2, balance="round_robin")
            except DeadlineExceeded:
                failures += 1
        assert failures in (5, 6)  # five open the breaker, and one more may have been the probe
        assert len(well.seen) == 20 - failures
        with pytest.raises(CircuitOpen, match=r"calls to b \(.*\) failed again") as caught:
            await caller.net.call("bench.work", "x", peer="b")
        assert caught.value.definite
        assert 0 < caught.value.retry_in_ms <= 2000
        assert caller.calling.counters()["breakers_opened"] == failures - 4
        hung.open.set()
        await asyncio.sleep(3)
        assert await work(lab, 10, balance="round_robin") == {"b": 5, "c": 5}

    in_lab(tmp_path, scenario)


def test_when_every_breaker_is_open_the_call_is_refused_at_once(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        bench = Bench("b")
        caller = await lab.up("caller")
        await lab.up("b", [bench.agent])
        await meet(caller, "bench.work", 1)
        bench.hang()
        for n in range(5):
            with pytest.raises(DeadlineExceeded):
                await caller.net.call("bench.work", str(n), deadline=0.1)
        began = asyncio.get_running_loop().time()
        with pytest.raises(CircuitOpen) as caught:
            await caller.net.call("bench.work", "x", deadline=30)
        assert asyncio.get_running_loop().time() == began
        rebuilt = rebuild_error(describe_error(caught.value))
        assert isinstance(rebuilt, CircuitOpen)
        assert rebuilt.peers == caught.value.peers

    in_lab(tmp_path, scenario)


def test_handlers_that_raise_open_no_breaker(tmp_path: Path) -> None:
    agent = Agent("b")

    @agent.serve("bench.fail")
    async def fail() -> None:
        raise RuntimeError("no luck")

    async def scenario(lab: NodeLab) -> None:
        caller = await lab.up("caller")
        await lab.up("b", [agent])
        await meet(caller, "bench.fail", 1)
        for _ in range(30):
            with pytest.raises(HandlerFailed):
                await caller.net.call("bench.fail")

    in_lab(tmp_path, scenario)


@pytest.mark.parametrize("idempotent", [True, False])
def test_after_a_lost_connection_only_idempotent_work_is_done_again(
    tmp_path: Path, idempotent: bool
) -> None:
    async def scenario(lab: NodeLab) -> None:
        one, other = Bench("b", idempotent=idempotent), Bench("c", idempotent=idempotent)
        caller = await lab.up("caller")
        await lab.up("b", [one.agent])
        await lab.up("c", [other.agent])
        await meet(caller, "bench.work", 2)
        one.hang()
        other.hang()
        call = asyncio.create_task(caller.net.call("bench.work", "x", deadline=60))
        await until(lambda: one.seen or other.seen)
        first, second = (one, other) if one.seen else (other, one)
        second.open.set()
        lab.crash(lab.nodes["b" if first is one else "c"])
        if idempotent:
            assert await call == ("c" if second is other else "b")
        else:
            with pytest.raises(ConnectionLost):
                await call
        assert second.seen == (["x"] if idempotent else [])

    in_lab(tmp_path, scenario)


@pytest.mark.parametrize("idempotent", [True, False])
def test_an_attempt_that_takes_too_long_is_made_elsewhere_if_it_may(
    tmp_path: Path, idempotent: bool
) -> None:
    async def scenario(lab: NodeLab) -> None:
        one, other = Bench("b", idempotent=idempotent), Bench("c", idempotent=idempotent)
        caller = await lab.up("caller")
        await lab.up("b", [one.agent])
        await lab.up("c", [other.agent])
        await meet(caller, "bench.work", 2)
        one.hang()
        other.hang()
        call = asyncio.create_task(caller.net.call("bench.work", "x", deadline=5, attempt=0.5))
        await until(lambda: one.seen or other.seen)
        first, second = (one, other) if one.seen else (other, one)
        second.open.set()
        if idempotent:
            assert await call == ("c" if second is other else "b")
            assert first.cancelled == ["x"]
        else:
            with pytest.raises(DeadlineExceeded):
                await call
            assert second.seen == []

    in_lab(tmp_path, scenario)


@pytest.mark.parametrize(("deadline_s", "said"), [(1.3, "1.3"), (0.4, "0.4")])
def test_the_time_that_is_said_is_that_of_all_attempts(
    tmp_path: Path, deadline_s: float, said: str
) -> None:
    async def scenario(lab: NodeLab) -> None:
        one, other = Bench("b", idempotent=True), Bench("c", idempotent=True)
        caller = await lab.up("caller")
        await lab.up("b", [one.agent])
        await lab.up("c", [other.agent])
        await meet(caller, "bench.work", 2)
        one.hang()
        other.hang()
        with pytest.raises(DeadlineExceeded, match=f"within {said} s"):
            await caller.net.call("bench.work", "x", deadline=deadline_s, attempt=0.5)
        assert len(one.seen + other.seen) == (1 if deadline_s < 0.5 else 3)

    in_lab(tmp_path, scenario)


def test_repeats_end_with_the_budget(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        bench = Bench("b", idempotent=True)
        caller = await lab.up("caller")
        await lab.up("b", [bench.agent])
        await meet(caller, "bench.work", 1)
        bench.hang()
        calls = [caller.net.call("bench.work", str(n), deadline=4, attempt=0.5) for n in range(40)]
        said = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(s, (DeadlineExceeded, CircuitOpen)) for s in said), said
        assert len(bench.seen) <= 40 + 40 / 10 + 10 + 4

    in_lab(tmp_path, scenario)


def test_deadlines_travel_and_shrink_from_handler_to_handler(tmp_path: Path) -> None:
    last = Bench("last")
    relay = Agent("relay")
    left_behind: list[asyncio.Task[object]] = []

    @relay.serve("relay.work")
    async def work_on(context: Context) -> object:
        await asyncio.sleep(0.5)
        return await context.net.call("bench.work", "x", deadline=60)

    @relay.serve("relay.leave")
    async def leave(context: Context) -> None:
        async def later() -> object:
            await asyncio.sleep(5)
            return await context.net.call("bench.work", "later", deadline=60)

        left_behind.append(asyncio.create_task(later()))

    async def scenario(lab: NodeLab) -> None:
        caller = await lab.up("caller")
        await lab.up("b", [relay])
        await lab.up("c", [last.agent])
        await meet(caller, "relay.work", 1)
        await meet(lab.nodes["b"], "bench.work", 1)
        last.hang()
        with pytest.raises(DeadlineExceeded):
            await caller.net.call("relay.work", deadline=2)
        (left_s,) = last.left_s
        assert left_s is not None
        assert 1.3 < left_s <= 1.5
        await until(lambda: last.cancelled == ["x"], 1)
        last.open.set()
        await caller.net.call("relay.leave", deadline=1)
        assert await left_behind[0] == "last"  # the handler ended: its deadline binds no more
        assert last.left_s[-1] is not None
        assert last.left_s[-1] > 50

    in_lab(tmp_path, scenario)


def test_a_caller_that_stops_waiting_stops_the_handler(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        bench = Bench("b")
        caller = await lab.up("caller")
        node = await lab.up("b", [bench.agent])
        await meet(caller, "bench.work", 1)
        bench.hang()
        call = asyncio.create_task(caller.net.call("bench.work", "x"))
        await until(lambda: bench.seen)
        call.cancel()
        await until(lambda: bench.cancelled == ["x"], 1)
        assert node.host.running == 0

    in_lab(tmp_path, scenario)


def test_low_priority_takes_half_of_the_places_and_high_the_last(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        bench = Bench("b", limit=10)
        caller = await lab.up("caller")
        node = await lab.up("b", [bench.agent])
        await meet(caller, "bench.work", 1)
        bench.hang()
        held = []
        for priority, places in (("low", 5), ("normal", 9), ("high", 10)):
            while node.host.running < places:
                text = f"{priority} {node.host.running}"
                call = caller.net.call("bench.work", text, priority=priority)
                held.append(asyncio.create_task(call))
                await until(lambda: text in bench.seen)  # noqa: B023 - it ends before the next
            with pytest.raises(Overloaded, match=f"{places} calls of it already run, and 10 may"):
                await caller.net.call("bench.work", "one too many", priority=priority)
        bench.open.set()
        assert await asyncio.gather(*held) == ["b"] * 10

    in_lab(tmp_path, scenario)


def test_a_flood_of_refused_calls_does_not_shut_out_urgent_ones(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        bench = Bench("b", limit=10)
        caller = await lab.up("caller")
        await lab.up("b", [bench.agent])
        await meet(caller, "bench.work", 1)
        bench.hang()
        held = [asyncio.create_task(caller.net.call("bench.work", str(n))) for n in range(9)]
        await until(lambda: len(bench.seen) == 9)
        for _ in range(30):
            with pytest.raises(Overloaded):
                await caller.net.call("bench.work", "more")
        urgent = asyncio.create_task(caller.net.call("bench.work", "urgent", priority="high"))
        await until(lambda: "urgent" in bench.seen, 1)
        bench.open.set()
        assert await urgent == "b"
        await asyncio.gather(*held)

    in_lab(tmp_path, scenario)


def test_five_times_the_capacity_keeps_the_provider_busy(tmp_path: Path) -> None:
    ends: Counter[str] = Counter()

    async def scenario(lab: NodeLab) -> None:
        slow = Agent("slow")

        @slow.serve("slow.work", limit=10)
        async def work() -> None:
            await asyncio.sleep(0.02)

        caller = await lab.up("caller")
        await lab.up("b", [slow])
        await meet(caller, "slow.work", 1)

        async def ask() -> None:
            try:
                await caller.net.call("slow.work", deadline=1.0)
                ends["done"] += 1
            except (Overloaded, CircuitOpen) as error:
                ends[type(error).__name__] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(5000):  # two seconds at five times what ten places of 20 ms can do
                group.create_task(ask())
                await asyncio.sleep(0.0004)
        assert sum(ends.values()) == 5000
        # Normal priority has nine of the ten places.
        assert ends["done"] >= 0.8 * 9 / 0.02 * 2.0, ends

    in_lab(tmp_path, scenario)


def test_a_capability_that_nobody_offers_any_more_is_not_kept(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        caller = await lab.up("caller")
        await lab.up("b", [Bench("b").agent])
        await meet(caller, "bench.work", 1)
        assert await work(lab, 1) == {"b": 1}
        await lab.nodes.pop("b").__aexit__(None, None, None)
        del lab.worlds["b"]
        await meet(caller, "bench.work", 0)
        with pytest.raises(NoProvider):
            await work(lab, 1)

    in_lab(tmp_path, scenario)


def test_an_agent_can_be_asked_by_its_name(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        benches = {name: Bench(name) for name in ("left", "right")}
        caller = await lab.up("caller")
        for name, bench in benches.items():
            await lab.up(name, [bench.agent])
        await meet(caller, "bench.work", 2)
        names = {bench.agent.name: name for name, bench in benches.items()}
        for agent, name in names.items():
            for n in range(5):
                assert await caller.net.call(f"{agent}/bench.work", str(n)) == name
        with pytest.raises(NoProvider, match="nobody/bench"):
            await caller.net.call("nobody/bench.work", "1", deadline=0.2)

    in_lab(tmp_path, scenario)
