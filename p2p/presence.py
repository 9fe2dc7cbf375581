"""Who is alive and what they offer: what all ways of telling have in common.

`p2p.beating` asks everybody's heartbeat, `p2p.swimming` is for hundreds. What a peer offers (its
advert) is opaque here; it is sent when a session begins and when it changes, and asked for when a
heartbeat names a version that we have not seen.

What this module does not know: introductions, what an advert or a status means, who is dead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from keys import PeerId, Permission
from p2p.clock import Clock
from p2p.errors import P2PError
from p2p.links import Lane
from p2p.membership import Heartbeat, Member, MemberState
from p2p.rpc import Exchange, Incoming
from p2p.wire import PayloadError, decode_payload, encode_payload

log = logging.getLogger("conclave.p2p.presence")

ADVERT = "presence.advert"
MAX_ADVERT_BYTES = 256 * 1024


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
    """What a living peer offers is known, or is known anew."""

    peer_id: PeerId
    advert: bytes


@dataclass(frozen=True, slots=True)
class HeartbeatSeen:
    """A living peer spoke; its status is for the layers above."""

    peer_id: PeerId
    incarnation: int
    load: int
    status: bytes
    heads: bytes = b""


@dataclass(frozen=True, slots=True)
class LinkBroken:
    """The connection to a peer broke; evidence, no verdict."""

    peer_id: PeerId


PresenceEvent = MemberChange | AdvertSeen | HeartbeatSeen | LinkBroken
OnPresence = Callable[[PresenceEvent], None]


class Presence:
    """One peer's picture of the others. A way of telling who is alive inherits from it.

    Args:
        status: gives (load 0 to 255, status of at most 512 bytes) for the next heartbeat.
        reintroduce: knock at this peer's door, please.
    """

    def __init__(
        self,
        incarnation: int,
        clock: Clock,
        exchange: Exchange,
        status: Callable[[], tuple[int, bytes]],
        reintroduce: Callable[[PeerId], None],
    ) -> None:
        self._incarnation = incarnation
        self._clock = clock
        self._exchange = exchange
        self._status = status
        self._reintroduce = reintroduce
        self.heads: Callable[[], bytes] = bytes  # which revocation lists we have in force
        self._listeners: list[OnPresence] = []
        self._adverts: dict[PeerId, tuple[int, bytes]] = {}
        self._advert = b""
        self._advert_version = 0
        self._asking: dict[PeerId, asyncio.Task[None]] = {}
        self._is_open = True
        exchange.serve_notice(ADVERT, self._on_advert, Permission.MEMBERSHIP)
        exchange.serve(ADVERT, self._give_advert, Permission.MEMBERSHIP)

    def listen(self, listener: OnPresence) -> None:
        """Tell this function of every change, on the loop; it must not block or raise."""
        self._listeners.append(listener)

    # -- what a way of telling says ------------------------------------------------------------

    def members(self) -> tuple[Member, ...]:
        """Everybody that is known, by peer id: the dead and the departed too, for a day."""
        raise NotImplementedError

    def present(self) -> tuple[PeerId, ...]:
        """Return the peers that are alive or suspected, without ourselves."""
        raise NotImplementedError

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

    # -- adverts -------------------------------------------------------------------------------

    @property
    def clock_offset_ms(self) -> int | None:
        """How far ahead the clocks of the others are, in the middle; None with nobody heard."""
        return self._clock_offset_ms()

    @property
    def own_advert(self) -> bytes:
        return self._advert

    def advert_of(self, peer_id: PeerId) -> bytes | None:
        found = self._adverts.get(peer_id)
        return found[1] if found is not None else None

    def advertise(self, advert: bytes) -> None:
        """Say from now on that this is what we offer."""
        assert len(advert) <= MAX_ADVERT_BYTES
        self._advert = advert
        self._advert_version += 1
        for peer_id in self._linked():
            self._send(peer_id, ADVERT, self._advert_message())

    async def close(self) -> None:
        self._is_open = False
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def _linked(self) -> Sequence[PeerId]:
        """To whom news of ours go."""
        return self.present()

    def _heartbeat(self, sequence: int) -> Heartbeat:
        load, status = self._status()
        return Heartbeat(
            self._incarnation,
            sequence,
            self._advert_version,
            load,
            self._clock.wall_ms(),
            status,
            self.heads(),
        )

    def _heard(self, peer_id: PeerId, beat: Heartbeat) -> None:
        """A living peer's heartbeat: what it says is for the layers above."""
        self._ask_advert(peer_id, beat.advert_version)  # again, if it did not come
        self._tell(HeartbeatSeen(peer_id, beat.incarnation, beat.load, beat.body, beat.heads))

    def _advert_message(self) -> bytes:
        return encode_payload([self._incarnation, self._advert_version, self._advert])

    def _send(self, to: PeerId, method: str, payload: bytes) -> None:
        try:
            self._exchange.notify(to, method, payload, lane=Lane.CONTROL)
        except P2PError as error:
            log.debug("not sent: %s", error, extra={"method": method})

    def _ask_advert(self, peer_id: PeerId, version: int) -> None:
        known = self._adverts.get(peer_id)
        if peer_id in self._asking or (known is not None and known[0] == version):
            return
        task = asyncio.get_running_loop().create_task(self._fetch_advert(peer_id))
        self._asking[peer_id] = task
        task.add_done_callback(lambda _: self._asking.pop(peer_id, None))

    async def _fetch_advert(self, peer_id: PeerId) -> None:
        try:
            answer = await self._exchange.request(
                peer_id, ADVERT, b"", timeout_s=2.0, lane=Lane.CONTROL
            )
        except P2PError as error:
            log.debug("no advert: %s", error)
        else:
            self._on_advert(peer_id, answer)

    def _on_advert(self, peer_id: PeerId, payload: bytes) -> None:
        try:
            fields = decode_payload(payload)
        except PayloadError:
            return
        if not (isinstance(fields, list) and len(fields) == 3 and type(fields[2]) is bytes):
            return
        incarnation, version, advert = fields
        if type(version) is not int or type(incarnation) is not int:
            return
        if len(advert) > MAX_ADVERT_BYTES:
            return
        self._adverts[peer_id] = (version, advert)
        self._tell(AdvertSeen(peer_id, advert))

    async def _give_advert(self, incoming: Incoming, payload: bytes) -> bytes:
        return self._advert_message()

    def _gone(self, peer_id: PeerId) -> None:
        """What it offered is over."""
        self._adverts.pop(peer_id, None)

    def _tell(self, event: PresenceEvent) -> None:
        for listener in self._listeners:
            listener(event)
