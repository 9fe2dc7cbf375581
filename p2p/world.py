"""The seam between a peer and the world it lives in: sockets and mDNS, or memory and a seed.

There are two worlds: `p2p.lan` (real) and `p2p.memory` (simulated). A `Peer` is the same in both.

What this module does not know: how either does it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from keys import NetworkId, PeerId, TransportKey
from p2p.admission import Credentials, Hint, Refusal, Session, SessionTable
from p2p.clock import Clock
from p2p.discovery import Address, Found, GoodPeer, Lost
from p2p.links import Transport
from p2p.machine import Machine

if TYPE_CHECKING:
    from keys.issuing import Issuer


@dataclass(frozen=True, slots=True)
class DoorCalls:
    """What a door asks and tells its owner. All run on the event loop.

    Attributes:
        on_session: somebody has proved who it is; runs before it is told that it is in.
        hints: where other doors are, for whom the answer is (None for a stranger).
        issuer: redeems tickets, or None where this node has no issuer's key.
        on_refused: a conversation with this host ended badly.
    """

    sessions: SessionTable
    on_session: Callable[[Session], None]
    hints: Callable[[PeerId | None], Sequence[Hint]]
    issuer: Issuer | None
    on_refused: Callable[[str, Refusal], None]


@dataclass(frozen=True, slots=True)
class DialCalls:
    """What an introduction tells its owner, in this order."""

    on_verified: Callable[[Session], None]
    on_session: Callable[[Session], None]
    on_hints: Callable[[Sequence[Hint]], None]
    on_told: Callable[[bytes], None]  # a revocation list, instead of a session


class OpenDoor(Protocol):
    """A door that is open."""

    @property
    def port(self) -> int: ...

    def counters(self) -> Mapping[str, int]: ...

    def issue(self, issuer: Issuer) -> None:
        """Redeem tickets of this issuer from now on."""

    async def close(self) -> None: ...


class Lan(Protocol):
    """Our part in mDNS while it lasts. `problem` says in words why it does not work, if so."""

    @property
    def problem(self) -> str | None: ...

    @property
    def nodes_of_other_networks(self) -> int: ...

    def hears(self, peer_id: PeerId) -> bool | None: ...

    async def close(self) -> None: ...


class World(Protocol):
    """Where a peer's time, chance, sockets and neighbours come from."""

    @property
    def clock(self) -> Clock: ...

    @property
    def rng(self) -> random.Random: ...

    def new_key(self) -> TransportKey:
        """Return a fresh CURVE key for this start."""

    def transport(self, key: TransportKey) -> Transport: ...

    def machine(self) -> Machine:
        """Return how busy this machine is now, and how much memory it has left."""

    def hosts(self) -> tuple[str, ...]:
        """Return the addresses to tell others as of now, best first; none without a network."""

    def networks(self) -> tuple[str, ...]:
        """Return our subnets as of now, like "192.168.1.0/24"."""

    async def open_door(self, credentials: Credentials, calls: DoorCalls) -> OpenDoor:
        """Raises:
        PortInUse: another process has the port.
        """

    async def introduce(
        self,
        address: Address,
        credentials: Credentials,
        sessions: SessionTable,
        expected: PeerId | None,
        calls: DialCalls,
    ) -> Session:
        """Raises:
        IntroductionFailed: with the reason.
        """

    async def open_lan(
        self,
        peer_id: PeerId,
        network_id: NetworkId,
        door_port: int,
        on_hint: Callable[[Found | Lost], None],
    ) -> Lan: ...

    def seeds(self) -> tuple[Address, ...]: ...

    async def resolve(self, seed: Address) -> tuple[Address, ...]:
        """Return the addresses that a seed's name stands for now; none when nobody knows."""

    def last_good(self) -> tuple[GoodPeer, ...]:
        """Return the peers met in earlier runs."""

    def note_good(self, peer_id: PeerId, hosts: Sequence[str], port: int) -> None:
        """Remember a peer for the next run."""

    def save_good(self) -> None:
        """Write down what was noted."""
