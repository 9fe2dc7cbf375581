"""Where a door may be: addresses, what makes one worth dialling, and in which order.

Pure. Does not know who said an address or whether anybody listens there; it does not resolve
names. The order is: where a peer was met before, then our own subnets, then private
addresses, then the rest. Addresses that nobody can be met at (unspecified, multicast, IPv6
link-local without its zone) are never dialled, whoever named them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

MAX_HOST_CHARS = 253  # RFC 1035, section 2.3.4, in text form
PEER_ID_CHARS = 52

_PEER_ID = re.compile(r"[a-z2-7]{52}")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Address(NamedTuple):
    """One place to dial: a literal address or a name, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def looks_like_peer_id(text: str) -> bool:
    """Whether the text has the form of a peer id; whose it is, only a handshake can say."""
    return _PEER_ID.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def as_ip(host: str) -> IPAddress | None:
    """The literal address that this text is, or None when it is a name (or nonsense).

    An IPv4 address in IPv6 clothes (::ffff:8.8.8.8) is judged as what will be dialled: IPv4.
    """
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip


def networks_of(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """Parse our own subnets, written like "192.168.1.7/24" or "192.168.1.0/24"."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def is_dialable(host: str) -> bool:
    """Whether a connection to this host could ever meet one machine."""
    if not 0 < len(host) <= MAX_HOST_CHARS:
        return False
    ip = as_ip(host)
    if ip is None:
        return is_host_name(host)
    if ip.is_unspecified or ip.is_multicast or ip == ipaddress.IPv4Address("255.255.255.255"):
        return False
    return not (isinstance(ip, ipaddress.IPv6Address) and ip.is_link_local and not ip.scope_id)


def is_host_name(host: str) -> bool:
    """A name as DNS and mDNS allow it. All digits and dots is a broken address, not a name."""
    labels = host.rstrip(".").split(".")
    return not labels[-1].isdigit() and all(_LABEL.fullmatch(label) for label in labels)


def is_port(port: int) -> bool:
    return 0 < port <= 65_535


def usable_address(address: Address) -> bool:
    """Whether another machine could meet somebody there."""
    ip = as_ip(address.host)
    is_elsewhere = ip is not None and not ip.is_loopback
    return is_elsewhere and is_dialable(address.host) and is_port(address.port)


def is_near(host: str, own_networks: Sequence[IPNetwork]) -> bool:
    """Whether this is a literal address on a subnet of ours, or one that is never routed far.

    What only the LAN told us is dialled only on the LAN: otherwise one neighbour could point
    every node here at a victim on the internet.
    """
    ip = as_ip(host)
    if ip is None:
        return False
    if ip.is_loopback:
        return _is_in(ip, own_networks)
    return ip.is_link_local or ip.is_private or _is_in(ip, own_networks)


def rank(addresses: Iterable[Address], own_networks: Sequence[IPNetwork]) -> tuple[Address, ...]:
    """Best first, without doubles; among equals the order of arrival stays."""
    unique = dict.fromkeys(addresses)
    return tuple(sorted(unique, key=lambda address: _distance(address.host, own_networks)))


def _distance(host: str, own_networks: Sequence[IPNetwork]) -> int:
    ip = as_ip(host)
    if ip is None:
        return 2
    if _is_in(ip, own_networks):
        return 0
    if ip.is_loopback:
        return 6
    if ip.is_link_local:
        return 4 if ip.version == 4 else 5
    return 1 if ip.is_private else 3


def _is_in(ip: IPAddress, networks: Sequence[IPNetwork]) -> bool:
    return any(ip.version == network.version and ip in network for network in networks)
