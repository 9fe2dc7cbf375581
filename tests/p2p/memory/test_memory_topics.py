"""Topics, bodies and priorities on the network in memory: as over real sockets."""

from __future__ import annotations

import asyncio

import pytest
from test_memory_network import Node, between

from p2p import Lane, MisuseError, PayloadTooLarge, QueueFull
from p2p.links import MAX_BODY_BYTES, Contact, LinkState
from p2p.memory import MemoryFaults, MemoryNetwork
from p2p.memory.topics import BUDGET_BYTES, HOLD_PATIENCE_S


def test_a_subtree_hears_what_is_below_it_and_the_publisher_knows_who_listens() -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        ben.transport.subscribe("task/")
        ben.transport.subscribe("task/1")
        for topic in ("task", "tasks", "task/1", "task/10", "task/1/log"):
            ada.transport.publish(topic, b"x")
        await asyncio.sleep(1)
        assert [topic for _, topic, _ in ben.publications] == ["task/1", "task/10", "task/1/log"]
        assert ada.transport.subscribers("task/10") == {"ben"}
        assert ada.transport.subscribers("tasks") == frozenset()
        network.cut([ada.host], [ben.host])
        assert ada.transport.subscribers("task/10") == frozenset()
        with pytest.raises(MisuseError, match="subtree"):
            ada.transport.publish("task/", b"x")

    between(scenario)


def test_who_holds_hears_everything_in_order_when_it_goes_on() -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        ben.transport.subscribe("x")
        for number in range(100):
            if number == 20:
                ben.transport.hold_topics(True)  # some are under way
            if number == 80:
                ben.transport.hold_topics(False)
            ada.transport.publish("x", b"%d" % number)
        await asyncio.sleep(5)
        assert [int(payload) for _, _, payload in ben.publications] == list(range(100))
        assert ada.transport.topics_queued_bytes == 0
        assert ada.transport.counters().get("topics_lossy_frames", 0) == 0

    between(scenario, MemoryFaults(latency_ms=(0, 500)))


def test_while_one_holds_nothing_is_heard_and_the_publisher_sees_what_waits() -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        ben.transport.subscribe("x")
        ben.transport.hold_topics(True)
        ada.transport.publish("x", b"12345")
        await asyncio.sleep(HOLD_PATIENCE_S - 1)
        assert not ben.publications
        assert ada.transport.topics_queued_bytes == 5
        assert ada.transport.links()[ben.peer_id].holds_topics

    between(scenario)


@pytest.mark.parametrize("too", ["long", "much"])
def test_who_holds_for_too_long_or_too_much_is_left_behind(too: str) -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        ben.transport.subscribe("x")
        ben.transport.hold_topics(True)
        ada.transport.publish("x", b"lost")
        if too == "long":
            await asyncio.sleep(HOLD_PATIENCE_S + 1)
        else:
            for _ in range(BUDGET_BYTES // 1_000_000 + 1):
                ada.transport.publish("x", bytes(1_000_000))
        assert ada.transport.topics_queued_bytes == 0
        assert ada.transport.counters()["topics_lossy_frames"] > 0
        ben.transport.hold_topics(False)
        await asyncio.sleep(1)
        ada.transport.publish("x", b"heard")
        await asyncio.sleep(1)
        assert [payload for _, _, payload in ben.publications] == [b"heard"]

    between(scenario)


def test_a_body_travels_beside_its_envelope_on_the_bulk_lane_alone() -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        heard: list[tuple[object, ...]] = []
        ben.transport.receive_with(
            lambda *frame: heard.append(frame), lambda _: None, lambda *_: None, lambda _: None
        )
        ada.transport.send(ben.peer_id, Lane.BULK, b"e", body=memoryview(b"body"))
        assert ada.transport.queued_bytes(ben.peer_id, Lane.BULK) == 5
        await asyncio.sleep(1)
        assert heard == [("ada", Lane.BULK, b"e", b"body")]
        assert ada.transport.links()[ben.peer_id].lanes[Lane.BULK].bytes_out == 5
        assert ben.transport.links()[ada.peer_id].lanes[Lane.BULK].bytes_in == 5
        with pytest.raises(MisuseError, match="bulk lane"):
            ada.transport.send(ben.peer_id, Lane.DATA, b"e", body=b"x")
        with pytest.raises(MisuseError, match="holes"):
            ada.transport.send(ben.peer_id, Lane.BULK, b"e", body=memoryview(b"abc")[::2])
        with pytest.raises(PayloadTooLarge, match="body"):
            ada.transport.send(ben.peer_id, Lane.BULK, b"e", body=bytes(MAX_BODY_BYTES + 1))

    between(scenario)


def test_a_peer_without_a_bulk_port_is_unreachable_on_that_lane_alone() -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        ports = {name: port for name, port in ben.ports.items() if name != "bulk"}
        ada.transport.admit(Contact(ben.peer_id, ben.key.public, (ben.host,), ports))
        ada.transport.send(ben.peer_id, Lane.BULK, b"x")
        ada.send(ben, b"y")
        await asyncio.sleep(5)
        assert [payload for _, _, payload in ben.frames] == [b"y"]
        lost = [change.state for change in ada.links if change.lane is Lane.BULK]
        assert lost == [LinkState.UNREACHABLE]

    between(scenario)


def test_what_waits_leaves_in_the_order_of_priorities_and_low_is_refused_first() -> None:
    async def scenario(network: MemoryNetwork, ada: Node, ben: Node) -> None:
        network.cut([ada.host], [ben.host])
        for priority in (0, 1, 2):
            ada.transport.send(ben.peer_id, Lane.DATA, b"%d" % priority, priority)
        network.heal()
        await asyncio.sleep(1)
        assert b"".join(payload for _, _, payload in ben.frames) == b"210"
        taken = [0, 0, 0]
        for priority in (0, 1, 2):
            with pytest.raises(QueueFull):
                while True:
                    ada.transport.send(ben.peer_id, Lane.CONTROL, bytes(2**16), priority)
                    taken[priority] += 1
        assert taken[0] == 64
        assert sum(taken) == 128
        assert ada.transport.links()[ben.peer_id].lanes[Lane.CONTROL].refused == 3

    between(scenario)
