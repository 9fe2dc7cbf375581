"""A network in memory whose faults lie between named processes, and processes on it.

Loss is that of a connection: what is lost is sent again after a while, and everything behind it
waits. Nothing that arrives arrives twice or out of order, for connections promise that.

What this module does not know: who injects faults, and why.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from keys import PeerId, TransportKey
from p2p.admission import Credentials, Session, SessionTable
from p2p.clock import Clock
from p2p.discovery import Address
from p2p.links import Lane, Transport
from p2p.memory.lives import Life, Standing
from p2p.memory.network import MIN_SPACING_S, MemoryNetwork
from p2p.memory.outlet import Carried, Frame, bytes_of
from p2p.memory.transport import MemoryTransport
from p2p.memory.virtual_time import VirtualTimeLoop
from p2p.memory.world import MemoryWorld
from p2p.world import DialCalls, DoorCalls, OpenDoor

RESEND_S = 0.2  # what Linux waits at least before it sends a segment again; doubled each time
MAX_RESENDS = 6
DIAL_PATIENCE_S = 3.0
SMALL_BYTES = 256  # what is counted for a frame whose size nobody told
NOWHERE = 1  # a port at which nothing listens


@dataclass(frozen=True, slots=True)
class LinkFaults:
    """What is wrong with one direction between two processes.

    Attributes:
        loss: share of what is sent that is lost on the way, 0 to below 1.
        delay_ms: (least, most), on top of the network's own.
        bytes_per_s: how much passes; None for as much as there is.
    """

    loss: float = 0.0
    delay_ms: tuple[float, float] = (0.0, 0.0)
    bytes_per_s: float | None = None


NO_FAULTS = LinkFaults()


class FaultyNetwork(MemoryNetwork):
    """Between `Life`s, by their names: cuts in either direction, loss, delay, narrow links."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._lives: dict[str, Life] = {}
        self._cut_names: frozenset[tuple[str, str]] = frozenset()
        self._links: dict[tuple[str, str], LinkFaults] = {}
        self._arrivals: dict[tuple[str, str], float] = {}
        self._free_at: dict[tuple[str, str], float] = {}  # when a narrow link has sent the last one
        self.next_bytes = SMALL_BYTES

    def settle(self, host: str, life: Life) -> None:
        """This process is at that host."""
        self._lives[host] = life

    def life_at(self, host: str) -> Life | None:
        return self._lives.get(host)

    def set_cuts(self, cuts: frozenset[tuple[str, str]]) -> None:
        """From the first of each pair nothing reaches the second."""
        self._cut_names = cuts

    def set_link(self, source: str, target: str, faults: LinkFaults) -> None:
        self._links[source, target] = faults

    def clear_links(self) -> None:
        self._links.clear()

    def reaches(self, source: str, target: str) -> bool:
        if not super().reaches(source, target):
            return False
        return not self._cut_names or (self._name(source), self._name(target)) not in (
            self._cut_names
        )

    def deliver(self, source: str, target: str, arrive: Callable[[], None]) -> bool:
        size, self.next_bytes = self.next_bytes, SMALL_BYTES
        if not self.reaches(source, target):
            self.counts["cut"] += 1
            return False
        loop = asyncio.get_running_loop()
        pair = (source, target)
        due = loop.time() + self._rng.uniform(*self.faults.latency_ms) / 1000
        if self._links:
            due = self._held_up(pair, due, size)
        due = max(due, self._arrivals.get(pair, 0.0) + MIN_SPACING_S)
        self._arrivals[pair] = due
        life = self._lives.get(target)
        if life is None:
            loop.call_at(due, arrive)
        else:
            loop.call_at(due, arrive, context=life.context.copy())
        self.counts["delivered"] += 1
        return True

    def _held_up(self, pair: tuple[str, str], due: float, size: int) -> float:
        link = self._links.get((self._name(pair[0]), self._name(pair[1])), NO_FAULTS)
        due += self._rng.uniform(*link.delay_ms) / 1000
        if link.bytes_per_s is not None:
            due = max(due, self._free_at.get(pair, 0.0)) + size / link.bytes_per_s
            self._free_at[pair] = due
        pause_s, tries = RESEND_S, 0
        while link.loss and tries < MAX_RESENDS and self._rng.random() < link.loss:
            self.counts["lost"] += 1
            due += pause_s
            pause_s *= 2
            tries += 1
        return due

    def _name(self, host: str) -> str:
        life = self._lives.get(host)
        return life.name if life is not None else host


class _SizedTransport(MemoryTransport):
    """Tells the network how large a frame is."""

    def __init__(self, network: FaultyNetwork, host: str, key: TransportKey) -> None:
        super().__init__(network, host, key)
        self._faulty = network

    def _carry(self, to: PeerId, lane: Lane, frame: Frame) -> Carried:
        self._faulty.next_bytes = bytes_of(frame)
        carried = super()._carry(to, lane, frame)
        self._faulty.next_bytes = SMALL_BYTES
        return carried


class OffsetClock:
    """A machine's clocks: the time of day may be wrong, the other counts on."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop
        self.offset_ms = 0

    def now_ms(self) -> int:
        return self._loop.now_ms()

    def wall_ms(self) -> int:
        return self._loop.wall_ms() + self.offset_ms


class LivingWorld(MemoryWorld):
    """The place of a process on a `FaultyNetwork`."""

    def __init__(self, network: FaultyNetwork, seed: int, life: Life) -> None:
        super().__init__(network, seed)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop), "MemoryWorld has looked"
        self.own_clock = OffsetClock(loop)
        self._faulty = network
        self._life = life
        network.settle(self.host, life)

    @property
    def clock(self) -> Clock:
        return self.own_clock

    def transport(self, key: TransportKey) -> Transport:
        self._transport = _SizedTransport(self._faulty, self.host, key)
        return self._transport

    async def open_door(self, credentials: Credentials, calls: DoorCalls) -> OpenDoor:
        """What a caller makes us do is done by this process, not by the caller's."""
        life, on_session, on_refused = self._life, calls.on_session, calls.on_refused
        own = replace(
            calls,
            on_session=lambda session: life.call(on_session, session),
            on_refused=lambda host, refusal: life.call(on_refused, host, refusal),
        )
        return await super().open_door(credentials, own)

    async def introduce(
        self,
        address: Address,
        credentials: Credentials,
        sessions: SessionTable,
        expected: PeerId | None,
        calls: DialCalls,
    ) -> Session:
        """A process that stands still accepts the connection, and says nothing."""
        loop = asyncio.get_running_loop()
        until = loop.time() + DIAL_PATIENCE_S
        there = self._faulty.life_at(address.host)
        while there is not None and there.standing is Standing.STANDS_STILL:
            if loop.time() >= until:
                address = address._replace(port=NOWHERE)
                break
            await asyncio.sleep(0.1)
        return await super().introduce(address, credentials, sessions, expected, calls)
