"""Seeds that are names of services, asked of a DNS server of our own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from p2p.discovery import Address, NoServiceNames, check_services, is_service, resolve_service
from p2p.discovery.names import MAX_ADDRESSES

SERVICE = Address("_conclave._tcp.mesh.test", 4747)
MACHINES = {"a.mesh.test": "10.0.0.1", "b.mesh.test": "10.0.0.2", "c.mesh.test": "fd00::3"}


class NameServer(asyncio.DatagramProtocol):
    """Says what it was told to say, over UDP."""

    def __init__(self, records: Sequence[str], rcode: dns.rcode.Rcode) -> None:
        self._records = records
        self._rcode = rcode
        self.asked: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        question = dns.message.from_wire(data)
        self.asked.append(question.question[0].to_text())
        answer = dns.message.make_response(question)
        answer.flags |= dns.flags.RA
        answer.set_rcode(self._rcode)
        if self._records:
            name = question.question[0].name
            answer.answer.append(dns.rrset.from_text_list(name, 30, "IN", "SRV", self._records))
        self._transport.sendto(answer.to_wire(), addr)


async def resolve_machine(machine: Address, timeout_s: float) -> tuple[Address, ...]:
    host = MACHINES.get(machine.host, machine.host if machine.host[0].isdigit() else None)
    return (Address(host, machine.port),) if host is not None else ()


def ask(
    *records: str, rcode: dns.rcode.Rcode = dns.rcode.NOERROR, timeout_s: float = 5.0
) -> tuple[tuple[Address, ...], list[str]]:
    async def main() -> tuple[tuple[Address, ...], list[str]]:
        loop = asyncio.get_running_loop()
        transport, server = await loop.create_datagram_endpoint(
            lambda: NameServer(records, rcode), local_addr=("127.0.0.1", 0)
        )
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = ["127.0.0.1"]
        resolver.port = transport.get_extra_info("sockname")[1]
        try:
            found = await resolve_service(SERVICE, timeout_s, resolver, resolve_machine)
        finally:
            transport.close()
        return found, server.asked

    return asyncio.run(main())


def test_every_door_of_a_service_is_found_with_its_own_port_the_preferred_first() -> None:
    found, asked = ask(
        "20 0 4001 c.mesh.test.",
        "10 5 5000 b.mesh.test.",
        "10 90 4747 a.mesh.test.",
        "30 0 4747 gone.mesh.test.",
    )
    assert asked == ["_conclave._tcp.mesh.test. IN SRV"]
    assert found == (
        Address("10.0.0.1", 4747),
        Address("10.0.0.2", 5000),
        Address("fd00::3", 4001),
    )


@pytest.mark.parametrize(
    ("records", "rcode"),
    [
        ([], dns.rcode.NXDOMAIN),
        ([], dns.rcode.SERVFAIL),
        ([], dns.rcode.NOERROR),
        (["0 0 0 ."], dns.rcode.NOERROR),
        (["0 0 0 a.mesh.test."], dns.rcode.NOERROR),
    ],
    ids=["no such name", "failure", "no records", "no such service", "port 0"],
)
def test_a_service_that_is_not_there_is_nothing(records: list[str], rcode: dns.rcode.Rcode) -> None:
    assert ask(*records, rcode=rcode, timeout_s=1.0)[0] == ()


def test_a_server_that_says_nothing_is_waited_for_so_long_and_no_longer() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = ["127.0.0.1"]
        resolver.port = transport.get_extra_info("sockname")[1]
        async with asyncio.timeout(5):
            assert await resolve_service(SERVICE, 0.2, resolver, resolve_machine) == ()
        transport.close()

    asyncio.run(main())


def test_a_service_of_too_many_doors_is_cut() -> None:
    records = [f"0 0 {4000 + n} a.mesh.test." for n in range(MAX_ADDRESSES + 9)]
    assert len(ask(*records)[0]) == MAX_ADDRESSES


def test_services_are_told_from_machines_and_need_their_library() -> None:
    assert is_service(SERVICE)
    assert not is_service(Address("mesh.test", 4747))
    check_services([SERVICE, Address("mesh.test", 4747)])
    assert "conclave-mesh[dns]" in str(NoServiceNames("_x._tcp.y"))
