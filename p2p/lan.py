"""The real world: CURVE sockets, a TCP door, mDNS, the machine's clocks.

What this module does not know: what peers say to each other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from keys import NetworkId, PeerId, TransportKey
from p2p.admission import (
    Credentials,
    Door,
    DoorSettings,
    Session,
    SessionTable,
    introduce,
)
from p2p.clock import Clock, SystemClock
from p2p.discovery import (
    DEFAULT_DOOR_PORT,
    Address,
    Found,
    GoodPeer,
    Interface,
    LastGoodPeers,
    Lost,
    MachineChanges,
    UnknownInterface,
    check_services,
    hosts_to_tell,
    is_service,
    parse_seed,
    resolve_name,
    resolve_service,
    usable_interfaces,
)
from p2p.errors import PortInUse
from p2p.links import Transport
from p2p.machine import Machine, look_at_machine
from p2p.transport import TransportSettings, ZmqTransport
from p2p.world import DialCalls, DoorCalls, Lan, OpenDoor

if TYPE_CHECKING:
    from p2p.discovery.mdns import MdnsDiscovery

INTRODUCTION_TIMEOUT_S = 4.0
MAX_HOSTS = 8
EVERYWHERE = frozenset({"0.0.0.0", "::", "*"})


@dataclass(frozen=True, slots=True)
class LanSettings:
    """How a peer listens and finds others on a LAN.

    Attributes:
        host: the address to bind; `0.0.0.0` for all of IPv4, `::` for those of IPv6, too.
        port: of the door; control, data, topics and bulk take the next four, or the four after
            those: they alternate as keys change. 0: 4747 for the
            door if it is free, any ports for the rest.
        interfaces: names or addresses to use for mDNS and to tell others; empty for all usable.
        seeds: HOST[:PORT] of doors to knock at.
        last_good: the file of peers met in earlier runs, or None to keep none.
    """

    host: str = "0.0.0.0"
    port: int = 0
    interfaces: tuple[str, ...] = ()
    seeds: tuple[str, ...] = ()
    mdns: bool = True
    last_good: Path | None = None

    @property
    def has_ipv6(self) -> bool:
        """Whether IPv6 addresses of this machine are listened at."""
        return ":" in self.host or self.host == "*"

    @property
    def is_loopback_only(self) -> bool:
        return self.host.startswith("127.") or self.host == "::1"


class LanWorld:
    """The world of a peer on a real network.

    Raises:
        BadSeed: a seed is no address.
        NoServiceNames: one is the name of a service, which cannot be looked up here.
        UnknownInterface: an interface that was named is not there.
    """

    def __init__(self, settings: LanSettings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._rng = random.SystemRandom()
        self._seeds = tuple(parse_seed(seed).address for seed in settings.seeds)
        check_services(self._seeds)
        self._good = LastGoodPeers(settings.last_good) if settings.last_good else None
        self._interfaces = self._chosen_interfaces()
        usable_interfaces(chosen=self._interfaces)  # one that is not there is an error now

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def rng(self) -> random.Random:
        return self._rng

    def new_key(self) -> TransportKey:
        return TransportKey.generate()

    def transport(self, key: TransportKey) -> Transport:
        first = self._settings.port
        ports = (first + 1, first + 2, first + 3, first + 4) if first else (0, 0, 0, 0)
        settings = TransportSettings(
            host=self._settings.host,
            control_port=ports[0],
            data_port=ports[1],
            topics_port=ports[2],
            bulk_port=ports[3],
        )
        return ZmqTransport(settings, key)

    def machine(self) -> Machine:
        return look_at_machine()

    def hosts(self) -> tuple[str, ...]:
        if self._settings.host not in EVERYWHERE:
            return (self._settings.host,)
        survey = self._survey(loopback=False)
        return hosts_to_tell(survey, ipv6=self._settings.has_ipv6)[:MAX_HOSTS]

    def networks(self) -> tuple[str, ...]:
        survey = self._survey(loopback=self._settings.is_loopback_only)
        return _networks_of(survey)

    def _survey(self, *, loopback: bool) -> tuple[Interface, ...]:
        """Look at the machine; nothing while an interface that was asked for is not there."""
        return _seen_lately(self._interfaces, loopback, _changes.turn(self._clock.now_ms()))

    async def open_door(self, credentials: Credentials, calls: DoorCalls) -> OpenDoor:
        wanted = self._settings.port or DEFAULT_DOOR_PORT
        try:
            return await self._open_door_at(wanted, credentials, calls)
        except PortInUse:
            if self._settings.port:
                raise
            return await self._open_door_at(0, credentials, calls)

    async def _open_door_at(self, port: int, credentials: Credentials, calls: DoorCalls) -> Door:
        door = Door(
            DoorSettings(host=self._settings.host, port=port),
            credentials,
            calls.sessions,
            on_session=calls.on_session,
            hints=calls.hints,
            issuer=calls.issuer,
            on_refused=calls.on_refused,
        )
        await door.start()
        return door

    async def introduce(
        self,
        address: Address,
        credentials: Credentials,
        sessions: SessionTable,
        expected: PeerId | None,
        calls: DialCalls,
    ) -> Session:
        return await introduce(
            address.host,
            address.port,
            credentials,
            timeout_s=INTRODUCTION_TIMEOUT_S,
            sessions=sessions,
            expected=expected,
            on_verified=calls.on_verified,
            on_session=calls.on_session,
            on_hints=calls.on_hints,
            on_told=calls.on_told,
        )

    async def open_lan(
        self,
        peer_id: PeerId,
        network_id: NetworkId,
        door_port: int,
        on_hint: Callable[[Found | Lost], None],
    ) -> Lan:
        if not self._settings.mdns:
            return QuietLan()
        # Here and not above: zeroconf is 3 MB, which a peer without mDNS need not hold.
        from p2p.discovery.mdns import MdnsDiscovery, MdnsSettings

        settings = MdnsSettings(interfaces=self._interfaces, ipv6=self._settings.has_ipv6)
        discovery = MdnsDiscovery(peer_id, network_id, door_port, on_hint, settings=settings)
        await discovery.start()
        return MulticastLan(discovery)

    def seeds(self) -> tuple[Address, ...]:
        return self._seeds

    async def resolve(self, seed: Address) -> tuple[Address, ...]:
        return await (resolve_service(seed) if is_service(seed) else resolve_name(seed))

    def last_good(self) -> tuple[GoodPeer, ...]:
        return self._good.load() if self._good is not None else ()

    def note_good(self, peer_id: PeerId, hosts: Sequence[str], port: int) -> None:
        if self._good is not None:
            self._good.note(peer_id, hosts, port, self._clock.wall_ms())

    def save_good(self) -> None:
        if self._good is not None:
            self._good.save()

    def _chosen_interfaces(self) -> tuple[str, ...]:
        if self._settings.interfaces:
            return self._settings.interfaces
        return () if self._settings.host in EVERYWHERE else (self._settings.host,)


_changes = MachineChanges()


@lru_cache(maxsize=8)
def _seen_lately(
    chosen: Sequence[str], loopback: bool, turn: tuple[int, int]
) -> tuple[Interface, ...]:
    """Peers ask every second, each for itself: it is two milliseconds of work."""
    try:
        return usable_interfaces(chosen=chosen, loopback=loopback)
    except (UnknownInterface, OSError):
        return ()


@lru_cache(maxsize=8)
def _networks_of(survey: tuple[Interface, ...]) -> tuple[str, ...]:
    """Every peer asks every second, and they hardly ever change."""
    return tuple(dict.fromkeys(interface.network for interface in survey))


class MulticastLan:
    """mDNS as a `Lan`."""

    def __init__(self, discovery: MdnsDiscovery) -> None:
        self._discovery = discovery

    @property
    def problem(self) -> str | None:
        problem = self._discovery.problem
        return str(problem) if problem is not None else None

    @property
    def nodes_of_other_networks(self) -> int:
        return self._discovery.nodes_of_other_networks

    def hears(self, peer_id: PeerId) -> bool:
        return self._discovery.hears(peer_id)

    def counters(self) -> Mapping[str, int]:
        return self._discovery.counters()

    async def close(self) -> None:
        await self._discovery.close()


class QuietLan:
    """No mDNS, because the settings say so."""

    problem: str | None = "mDNS is switched off by the settings of this node"
    nodes_of_other_networks = 0

    def hears(self, peer_id: PeerId) -> None:
        return None

    async def close(self) -> None:
        return None
