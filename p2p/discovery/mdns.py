"""mDNS: say where our door is, hear where others' are. A shell around zeroconf.

Does not know whom to dial, and believes nothing that it hears: it hands `Found` and `Lost` to
its owner as hints (`p2p.discovery.events`). It is no sign of life either: a peer that crashed
stays listed for up to 75 minutes.

- One responder a process. Names hold a key's fingerprint, so there is no probing for conflicts
  (RFC 6762, section 8.1, costs a second): others hear of us within milliseconds.
- Questions ask for multicast answers, because unicast ones reach only one of several
  processes on a machine.
- A machine without multicast is a state (`problem`), never an error: it is tried again.
- Level-triggered: all that is known is said again every minute, so that nothing which was
  dropped under load stays lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from zeroconf import (
    DNSQuestionType,
    IPVersion,
    NotRunningException,
    ServiceStateChange,
    Zeroconf,
)
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from keys import NetworkId, PeerId
from p2p.discovery import advert
from p2p.discovery.advert import Ignored
from p2p.discovery.errors import NoMulticast, UnknownInterface
from p2p.discovery.events import Found, Lost, Source
from p2p.discovery.interfaces import Interface, hosts_to_tell, usable_interfaces

_CLOSE_TIMEOUT_S = 1.0
_START_TIMEOUT_S = 2.0
_MAX_RESOLVING = 32
_MAX_KNOWN = 2_000
_MAX_STRANGERS = 1_000


@dataclass(frozen=True, slots=True)
class MdnsSettings:
    """
    Attributes:
        interfaces: addresses or names to use exactly; empty means all usable ones, watched, or the
            loopback interface while there is no other.
        ipv6: whether anybody listens on IPv6 here; otherwise no such address is told.
    """

    interfaces: tuple[str, ...] = ()
    ipv6: bool = True
    advertise: bool = True  # False: listen, but do not tell the LAN that we exist
    watch_every_s: float = 5.0  # for changed addresses
    repeat_every_s: float = 60.0
    resolve_timeout_s: float = 3.0


OnHint = Callable[[Found | Lost], None]
OnInterfaces = Callable[[tuple[Interface, ...]], None]


class MdnsDiscovery:
    """Announce and browse while open.

    `on_hint` and `on_interfaces` (our usable addresses changed) run on the event loop and must
    neither block nor raise.
    """

    def __init__(
        self,
        peer_id: PeerId,
        network_id: NetworkId,
        door_port: int,
        on_hint: OnHint,
        *,
        settings: MdnsSettings | None = None,
        on_interfaces: OnInterfaces | None = None,
    ) -> None:
        self._peer_id = peer_id
        self._tag = advert.network_tag(network_id)
        self._door_port = door_port
        self._on_hint = on_hint
        self._settings = settings or MdnsSettings()
        self._on_interfaces = on_interfaces
        self._interfaces: tuple[Interface, ...] = ()
        self._responder: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._known: dict[str, Found] = {}
        self._strangers: set[str] = set()
        self._resolving: dict[str, asyncio.Task[None]] = {}
        self._announcing: asyncio.Future[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._counters: Counter[str] = Counter()
        self.problem: NoMulticast | None = None

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """The addresses announced now, best first."""
        return self._interfaces

    @property
    def nodes_of_other_networks(self) -> int:
        """How many nodes of other networks were heard on this LAN (at most 1,000 are counted)."""
        return len(self._strangers)

    def hears(self, peer_id: PeerId) -> bool:
        """Whether this peer was heard and has not said goodbye; a crash is forgotten late."""
        return advert.instance_name(peer_id) in self._known

    def counters(self) -> Mapping[str, int]:
        return {**self._counters, "known": len(self._known), "resolving": len(self._resolving)}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Announce and browse. Does not fail without multicast: see `problem`.

        Raises:
            UnknownInterface: an interface that was asked for by name is not there.
        """
        assert self._watcher is None, "started twice"
        self._interfaces = self._survey()
        await self._open()
        self._watcher = asyncio.create_task(self._watch(), name="mdns watch")

    async def close(self) -> None:
        """Say goodbye and stop; takes a quarter of a second (RFC 6762, section 8.4)."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None
        await self._shut()

    # -- the responder -------------------------------------------------------------------------

    def _survey(self) -> tuple[Interface, ...]:
        """What to speak on; a machine off every network still finds its own processes."""
        chosen = self._settings.interfaces
        return usable_interfaces(chosen=chosen) or usable_interfaces(loopback=True)

    async def _open(self) -> None:
        """Make the sockets and begin; on refusal by the system, note the problem."""
        assert self._responder is None
        addresses = _one_per_interface(self._interfaces)
        try:
            if not addresses:
                raise OSError("this machine has no usable network interface")
            self._responder = _responder(addresses)
            await self._responder.zeroconf.async_wait_for_start(_START_TIMEOUT_S)
            if self._settings.advertise:
                announcing = await self._responder.async_register_service(
                    self._own_advert(), cooperating_responders=True
                )
                self._announcing = asyncio.ensure_future(announcing)  # thrice in half a second
        except (OSError, RuntimeError, NotRunningException) as error:
            # zeroconf raises RuntimeError for an address that left between survey and socket.
            await self._shut()
            self.problem = NoMulticast(addresses, str(error) or type(error).__name__)
            return
        self.problem = None
        self._browser = AsyncServiceBrowser(
            self._responder.zeroconf,
            advert.SERVICE_TYPE,
            handlers=[self._on_change],
            question_type=DNSQuestionType.QM,
        )

    async def _shut(self) -> None:
        for task in self._resolving.values():
            task.cancel()
        self._resolving.clear()
        if self._announcing is not None:
            self._announcing.cancel()
            await asyncio.gather(self._announcing, return_exceptions=True)
            self._announcing = None
        if self._browser is not None:
            await self._browser.async_cancel()
            self._browser = None
        if self._responder is not None:
            with contextlib.suppress(TimeoutError, OSError):
                await asyncio.wait_for(self._responder.async_close(), _CLOSE_TIMEOUT_S)
            self._responder = None  # only now: whoever is cancelled above leaves it to `close`

    def _own_advert(self) -> AsyncServiceInfo:
        return AsyncServiceInfo(
            advert.SERVICE_TYPE,
            advert.instance_name(self._peer_id),
            port=self._door_port,
            properties=advert.text_record(self._tag),
            server=advert.server_name(self._peer_id),
            parsed_addresses=list(
                hosts_to_tell(self._interfaces, ipv6=self._settings.ipv6)[: advert.MAX_HOSTS]
            ),
        )

    # -- what is heard -------------------------------------------------------------------------

    def _on_change(
        self,
        zeroconf: Zeroconf,
        service_type: str,
        name: str,
        state_change: ServiceStateChange,
    ) -> None:
        """Called by zeroconf on the loop for each service that came, changed or went."""
        if state_change is ServiceStateChange.Removed:
            self._strangers.discard(name)
            found = self._known.pop(name, None)
            if found is not None and found.peer_id is not None:
                self._on_hint(Lost(Source.MDNS, found.peer_id))
            return
        claimed = advert.peer_id_in(name)
        if claimed is None:
            self._counters[Ignored.MALFORMED] += 1
        elif claimed != self._peer_id:
            self._look_up(zeroconf, service_type, name)

    def _look_up(self, zeroconf: Zeroconf, service_type: str, name: str) -> None:
        info = AsyncServiceInfo(service_type, name)
        if info.load_from_cache(zeroconf):  # an announcement carries everything in one packet
            self._take(info)
        elif name not in self._resolving:
            if len(self._resolving) >= _MAX_RESOLVING:
                self._counters[Ignored.TOO_MANY] += 1
                return
            task = asyncio.create_task(self._resolve(zeroconf, info), name="mdns resolve")
            self._resolving[name] = task
            task.add_done_callback(lambda _: self._resolving.pop(name, None))

    async def _resolve(self, zeroconf: Zeroconf, info: AsyncServiceInfo) -> None:
        """Ask for what the first packet left out."""
        timeout_ms = self._settings.resolve_timeout_s * 1000
        try:
            is_complete = await info.async_request(zeroconf, timeout_ms, DNSQuestionType.QM)
        except (NotRunningException, OSError):
            return
        if is_complete:
            self._take(info)
        else:
            self._counters[Ignored.INCOMPLETE] += 1

    def _take(self, info: AsyncServiceInfo) -> None:
        hosts = info.parsed_scoped_addresses(IPVersion.All)
        heard = advert.read_advert(
            info.name, info.port, info.properties, hosts, own=self._peer_id, tag=self._tag
        )
        if isinstance(heard, Ignored):
            self._counters[heard] += 1
            if heard is Ignored.OTHER_NETWORK and len(self._strangers) < _MAX_STRANGERS:
                self._strangers.add(info.name)
            return
        if self._known.get(info.name) == heard:
            return
        if info.name not in self._known and len(self._known) >= _MAX_KNOWN:
            self._counters[Ignored.TOO_MANY] += 1
            del self._known[next(iter(self._known))]  # the oldest: a flood must not lock others out
        self._known[info.name] = heard
        self._counters["heard"] += 1
        self._on_hint(heard)

    # -- changing networks ---------------------------------------------------------------------

    async def _watch(self) -> None:
        """Follow the machine through roaming and sleep, and repeat what is known."""
        loop = asyncio.get_running_loop()
        repeat_at = loop.time() + self._settings.repeat_every_s
        while True:
            await asyncio.sleep(self._settings.watch_every_s)
            await self._follow_interfaces()
            if loop.time() >= repeat_at:
                repeat_at = loop.time() + self._settings.repeat_every_s
                for found in list(self._known.values()):
                    self._on_hint(found)

    async def _follow_interfaces(self) -> None:
        try:
            now = self._survey()
        except UnknownInterface:
            now = ()  # one that was asked for has gone, and may come back
        except (OSError, ValueError):
            return  # the machine is between two states; the next look comes in seconds
        has_changed = now != self._interfaces
        if has_changed:
            self._interfaces = now
            if self._on_interfaces is not None:
                self._on_interfaces(now)
        if has_changed or self.problem is not None:
            await self._shut()
            self._known.clear()  # those who are still there are heard again at once
            self._strangers.clear()
            await self._open()


def _responder(addresses: Sequence[str]) -> AsyncZeroconf:
    """The sockets: all addresses, or IPv4 alone where the system refuses IPv6 multicast."""
    try:
        return AsyncZeroconf(interfaces=list(addresses))
    except (OSError, RuntimeError):
        only_v4 = [address for address in addresses if ":" not in address]
        if not only_v4 or len(only_v4) == len(addresses):
            raise
        return AsyncZeroconf(interfaces=only_v4)


def _one_per_interface(interfaces: Sequence[Interface]) -> list[str]:
    """Multicast on each interface once: over IPv4, or over IPv6 where there is no IPv4."""
    chosen: dict[str, Interface] = {}
    for interface in interfaces:
        before = chosen.get(interface.name)
        if before is None or (before.ip.version == 6 and interface.ip.version == 4):
            chosen[interface.name] = interface
    return [interface.address.partition("%")[0] for interface in chosen.values()]
