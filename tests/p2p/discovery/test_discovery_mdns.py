"""mDNS on the loopback interface: real multicast sockets, no other interface."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
from zeroconf import DNSOutgoing, DNSPointer

from keys import NetworkId, PeerId
from p2p.discovery import (
    Found,
    Lost,
    NoMulticast,
    UnknownInterface,
    advert,
    mdns,
)
from p2p.discovery.mdns import MdnsDiscovery, MdnsSettings

TICK_S = 0.05
LOOPBACK = MdnsSettings(interfaces=("127.0.0.1",))
_RANDOM = random.Random()  # other test runs share the loopback: names must not meet
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def fresh_id() -> str:
    return "".join(_RANDOM.choices(_ALPHABET, k=52))


class Node:
    """One discovery and what it heard of the peers of this test."""

    def __init__(
        self,
        network: NetworkId,
        port: int,
        *,
        settings: MdnsSettings = LOOPBACK,
        peer_id: PeerId | None = None,
    ) -> None:
        self.peer_id = peer_id or PeerId(fresh_id())
        self.port = port
        self.heard: dict[PeerId | None, Found] = {}
        self.lost: set[PeerId] = set()
        self.calls = 0
        self._changed = asyncio.Event()
        self.mdns = MdnsDiscovery(self.peer_id, network, port, self._on_hint, settings=settings)

    def _on_hint(self, hint: Found | Lost) -> None:
        self.calls += 1
        if isinstance(hint, Found):
            self.heard[hint.peer_id] = hint
        else:
            self.heard.pop(hint.peer_id, None)
            self.lost.add(hint.peer_id)
        self._changed.set()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 8.0) -> float:
        """Wait for the condition to hold; how long it took, as `lasted_s` tells it."""
        return await lasted_s(self._until(condition, timeout_s))

    async def _until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._changed.clear()
                with suppress(TimeoutError):  # a count may change without a word
                    async with asyncio.timeout(TICK_S):
                        await self._changed.wait()


async def lasted_s(doing: Coroutine[Any, Any, None]) -> float:
    """How long it took, in ticks: on a busy machine they come late as what is waited for does."""
    task, ticks = asyncio.ensure_future(doing), 0
    while not (await asyncio.wait((task,), timeout=TICK_S))[0]:
        ticks += 1
    await task
    return ticks * TICK_S


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


def test_two_nodes_hear_of_each_other_within_two_seconds_and_of_the_goodbye() -> None:
    async def main() -> None:
        network = NetworkId(fresh_id())
        old, new = Node(network, 5001), Node(network, 5002)
        async with old.mdns:
            async with new.mdns:
                took_s = await old.until(lambda: new.peer_id in old.heard)
                assert took_s < 2.0
                assert await new.until(lambda: old.peer_id in new.heard) < 2.0
                found = new.heard[old.peer_id]
                assert (found.hosts, found.port) == (("127.0.0.1",), 5001)
            await old.until(lambda: new.peer_id in old.lost)
        assert old.peer_id not in old.heard, "nobody finds itself"
        assert old.mdns.problem is None

    run(main)


def test_a_newcomer_finds_those_that_were_there_before_quickly() -> None:
    async def main() -> None:
        network = NetworkId(fresh_id())
        elders = [Node(network, 5000 + number) for number in range(5)]
        for elder in elders:
            await elder.mdns.start()
        wanted = {elder.peer_id for elder in elders}
        newcomer = Node(network, 6000)
        async with newcomer.mdns:
            assert await newcomer.until(lambda: wanted <= newcomer.heard.keys()) < 2.0
        await asyncio.gather(*(elder.mdns.close() for elder in elders))

    run(main)


def test_nodes_of_another_network_are_counted_and_not_handed_on() -> None:
    async def main() -> None:
        network = NetworkId(fresh_id())
        ours, stranger = Node(network, 1), Node(NetworkId(fresh_id()), 2)
        sentinel = Node(network, 3)
        async with ours.mdns, stranger.mdns:
            await ours.until(lambda: ours.mdns.nodes_of_other_networks >= 1)
            async with sentinel.mdns:  # heard after the stranger
                await ours.until(lambda: sentinel.peer_id in ours.heard)
            assert ours.mdns.counters()[advert.Ignored.OTHER_NETWORK] >= 1
            assert stranger.peer_id not in ours.heard

    run(main)


def test_a_node_that_restarts_on_another_port_is_heard_at_its_new_one() -> None:
    async def main() -> None:
        network = NetworkId(fresh_id())
        watcher, first = Node(network, 1), Node(network, 5001)
        async with watcher.mdns:
            async with first.mdns:
                await watcher.until(lambda: first.peer_id in watcher.heard)
            second = Node(network, 5002, peer_id=first.peer_id)
            async with second.mdns:
                await watcher.until(
                    lambda: (
                        first.peer_id in watcher.heard and watcher.heard[first.peer_id].port == 5002
                    )
                )

    run(main)


def test_a_quiet_node_hears_without_being_heard() -> None:
    async def main() -> None:
        network = NetworkId(fresh_id())
        quiet = Node(network, 1, settings=MdnsSettings(interfaces=("127.0.0.1",), advertise=False))
        loud = Node(network, 2)
        async with quiet.mdns, loud.mdns:
            await quiet.until(lambda: loud.peer_id in quiet.heard)
            late = Node(network, 3)
            async with late.mdns:
                await late.until(lambda: loud.peer_id in late.heard)
                assert quiet.peer_id not in late.heard
                assert quiet.peer_id not in loud.heard

    run(main)


def test_what_is_known_is_said_again() -> None:
    async def main() -> None:
        network = NetworkId(fresh_id())
        settings = MdnsSettings(interfaces=("127.0.0.1",), watch_every_s=0.05, repeat_every_s=0.1)
        hearer, other = Node(network, 1, settings=settings), Node(network, 2)
        async with hearer.mdns, other.mdns:
            await hearer.until(lambda: hearer.calls >= 4)
            assert set(hearer.heard) == {other.peer_id}

    run(main)


def test_closing_takes_under_a_second_and_can_be_said_twice() -> None:
    async def main() -> None:
        node = Node(NetworkId(fresh_id()), 1)
        await node.mdns.start()
        assert await lasted_s(node.mdns.close()) < 1.0
        await node.mdns.close()
        assert len(asyncio.all_tasks()) == 1, "no task is left behind"

    run(main)


# zeroconf leaves the socket that could not be bound to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_system_that_refuses_multicast_is_a_problem_in_words_and_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system's own call refuses, as it does for a port that another stack keeps for itself."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    async def main() -> None:
        settings = MdnsSettings(interfaces=("127.0.0.1",), watch_every_s=0.05)
        network = NetworkId(fresh_id())
        node, other = Node(network, 1, settings=settings), Node(network, 2)
        async with other.mdns:
            with monkeypatch.context() as patched:
                patched.setattr(socket.socket, "bind", refuse)
                await node.mdns.start()
                assert isinstance(node.mdns.problem, NoMulticast)
                assert "Permission denied" in str(node.mdns.problem)
                assert "--seed" in str(node.mdns.problem)
            await node.until(lambda: other.peer_id in node.heard)
            assert node.mdns.problem is None, "it is tried again, and works when it may"
            await node.mdns.close()

    run(main)


def test_an_interface_that_is_not_there_is_an_error_at_the_start() -> None:
    async def main() -> None:
        settings = MdnsSettings(interfaces=("nosuch0",))
        with pytest.raises(UnknownInterface, match="nosuch0"):
            await Node(NetworkId(fresh_id()), 1, settings=settings).mdns.start()

    run(main)


def test_a_flood_of_false_names_stays_bounded_and_the_true_ones_are_heard() -> None:
    async def main() -> None:
        network = NetworkId(fresh_id())
        victim = Node(network, 1)
        async with victim.mdns:
            flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            flood.setsockopt(
                socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1")
            )
            for _ in range(300):
                packet = DNSOutgoing(0x8400)
                alias = advert.instance_name(PeerId(fresh_id()))
                packet.add_answer_at_time(DNSPointer(advert.SERVICE_TYPE, 12, 1, 4500, alias), 0)
                for raw in packet.packets():
                    flood.sendto(raw, ("224.0.0.251", 5353))
                await asyncio.sleep(0)
            flood.close()
            async with Node(network, 2).mdns as true_mdns:
                true_id = true_mdns._peer_id
                assert await victim.until(lambda: true_id in victim.heard) < 2.0
            counters = victim.mdns.counters()
            assert counters["resolving"] <= mdns._MAX_RESOLVING
            assert set(victim.heard) <= {true_id}

    run(main)
