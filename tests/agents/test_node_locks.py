"""Locks and leadership on whole nodes in virtual time: who holds what, until when."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from keeping_lab import cut_off, in_lab, leader_of, network_of
from node_lab import NodeLab, until

from agents.errors import LockHeld, LockLost, NoQuorum
from agents.keeping.locks import Lock
from agents.net import Net
from agents.node import Node
from p2p import Clock


def test_one_holds_a_lock_and_the_next_has_a_greater_token(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcd")
        tokens: list[int] = []
        inside: list[str] = []

        async def work(node: Node) -> None:
            for _ in range(3):
                async with node.net.lock("printer", lease=5) as lock:
                    inside.append(node.peer.name)
                    await asyncio.sleep(0.2)
                    lock.check()
                    tokens.append(lock.token)
                    assert inside == [node.peer.name]
                    inside.clear()

        await asyncio.gather(*map(work, nodes))
        assert len(tokens) == 12
        assert tokens == sorted(set(tokens))

    in_lab(tmp_path, scenario)


def test_a_lock_that_is_held_says_by_whom(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        async with nodes[0].net.lock("printer"):
            with pytest.raises(LockHeld, match=r"'printer' is held by a \(") as caught:
                async with nodes[1].net.lock("printer", timeout=2):
                    pass
            assert caught.value.timeout_s == 2
            with pytest.raises(LockHeld):  # not even by the same node twice
                async with nodes[0].net.lock("printer", timeout=0):
                    pass

    in_lab(tmp_path, scenario)


def test_a_lock_lives_as_long_as_it_is_renewed(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        async with nodes[0].net.lock("printer", lease=2) as lock:
            for _ in range(100):
                await asyncio.sleep(0.3)
                lock.check()
            assert not lock.lost.is_set()
        assert lock.lost.is_set()
        assert not lock.is_valid()
        with pytest.raises(LockLost, match="given back"):
            lock.check()

    in_lab(tmp_path, scenario)


class Drifting:
    """A machine's clock that is too quick or too slow."""

    def __init__(self, clock: Clock, rate: float) -> None:
        self._clock = clock
        self._rate = rate

    def now_ms(self) -> int:
        return int(self._clock.now_ms() * self._rate)

    def wall_ms(self) -> int:
        return self._clock.wall_ms()


@pytest.mark.parametrize("rate", [0.9, 1.0, 1.1])
def test_nobody_holds_it_beside_a_holder_that_is_cut_off(tmp_path: Path, rate: float) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcd")
        holder = nodes[3]
        drifting = Drifting(holder.world.clock, rate)
        net = Net(holder.gate, "d", holder.peer.peer_id, clock=drifting)
        both: list[Lock] = []
        seen_lost_ms: list[int] = []
        taken_ms: list[int] = []
        clock = holder.world.clock

        async def hold() -> None:
            with pytest.raises(LockLost, match="not renewed"):
                async with net.lock("printer", lease=4) as lock:
                    both.append(lock)
                    await lock.lost.wait()
                    seen_lost_ms.append(clock.now_ms())

        async def want() -> None:
            async with nodes[0].net.lock("printer", lease=4) as lock:
                taken_ms.append(clock.now_ms())
                both.append(lock)
                await asyncio.sleep(3)

        async def watch() -> None:
            while True:
                assert sum(lock.is_valid() for lock in both) <= 1
                await asyncio.sleep(0.005)

        holding = asyncio.create_task(hold())
        await until(lambda: both)
        watching = asyncio.create_task(watch())
        wanting = asyncio.create_task(want())
        await asyncio.sleep(1)
        cut_off(lab, holder)
        cut_ms = clock.now_ms()
        await holding
        await wanting
        assert not watching.done()
        watching.cancel()
        assert cut_ms < seen_lost_ms[0] < taken_ms[0]
        assert seen_lost_ms[0] - cut_ms < 4000
        assert taken_ms[0] - cut_ms < 4000 + 1000
        assert both[1].token > both[0].token
        lab.network.heal()

    in_lab(tmp_path, scenario)


def test_a_holder_that_leads_the_log_loses_its_locks_when_it_is_cut_off(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        holder = leader_of(lab)
        other = next(node for node in nodes if node is not holder)
        async with holder.net.leadership("indexer", lease=4) as first:
            cut_off(lab, holder)
            async with other.net.leadership("indexer", lease=4) as second:
                assert first.lost.is_set()
                assert not first.is_valid()
                assert second.is_valid()
                assert second.token > first.token
            lab.network.heal()

    in_lab(tmp_path, scenario)


def test_a_lock_outlives_the_leader_of_the_log(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcd")
        async with nodes[3].net.lock("printer", lease=10) as lock:
            await asyncio.sleep(3)  # in the middle of a renewal, or near it
            lab.crash(leader_of(lab))
            for _ in range(200):
                await asyncio.sleep(0.1)
                lock.check()
        async with nodes[3].net.lock("printer", timeout=5) as again:
            assert again.token > lock.token

    in_lab(tmp_path, scenario)


def test_a_node_that_dies_leaves_its_lock_for_one_lease(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abcd")
        clock = nodes[0].world.clock
        held = nodes[3].net.lock("printer", lease=3)
        await held.__aenter__()
        lab.crash(nodes[3])
        began_ms = clock.now_ms()
        async with nodes[0].net.lock("printer"):
            assert 1500 < clock.now_ms() - began_ms < 4500
        with pytest.raises(LockLost):
            await held.__aexit__(None, None, None)

    in_lab(tmp_path, scenario)


def test_who_waits_leads_when_the_term_before_ends(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        led: list[tuple[str, int]] = []

        async def lead(node: Node) -> None:
            async with node.net.leadership("indexer") as term:
                led.append((node.peer.name, term.token))
                await asyncio.sleep(1)

        await asyncio.gather(*map(lead, nodes))
        assert sorted(name for name, _ in led) == ["a", "b", "c"]
        assert [token for _, token in led] == sorted(token for _, token in led)

    in_lab(tmp_path, scenario)


def test_without_a_quorum_no_lock_is_given(tmp_path: Path) -> None:
    async def scenario(lab: NodeLab) -> None:
        nodes = await network_of(lab, "abc")
        cut_off(lab, nodes[0])
        await asyncio.sleep(5)
        with pytest.raises(NoQuorum):
            async with nodes[0].net.lock("printer", timeout=3):
                pass
        lab.network.heal()

    in_lab(tmp_path, scenario)
