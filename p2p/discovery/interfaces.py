"""Which addresses of this machine are worth telling others, and why the rest are not.

Advertising every address is how peers end up dialling a container bridge: interfaces of
containers, virtual machines and VPNs, and those without a link, are left out unless somebody
names them. Every exclusion carries a reason for people to read.

Does not know peers or sockets; it never sends anything. Nothing is cached: addresses change.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ifaddr

from p2p.discovery.addresses import IPAddress
from p2p.discovery.errors import UnknownInterface

_LINK_STATES = Path("/sys/class/net")  # Linux only; elsewhere the link state stays unknown

# Matched against both names that ifaddr gives: the kernel's, and the readable one of Windows.
_EXCLUDED_NAMES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        (
            "belongs to containers",
            r"docker|br-[0-9a-f]{6,}|veth(?!ernet)|cni|flannel|cali|cilium|podman|lxc|lxd|kube|nerdctl",
        ),
        (
            "belongs to virtual machines",
            r"virbr|vnet\d|vmnet|vboxnet|vEthernet|VirtualBox|VMware|Hyper-V|bridge1\d\d|vmenet",
        ),
        (
            "belongs to a VPN",
            r"utun|tun\d|tap\d|wg|tailscale|zt|ipsec|ppp|nordlynx|WireGuard|ZeroTier|OpenVPN",
        ),
        ("is for Apple's own peer-to-peer radio", r"awdl|llw|anpi|ap\d"),
        ("is a tunnel of the kernel", r"gif\d|stf\d|sit\d|ip6tnl|gre|dummy|ifb\d"),
    )
)


@dataclass(frozen=True, slots=True)
class Interface:
    """One address of this machine. An interface with three addresses appears three times."""

    name: str
    address: str  # IPv6 link-local ones carry their zone: "fe80::1%eth0"
    prefix_bits: int

    @property
    def ip(self) -> IPAddress:
        return ipaddress.ip_address(self.address)

    @property
    def network(self) -> str:
        """The subnet, like "192.168.1.0/24"."""
        bare = self.address.partition("%")[0]
        return str(ipaddress.ip_network(f"{bare}/{self.prefix_bits}", strict=False))


@dataclass(frozen=True, slots=True)
class Excluded:
    """An address that is not used, and the reason as a clause: "belongs to a VPN"."""

    name: str
    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class Survey:
    """All addresses of this machine, sorted out. `usable` has the best first."""

    usable: tuple[Interface, ...]
    excluded: tuple[Excluded, ...]


def usable_interfaces(
    *, chosen: Sequence[str] = (), loopback: bool = False
) -> tuple[Interface, ...]:
    """The addresses to bind and to tell others, best first; see `survey_interfaces`."""
    return survey_interfaces(chosen=chosen, loopback=loopback).usable


def survey_interfaces(*, chosen: Sequence[str] = (), loopback: bool = False) -> Survey:
    """Look at this machine now.

    Args:
        chosen: names or addresses. When given, exactly these are usable, whatever they are.
        loopback: whether 127.0.0.1 and ::1 are usable too (one machine, or a test).

    Raises:
        UnknownInterface: one of `chosen` is not there.
    """
    found: list[Interface] = []
    readable: dict[str, str] = {}
    for adapter in ifaddr.get_adapters():
        name = adapter.name if isinstance(adapter.name, str) else adapter.name.decode("utf-8")
        readable[name] = adapter.nice_name
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else _with_zone(ip.ip, name)
            found.append(Interface(name, text, ip.network_prefix))
    down = {name for name in readable if _link_is_down(name)}
    return sort_out(found, readable, down, chosen=chosen, loopback=loopback)


def hosts_to_tell(interfaces: Sequence[Interface], *, ipv6: bool = True) -> tuple[str, ...]:
    """What others may dial: link-local addresses only where there is nothing else, because without
    the dialler's own zone they lead nowhere.

    Args:
        ipv6: whether anybody listens on IPv6 here.
    """
    heard = [interface for interface in interfaces if ipv6 or interface.ip.version == 4]
    routable = [interface for interface in heard if not interface.ip.is_link_local]
    told = (interface.address.partition("%")[0] for interface in routable or heard)
    return tuple(dict.fromkeys(told))


def sort_out(
    found: Iterable[Interface],
    readable: Mapping[str, str],
    down: Iterable[str],
    *,
    chosen: Sequence[str] = (),
    loopback: bool = False,
) -> Survey:
    """Decide on each address. Pure: the machine's state comes in as arguments."""
    found, down = list(found), set(down)
    if chosen:
        _check_chosen(found, chosen)
    usable: list[Interface] = []
    excluded: list[Excluded] = []
    for interface in found:
        title = readable.get(interface.name, interface.name)
        reason = (
            _not_chosen(interface, chosen)
            if chosen
            else _why_not(interface, title, interface.name in down, loopback)
        )
        if reason is None:
            usable.append(interface)
        else:
            excluded.append(Excluded(interface.name, interface.address, reason))
    usable.sort(key=_preference)
    return Survey(tuple(usable), tuple(excluded))


def _check_chosen(found: Sequence[Interface], chosen: Sequence[str]) -> None:
    known = {interface.name for interface in found}
    addresses = {interface.address.partition("%")[0] for interface in found}
    for wanted in chosen:
        if wanted not in known and wanted.partition("%")[0] not in addresses:
            raise UnknownInterface(wanted, sorted(known))


def _not_chosen(interface: Interface, chosen: Sequence[str]) -> str | None:
    bare = interface.address.partition("%")[0]
    wanted = {text.partition("%")[0] for text in chosen}
    return None if interface.name in wanted or bare in wanted else "was not chosen"


def _why_not(interface: Interface, title: str, is_down: bool, loopback: bool) -> str | None:
    ip = interface.ip
    if ip.is_loopback:
        return None if loopback else "reaches only this machine"
    if is_down:
        return "has no link"
    for kind, pattern in _EXCLUDED_NAMES:
        if pattern.match(interface.name) or pattern.match(title):
            return kind
    if ip.is_unspecified or ip.is_multicast:
        return "is not an address of one machine"
    return None


def _preference(interface: Interface) -> tuple[int, int, str]:
    """IPv4 before IPv6, routable before link-local, private before public, loopback last."""
    ip = interface.ip
    if ip.is_loopback:
        kind = 4
    elif ip.is_link_local:
        kind = 3
    else:
        kind = 0 if ip.is_private else 1
    return (kind, ip.version, interface.name)


def _with_zone(ip: tuple[str, int, int], name: str) -> str:
    host = ip[0].partition("%")[0]
    return f"{host}%{name}" if ipaddress.ip_address(host).is_link_local else host


def _link_is_down(name: str) -> bool:
    if not re.fullmatch(r"[\w.:@-]{1,64}", name):
        return False
    try:
        state = (_LINK_STATES / name / "operstate").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return False
    return state in ("down", "lowerlayerdown", "notpresent")
