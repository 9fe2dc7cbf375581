"""Seeds that are names of services: `_conclave._tcp.mesh.internal`, told by SRV records (RFC 2782).

Unlike plain names they say the port, too: of each door its own. All that are named are tried, the
preferred ones first; weights say nothing to somebody who knocks everywhere.

The library for it is an extra, since few networks have such records: the resolver of the operating
system knows nothing of them.

What this module does not know: doors, peers, when to ask.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from p2p.discovery.addresses import Address, is_dialable, is_port
from p2p.discovery.errors import NoServiceNames
from p2p.discovery.names import MAX_ADDRESSES, TIMEOUT_S, resolve_name

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver


log = logging.getLogger("conclave.p2p.discovery")


class Record(NamedTuple):
    """One SRV record, in the order of preference."""

    priority: int
    host: str
    port: int


def is_service(seed: Address) -> bool:
    """Whether this names a service: names of machines have no underscore."""
    return seed.host.startswith("_")


def check_services(seeds: Iterable[Address]) -> None:
    """
    Raises:
        NoServiceNames: one of these cannot be resolved here.
    """
    named = next((seed.host for seed in seeds if is_service(seed)), None)
    if named is not None and importlib.util.find_spec("dns") is None:
        raise NoServiceNames(named)


async def resolve_service(
    seed: Address,
    timeout_s: float = TIMEOUT_S,
    resolver: Resolver | None = None,
    resolve: Callable[[Address, float], Awaitable[tuple[Address, ...]]] = resolve_name,
) -> tuple[Address, ...]:
    """Ask the DNS servers of this machine; returns nothing when that fails or takes too long.

    Args:
        resolver: asks others.
        resolve: finds the addresses of a machine.
    """
    try:
        async with asyncio.timeout(timeout_s):
            places = await _places(seed.host, timeout_s, resolver)
    except TimeoutError:
        return ()
    usable = [p for p in sorted(set(places)) if is_dialable(p.host) and is_port(p.port)]
    machines = [Address(place.host, place.port) for place in usable[:MAX_ADDRESSES]]
    found = await asyncio.gather(*(resolve(machine, timeout_s) for machine in machines))
    return tuple(dict.fromkeys(address for each in found for address in each))


async def _places(name: str, timeout_s: float, resolver: Resolver | None) -> list[Record]:
    # Here, since only few nodes need it: it is a tenth of a second of their start.
    import dns.asyncresolver
    import dns.exception

    try:
        asked = resolver or dns.asyncresolver.Resolver()
        answer = await asked.resolve(name, "SRV", lifetime=timeout_s)
    except (dns.exception.DNSException, OSError) as error:
        log.info("no doors behind %s: %s", name, error)
        return []
    # A target of "." says that there is no such service; it is no address, and so left out.
    return [Record(r.priority, r.target.to_text(omit_final_dot=True), r.port) for r in answer]
