"""The simulated world: a whole peer on virtual time, its sockets and its neighbours in memory.

Introductions run the real handshakes of both sides against each other, with real certificates; only
the bytes travel in memory. Randomness comes from the seed, time from the running loop.

What this module does not know: what peers say to each other once they are admitted.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from keys import NetworkId, PeerId, TransportKey
from p2p.admission import (
    Admit,
    Close,
    Credentials,
    DialerHandshake,
    DoorHandshake,
    Effect,
    Learn,
    Refusal,
    RefusalCode,
    Send,
    Session,
    SessionTable,
    Told,
    Verified,
    failure_of,
)
from p2p.clock import Clock
from p2p.discovery import Address, Found, GoodPeer, Lost, Source
from p2p.links import Transport
from p2p.machine import Machine
from p2p.memory.network import MemoryNetwork
from p2p.memory.transport import MemoryTransport
from p2p.memory.virtual_time import VirtualClock, VirtualTimeLoop
from p2p.world import DialCalls, DoorCalls, Lan, OpenDoor

if TYPE_CHECKING:
    from keys.issuing import Issuer

NONCE_BYTES = 32
ANNOUNCE_EVERY_S = 2.0
SUBNET = "10.0.0.0/16"


class MemoryWorld:
    """One peer's place on a `MemoryNetwork`; make it while the virtual loop runs.

    Args:
        seed: of everything random in this peer.
        multicast: whether its announcements travel; without, give seeds.

    Attributes:
        machine_now: how busy its machine is; change it while it runs.
    """

    def __init__(
        self,
        network: MemoryNetwork,
        seed: int,
        *,
        multicast: bool = True,
        seeds: Sequence[Address] = (),
    ) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop), "run it with `run_virtual`"
        self.host = network.new_host()
        self._network = network
        self._clock = VirtualClock(loop)
        self._rng = random.Random(seed)
        self._multicast = multicast
        self._seeds = tuple(seeds)
        self._transport: MemoryTransport | None = None
        self.machine_now = Machine()

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def rng(self) -> random.Random:
        return self._rng

    def new_key(self) -> TransportKey:
        return TransportKey.from_secret(self._rng.randbytes(32))

    def transport(self, key: TransportKey) -> Transport:
        self._transport = MemoryTransport(self._network, self.host, key)
        return self._transport

    def machine(self) -> Machine:
        return self.machine_now

    def hosts(self) -> tuple[str, ...]:
        return (self.host,)

    def networks(self) -> tuple[str, ...]:
        return (SUBNET,)

    async def open_door(self, credentials: Credentials, calls: DoorCalls) -> OpenDoor:
        return MemoryDoor(self._network, self.host, credentials, calls, self._rng)

    async def introduce(
        self,
        address: Address,
        credentials: Credentials,
        sessions: SessionTable,
        expected: PeerId | None,
        calls: DialCalls,
    ) -> Session:
        await asyncio.sleep(self._network.faults.latency_ms[1] / 1000)
        door = self._network.listener(address.host, address.port)
        there = self._network.reaches(self.host, address.host)
        back = self._network.reaches(address.host, self.host)
        if not isinstance(door, MemoryDoor) or not (there and back):
            raise failure_of(str(address), Refusal(RefusalCode.UNREACHABLE, "no route to it"))
        dialer = DialerHandshake(
            credentials,
            sessions,
            self._rng.randbytes(NONCE_BYTES),
            dialled_host=address.host,
            expected=expected,
        )
        answering = door.answer(self.host)
        meeting = _Meeting(dialer, answering, calls, door.calls, self._clock.wall_ms)
        meeting.run()
        if answering.refusal is not None:
            door.calls.on_refused(self.host, answering.refusal)
        if dialer.refusal is not None:
            raise failure_of(str(address), dialer.refusal)
        assert meeting.session is not None
        return meeting.session

    async def open_lan(
        self,
        peer_id: PeerId,
        network_id: NetworkId,
        door_port: int,
        on_hint: Callable[[Found | Lost], None],
    ) -> Lan:
        lan = MemoryLan(self._network, self.host, peer_id, network_id, door_port, on_hint)
        if self._multicast:
            lan.announce()
        return lan

    def seeds(self) -> tuple[Address, ...]:
        return self._seeds

    async def resolve(self, seed: Address) -> tuple[Address, ...]:
        return tuple(Address(*place) for place in self._network.names.get(seed.host, ()))

    def last_good(self) -> tuple[GoodPeer, ...]:
        return ()

    def note_good(self, peer_id: PeerId, hosts: Sequence[str], port: int) -> None:
        return None

    def save_good(self) -> None:
        return None

    def crash(self) -> None:
        """Vanish like a killed process: nothing comes out any more, every connection breaks."""
        if self._transport is not None:
            self._transport.vanish()
        self._network.remove(self.host)


class MemoryDoor:
    """An introduction door in memory."""

    def __init__(
        self,
        network: MemoryNetwork,
        host: str,
        credentials: Credentials,
        calls: DoorCalls,
        rng: random.Random,
    ) -> None:
        self._network = network
        self._host = host
        self._credentials = credentials
        self.calls = calls
        self._rng = rng
        self.port = network.listen(host, self)

    def answer(self, caller: str) -> DoorHandshake:
        """Return our side of a conversation with this host."""
        return DoorHandshake(
            self._credentials,
            self.calls.sessions,
            self._rng.randbytes(NONCE_BYTES),
            hints=self.calls.hints,
            observed_host=caller,
        )

    def counters(self) -> Mapping[str, int]:
        return {}

    def issue(self, issuer: Issuer) -> None:
        """In memory nobody joins with a ticket."""

    async def close(self) -> None:
        self._network.silence(self._host, self.port)


class MemoryLan:
    """Announcements to every host of the same network that is reached just now, again and again."""

    problem: str | None = None
    nodes_of_other_networks = 0

    def __init__(
        self,
        network: MemoryNetwork,
        host: str,
        peer_id: PeerId,
        network_id: NetworkId,
        door_port: int,
        on_hint: Callable[[Found | Lost], None],
    ) -> None:
        self._network = network
        self._host = host
        self._network_id = network_id
        self._found = Found(Source.MDNS, peer_id, (host,), door_port)
        self._on_hint = on_hint
        self._port = network.listen(host, self)
        self._heard: set[PeerId | None] = set()
        self._timer: asyncio.TimerHandle | None = None

    def announce(self) -> None:
        """Tell all others where our door is."""
        for host, other in self._network.all_listeners():
            if isinstance(other, MemoryLan) and host != self._host:
                self._network.deliver(self._host, host, lambda other=other: other.hear(self))  # type: ignore[misc]
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(ANNOUNCE_EVERY_S, self.announce)

    def hear(self, other: MemoryLan) -> None:
        """Another node's announcement arrived; another network's is counted and left alone."""
        if other._network_id != self._network_id:
            self.nodes_of_other_networks += 1
        else:
            self._heard.add(other._found.peer_id)
            self._on_hint(other._found)

    def hears(self, peer_id: PeerId) -> bool:
        return peer_id in self._heard

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._network.silence(self._host, self._port)


class _Meeting:
    """Both sides of one introduction, bytes handed over in turn."""

    def __init__(
        self,
        dialer: DialerHandshake,
        door: DoorHandshake,
        dialer_calls: DialCalls,
        door_calls: DoorCalls,
        now_ms: Callable[[], int],
    ) -> None:
        self._dialer = dialer
        self._door = door
        self._dialer_calls = dialer_calls
        self._door_calls = door_calls
        self._now_ms = now_ms
        self._to_door: deque[bytes] = deque()
        self._to_dialer: deque[bytes] = deque()
        self.session: Session | None = None

    def run(self) -> None:
        """Go on until neither side has anything to say."""
        self._at_dialer(self._dialer.start())
        while self._to_door or self._to_dialer:
            if self._to_door:
                self._at_door(self._door.receive(self._to_door.popleft(), self._now_ms()))
            else:
                data = self._to_dialer.popleft()
                self._at_dialer(self._dialer.receive(data, self._now_ms()))
        self._at_dialer(self._dialer.closed())

    def _at_dialer(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(data):
                    self._to_door.append(data)
                case Verified(session):
                    self._dialer_calls.on_verified(session)
                case Admit(session):
                    self.session = session
                    self._dialer_calls.on_session(session)
                case Learn(hints):
                    self._dialer_calls.on_hints(hints)
                case Told(packed):
                    self._dialer_calls.on_told(packed)

    def _at_door(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(data):
                    self._to_dialer.append(data)
                case Admit(session):
                    self._door_calls.on_session(session)
                case Close():
                    pass
