"""Seeds that are names: resolved again and again; and what this machine's own resolver says."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from p2p.discovery import Address, NamedSeeds, resolve_name
from p2p.discovery.names import MAX_ADDRESSES, RESOLVE_EVERY_S
from p2p.memory import run_virtual

NAME = Address("mesh.example", 4747)
ADA, BOB = Address("10.0.0.1", 4747), Address("10.0.0.2", 4747)


class Service:
    """A name whose addresses change, and what was knocked at when."""

    def __init__(self, *addresses: Address) -> None:
        self.addresses: Sequence[Address] = addresses
        self.known: set[Address] = set()
        self.knocks: list[Address] = []
        self.rounds = 0

    async def resolve(self, seed: Address) -> Sequence[Address]:
        assert seed == NAME
        self.rounds += 1
        return self.addresses

    def knock(self, address: Address) -> bool:
        if address in self.known:
            return False
        self.knocks.append(address)
        return True

    async def run_for(self, seconds: float, *seeds: Address) -> None:
        named = NamedSeeds(seeds or (NAME,), self.resolve, self.knock, Random(1))
        named.start()
        await asyncio.sleep(seconds)
        await named.close()


def test_every_address_of_a_name_is_knocked_at() -> None:
    service = Service(ADA, BOB, ADA)
    run_virtual(service.run_for(0.5))
    assert service.knocks == [ADA, BOB]


def test_addresses_are_nothing_to_resolve() -> None:
    service = Service(ADA)
    run_virtual(service.run_for(100, ADA, Address("fe80::1%eth0", 1)))
    assert (service.rounds, service.knocks) == (0, [])


def test_where_somebody_is_known_nobody_knocks_until_that_ends() -> None:
    service = Service(ADA)
    service.known.add(ADA)

    async def main() -> None:
        named = NamedSeeds((NAME,), service.resolve, service.knock, Random(1))
        named.start()
        await asyncio.sleep(100)
        assert not service.knocks
        service.known.clear()
        await asyncio.sleep(RESOLVE_EVERY_S * 1.3)
        assert service.knocks == [ADA]
        await named.close()

    run_virtual(main())


def test_what_leads_nowhere_is_tried_less_often_and_for_ever() -> None:
    service = Service(ADA)
    run_virtual(service.run_for(3600))
    assert 100 < service.rounds < 200
    assert service.rounds / 5 < len(service.knocks) < service.rounds / 3


def test_a_new_address_is_tried_in_the_next_round() -> None:
    service = Service(ADA)

    async def main() -> None:
        named = NamedSeeds((NAME,), service.resolve, service.knock, Random(1))
        named.start()
        await asyncio.sleep(1000)
        service.knocks.clear()
        service.addresses = (BOB,)
        await asyncio.sleep(RESOLVE_EVERY_S * 1.3)
        assert BOB in service.knocks
        await named.close()

    run_virtual(main())


def test_a_name_of_a_thousand_addresses_is_cut_short_and_nonsense_left_out() -> None:
    many = [Address(f"10.0.{n // 250}.{n % 250 + 1}", 4747) for n in range(1000)]
    service = Service(Address("0.0.0.0", 4747), Address("224.0.0.1", 4747), *many)
    run_virtual(service.run_for(0.5))
    assert service.knocks == many[:MAX_ADDRESSES]


def test_the_resolver_of_this_machine() -> None:
    found = asyncio.run(resolve_name(Address("localhost", 7)))
    assert {"127.0.0.1", "::1"} & {address.host for address in found}
    assert {address.port for address in found} == {7}
    assert asyncio.run(resolve_name(Address("no-such-name.invalid", 7))) == ()
    assert asyncio.run(resolve_name(Address("a" * 64 + ".invalid", 7))) == ()


def test_a_resolver_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    at_last, hanging = threading.Event(), list[threading.Thread]()

    def hang(*_: Any, **__: Any) -> Any:
        hanging.append(threading.current_thread())
        at_last.wait(30)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hang)

    async def main() -> None:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.001)

        turning = asyncio.create_task(turn())
        assert await resolve_name(Address("slow.example", 7), timeout_s=0.3) == ()
        turning.cancel()
        assert turns > 5

    asyncio.run(main())
    [thread] = hanging
    assert thread.is_alive(), "ending the process does not wait for it either"
    at_last.set()
    thread.join(30)  # it speaks to a loop that is closed, and nobody minds
    assert not thread.is_alive()
