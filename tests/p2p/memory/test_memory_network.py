"""The network in memory: order, faults, and the promises of its transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import PeerId, TransportKey
from p2p import Lane, PayloadTooLarge, PeerUnreachable, QueueFull
from p2p.links import Contact, LinkChanged, LinkState, Transport
from p2p.memory import MemoryFaults, MemoryNetwork, MemoryTransport, run_virtual


class Node:
    """A transport that keeps what it is told."""

    def __init__(self, network: MemoryNetwork, name: str, seed: int) -> None:
        self.peer_id = PeerId(name)
        self.host = network.new_host()
        self.key = TransportKey.from_secret(bytes([seed]) * 32)
        self.transport = MemoryTransport(network, self.host, self.key)
        self.frames: list[tuple[PeerId, Lane, bytes]] = []
        self.links: list[LinkChanged] = []
        self.publications: list[tuple[PeerId, str, bytes]] = []
        self.transport.receive_with(
            lambda *frame: self.frames.append(frame[:3]),
            self.links.append,
            lambda *publication: self.publications.append(publication),
            lambda error: None,
        )
        self.ports: dict[str, int] = {}

    async def start(self) -> None:
        self.ports = dict(await self.transport.start())

    def admit(self, other: Node) -> None:
        self.transport.admit(Contact(other.peer_id, other.key.public, (other.host,), other.ports))

    @property
    def states(self) -> list[LinkState]:
        return [change.state for change in self.links if change.lane is Lane.DATA]

    def send(self, to: Node, payload: bytes) -> None:
        self.transport.send(to.peer_id, Lane.DATA, payload)


def between(
    scenario: Callable[[MemoryNetwork, Node, Node], Coroutine[Any, Any, None]],
    faults: MemoryFaults | None = None,
    seed: int = 3,
) -> None:
    async def main() -> None:
        network = MemoryNetwork(Random(seed), faults)
        ada, ben = Node(network, "ada", 1), Node(network, "ben", 2)
        for node in (ada, ben):
            await node.start()
        ada.admit(ben)
        ben.admit(ada)
        await scenario(network, ada, ben)

    print(f"seed {seed}")
    run_virtual(main())


def test_it_is_a_transport() -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        assert isinstance(ada.transport, Transport)

    between(scenario)


@given(st.integers(0, 2**16))
def test_frames_of_one_lane_arrive_in_order_whatever_their_latency(seed: int) -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        for n in range(50):
            ada.send(ben, b"%d" % n)
        await asyncio.sleep(2)
        assert [int(p) for _, _, p in ben.frames] == list(range(50))
        assert {(peer, lane) for peer, lane, _ in ben.frames} == {("ada", Lane.DATA)}

    between(scenario, MemoryFaults(latency_ms=(0, 1000)), seed)


def test_loss_is_counted_and_takes_about_its_share() -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        for n in range(1000):
            ada.send(ben, b"%d" % n)
        await asyncio.sleep(2)
        assert len(ben.frames) + network.counts["lost"] == 1000
        assert 200 < network.counts["lost"] < 400

    between(scenario, MemoryFaults(loss=0.3))


def test_a_stranger_is_refused_and_not_heard() -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        eve = Node(network, "eve", 9)
        await eve.start()
        eve.admit(ben)
        eve.send(ben, b"let me in")
        await asyncio.sleep(5)
        assert ben.frames == []
        assert eve.states == [LinkState.REFUSED, LinkState.UNREACHABLE]
        with pytest.raises(PeerUnreachable, match="introduce it first"):
            ben.send(eve, b"who are you?")

    between(scenario)


def test_what_waits_at_a_refusal_leaves_when_we_are_admitted() -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        eve = Node(network, "eve", 9)
        await eve.start()
        eve.admit(ben)
        eve.send(ben, b"patience")
        await asyncio.sleep(1)
        ben.admit(eve)
        await asyncio.sleep(1)
        assert ben.frames == [("eve", Lane.DATA, b"patience")]
        assert eve.states == [LinkState.REFUSED, LinkState.UP]

    between(scenario)


def test_what_is_reported_unreachable_never_arrives() -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        network.partition([ada.host], [ben.host])
        ada.send(ben, b"never")
        await asyncio.sleep(5)
        assert ada.states == [LinkState.UNREACHABLE]
        network.heal()
        ada.send(ben, b"now")
        await asyncio.sleep(1)
        assert [payload for _, _, payload in ben.frames] == [b"now"]

    between(scenario)


def test_a_cut_that_heals_within_the_window_loses_nothing_that_waited() -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        ada.send(ben, b"1")
        await asyncio.sleep(0.1)
        network.partition([ada.host], [ben.host])
        ada.send(ben, b"2")  # handed to the broken connection
        ada.send(ben, b"3")
        await asyncio.sleep(1)
        network.heal()
        await asyncio.sleep(1)
        assert [payload for _, _, payload in ben.frames] == [b"1", b"3"]
        assert ada.states == [LinkState.UP, LinkState.DOWN, LinkState.UP]

    between(scenario)


def test_a_cut_may_be_one_way() -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        ada.send(ben, b"before")
        ben.send(ada, b"before")
        await asyncio.sleep(0.1)
        network.cut([ada.host], [ben.host], both_ways=False)
        ada.send(ben, b"lost")
        ben.send(ada, b"heard")
        await asyncio.sleep(0.1)
        assert [payload for _, _, payload in ben.frames] == [b"before"]
        assert [payload for _, _, payload in ada.frames] == [b"before", b"heard"]

    between(scenario)


def test_the_expelled_learn_that_their_connection_ended_and_are_not_heard() -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        ada.send(ben, b"1")
        await asyncio.sleep(0.1)
        ben.transport.expel(ada.peer_id)
        await asyncio.sleep(0.1)
        ada.send(ben, b"2")
        await asyncio.sleep(5)
        assert [payload for _, _, payload in ben.frames] == [b"1"]
        assert ada.states == [
            LinkState.UP,
            LinkState.DOWN,
            LinkState.REFUSED,
            LinkState.UNREACHABLE,
        ]

    between(scenario)


def test_who_vanishes_is_down_at_the_others_after_its_last_words() -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        ben.send(ada, b"hello")
        ada.send(ben, b"hello")
        await asyncio.sleep(0.1)
        ben.send(ada, b"last words")
        ben.transport.vanish()
        await asyncio.sleep(0.1)
        assert [payload for _, _, payload in ada.frames] == [b"hello", b"last words"]
        assert ada.states == [LinkState.UP, LinkState.DOWN]

    between(scenario)


def test_a_new_key_replaces_the_old_one() -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        ada.send(ben, b"1")
        await asyncio.sleep(0.1)
        reborn = Node(network, "ben", 5)
        await reborn.start()
        reborn.admit(ada)
        ada.admit(reborn)
        ada.send(reborn, b"2")
        ben.send(ada, b"a ghost speaks")
        await asyncio.sleep(1)
        assert [payload for _, _, payload in reborn.frames] == [b"2"]
        assert ada.frames == []
        assert ada.states == [LinkState.UP, LinkState.DOWN, LinkState.UP]

    between(scenario)


def test_a_key_has_one_holder() -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        thief = Node(network, "thief", 2)  # claims ben's key
        await thief.start()
        ada.admit(thief)
        ben.send(ada, b"mine")
        await asyncio.sleep(1)
        assert [peer for peer, _, _ in ada.frames] == ["ben"]
        assert ada.transport.counters()["dropped_key_taken"] == 1

    between(scenario)


def test_topics_are_exact_and_end_with_their_subscription() -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        ben.transport.subscribe("news")
        ada.transport.publish("news", b"1")
        ada.transport.publish("newspaper", b"2")
        await asyncio.sleep(1)
        ben.transport.unsubscribe("news")
        ada.transport.publish("news", b"3")
        await asyncio.sleep(1)
        assert ben.publications == [("ada", "news", b"1")]

    between(scenario)


def test_what_is_too_large_or_too_much_is_an_error_at_once() -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        with pytest.raises(PayloadTooLarge):
            ada.send(ben, bytes(2_000_000))
        with pytest.raises(PayloadTooLarge):
            ada.transport.publish("news", bytes(2_000_000))
        with pytest.raises(QueueFull) as caught:
            for _ in range(100):
                ada.send(ben, bytes(1_000_000))
        assert caught.value.definite
        await asyncio.sleep(1)
        ada.send(ben, b"there is room again")

    between(scenario)
