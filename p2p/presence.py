"""Who is alive and what they offer, as those above see it. `p2p.swimming` says who is alive.

A heartbeat carries the digest of what its sender offers; `p2p.adverts` has the rest of that.

What this module does not know: introductions, what an advert or a status means, who is dead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from keys import PeerId
from p2p.adverts import LISTENS, OWN_PREFIX, AdvertService, Changes
from p2p.clock import Clock
from p2p.errors import P2PError
from p2p.links import Lane
from p2p.membership import Heartbeat, Member, MemberState
from p2p.rpc import Exchange

log = logging.getLogger("conclave.p2p.presence")


@dataclass(frozen=True, slots=True)
class MemberChange:
    """A peer's state changed; `before` is None for one that was not known."""

    peer_id: PeerId
    incarnation: int
    before: MemberState | None
    after: MemberState
    reason: str


@dataclass(frozen=True, slots=True)
class AdvertSeen:
    """What a living peer offers has changed, or is to be judged anew: these entries of it."""

    peer_id: PeerId
    incarnation: int
    changes: Changes


@dataclass(frozen=True, slots=True)
class HeartbeatSeen:
    """A living peer spoke; its status is for the layers above."""

    peer_id: PeerId
    incarnation: int
    status: bytes
    heads: bytes = b""


@dataclass(frozen=True, slots=True)
class LinkBroken:
    """The connection to a peer broke; evidence, no verdict."""

    peer_id: PeerId


PresenceEvent = MemberChange | AdvertSeen | HeartbeatSeen | LinkBroken
OnPresence = Callable[[PresenceEvent], None]


class Presence:
    """One peer's picture of the others. What tells who is alive inherits from it.

    Args:
        status: gives what the next heartbeat says to the layers above, at most 512 bytes.
        reintroduce: knock at this peer's door, please.
    """

    def __init__(
        self,
        incarnation: int,
        clock: Clock,
        exchange: Exchange,
        status: Callable[[], bytes],
        reintroduce: Callable[[PeerId], None],
    ) -> None:
        self._incarnation = incarnation
        self._clock = clock
        self._exchange = exchange
        self._status = status
        self._reintroduce = reintroduce
        self.heads: Callable[[], bytes] = bytes  # which revocation lists we have in force
        self._listeners: list[OnPresence] = []
        self.adverts = AdvertService(
            incarnation,
            clock,
            exchange,
            lambda: self._linked(),
            self.is_present,
            self._offered,
        )
        self.on_listens: Callable[[PeerId, bytes | None], None] = lambda peer_id, entry: None
        self._is_open = True

    def listen(self, listener: OnPresence) -> None:
        """Tell this function of every change, on the loop; it must not block or raise."""
        self._listeners.append(listener)

    # -- what tells who is alive says ----------------------------------------------------------

    def members(self) -> tuple[Member, ...]:
        """Everybody that is known, by peer id: the dead and the departed too, for a day."""
        raise NotImplementedError

    def present(self) -> tuple[PeerId, ...]:
        """Return the peers that are alive or suspected, without ourselves."""
        raise NotImplementedError

    def is_present(self, peer_id: PeerId) -> bool:
        return self.state_of(peer_id) in (MemberState.ALIVE, MemberState.SUSPECT)

    def state_of(self, peer_id: PeerId) -> MemberState | None:
        raise NotImplementedError

    def counters(self) -> Mapping[str, int]:
        raise NotImplementedError

    def admitted(self, peer_id: PeerId, incarnation: int) -> None:
        """There is a session with this peer."""
        raise NotImplementedError

    def door_failed(self, peer_id: PeerId) -> None:
        """Nobody answers at its door."""
        raise NotImplementedError

    def link_lost(self, peer_id: PeerId) -> None:
        raise NotImplementedError

    def expelled(self, peer_id: PeerId) -> None:
        raise NotImplementedError

    def say_goodbye(self) -> None:
        """Tell everybody that we leave, and stop the heartbeats."""
        raise NotImplementedError

    def _clock_offset_ms(self) -> int | None:
        raise NotImplementedError

    @property
    def clock_offset_ms(self) -> int | None:
        """How far ahead the clocks of the others are, in the middle; None with nobody heard."""
        return self._clock_offset_ms()

    async def close(self) -> None:
        self._is_open = False
        await self.adverts.close()

    def _linked(self) -> Sequence[PeerId]:
        """To whom news of ours go."""
        return self.present()

    def _heartbeat(self, sequence: int) -> Heartbeat:
        return Heartbeat(
            self._incarnation,
            sequence,
            self.adverts.digest(),
            self._clock.wall_ms(),
            self._status(),
            self.heads(),
        )

    def _heard(self, peer_id: PeerId, beat: Heartbeat) -> None:
        """A living peer's heartbeat: what it says is for the layers above."""
        self.adverts.heard(peer_id, beat.incarnation, beat.adverts)
        self._tell(HeartbeatSeen(peer_id, beat.incarnation, beat.body, beat.heads))

    def _send(self, to: PeerId, method: str, payload: bytes) -> None:
        try:
            self._exchange.notify(to, method, payload, lane=Lane.CONTROL)
        except P2PError as error:
            log.debug("not sent: %s", error, extra={"method": method})

    def _offered(self, peer_id: PeerId, start: int, changes: Changes) -> None:
        """Agents are for those above; which topics it listens to is for whoever publishes."""
        if LISTENS in changes:
            self.on_listens(peer_id, changes[LISTENS])
        agents = {n: entry for n, entry in changes.items() if not n.startswith(OWN_PREFIX)}
        if agents or not changes:
            self._tell(AdvertSeen(peer_id, start, agents))

    def _gone(self, peer_id: PeerId) -> None:
        """What it offered is over."""
        self.adverts.gone(peer_id)

    def _tell(self, event: PresenceEvent) -> None:
        for listener in self._listeners:
            listener(event)
