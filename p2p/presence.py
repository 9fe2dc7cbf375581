"""Who is alive and what they offer: the shell around the membership core.

Heartbeats travel on the control lane as notices and carry a small status of the layers above.
What a peer offers (its advert) is opaque here; it is sent when a session begins and when it
changes, and asked for when a heartbeat names a version that we have not seen.

What this module does not know: introductions, what an advert or a status means.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from keys import PeerId, Permission
from p2p.alarm import Alarm
from p2p.clock import Clock
from p2p.errors import P2PError
from p2p.links import Lane
from p2p.membership import (
    Admitted,
    AdvertChanged,
    Changed,
    Expelled,
    Heartbeat,
    HeartbeatReceived,
    LeaveReceived,
    LinkLost,
    Member,
    Membership,
    MembershipEvent,
    MemberState,
    Reason,
    Reintroduce,
    ReintroductionFailed,
    SendHeartbeat,
    Tick,
)
from p2p.rpc import Exchange, Incoming
from p2p.wire import PayloadError, decode_payload, encode_payload

log = logging.getLogger("conclave.p2p.presence")

HEARTBEAT = "presence.heartbeat"
LEAVE = "presence.leave"
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
    """One peer's picture of the others.

    Args:
        status: gives (load 0 to 255, status of at most 512 bytes) for the next heartbeat.
        reintroduce: knock at this peer's door, please.
    """

    def __init__(
        self,
        membership: Membership,
        incarnation: int,
        clock: Clock,
        exchange: Exchange,
        status: Callable[[], tuple[int, bytes]],
        reintroduce: Callable[[PeerId], None],
    ) -> None:
        self._membership = membership
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
        self._alarm = Alarm(clock, lambda: self.step(Tick()))
        self._is_open = True
        exchange.serve_notice(HEARTBEAT, self._on_heartbeat, Permission.MEMBERSHIP)
        exchange.serve_notice(LEAVE, self._on_leave, Permission.MEMBERSHIP)
        exchange.serve_notice(ADVERT, self._on_advert, Permission.MEMBERSHIP)
        exchange.serve(ADVERT, self._give_advert, Permission.MEMBERSHIP)

    def listen(self, listener: OnPresence) -> None:
        """Tell this function of every change, on the loop; it must not block or raise."""
        self._listeners.append(listener)

    def members(self) -> tuple[Member, ...]:
        return self._membership.members(self._clock.now_ms())

    def present(self) -> tuple[PeerId, ...]:
        """Return the peers that are alive or suspected, without ourselves."""
        return self._membership.present()

    def state_of(self, peer_id: PeerId) -> MemberState | None:
        return self._membership.state_of(peer_id)

    def advert_of(self, peer_id: PeerId) -> bytes | None:
        found = self._adverts.get(peer_id)
        return found[1] if found is not None else None

    @property
    def clock_offset_ms(self) -> int | None:
        return self._membership.clock_offset_ms

    @property
    def own_advert(self) -> bytes:
        return self._advert

    def counters(self) -> Mapping[str, int]:
        return self._membership.counters()

    def advertise(self, advert: bytes) -> None:
        """Say from now on that this is what we offer."""
        assert len(advert) <= MAX_ADVERT_BYTES
        self._advert = advert
        self._advert_version += 1
        for peer_id in self.present():
            self._send(peer_id, ADVERT, self._advert_message())

    def admitted(self, peer_id: PeerId, incarnation: int) -> None:
        """There is a session with this peer."""
        self.step(Admitted(peer_id, incarnation))
        self._send(peer_id, ADVERT, self._advert_message())

    def door_failed(self, peer_id: PeerId) -> None:
        self.step(ReintroductionFailed(peer_id))

    def link_lost(self, peer_id: PeerId) -> None:
        self._tell(LinkBroken(peer_id))
        self.step(LinkLost(peer_id))

    def expelled(self, peer_id: PeerId) -> None:
        self.step(Expelled(peer_id))

    def say_goodbye(self) -> None:
        """Tell everybody that we leave, and stop the heartbeats."""
        self._is_open = False
        for peer_id in self.present():
            self._send(peer_id, LEAVE, encode_payload(self._incarnation))

    async def close(self) -> None:
        self._is_open = False
        self._alarm.off()
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def step(self, event: MembershipEvent) -> None:
        """Give the core an event and do what it asks."""
        if not self._is_open:
            return
        for effect in self._membership.step(event, now_ms=self._clock.now_ms()):
            match effect:
                case SendHeartbeat():
                    self._beat(effect.to, effect.sequence)
                case Changed():
                    self._changed(effect)
                case Reintroduce():
                    self._reintroduce(effect.peer_id)
                case AdvertChanged():
                    self._ask_advert(effect.peer_id, effect.version)
        self._alarm.set(self._membership.deadline_ms)

    # -- what is sent --------------------------------------------------------------------------

    def _beat(self, to: Sequence[PeerId], sequence: int) -> None:
        load, status = self._status()
        beat = Heartbeat(
            self._incarnation,
            sequence,
            self._advert_version,
            load,
            self._clock.wall_ms(),
            status,
            self.heads(),
        )
        payload = encode_payload(beat.to_wire())
        for peer_id in to:
            self._send(peer_id, HEARTBEAT, payload)

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

    # -- what arrives --------------------------------------------------------------------------

    def _on_heartbeat(self, peer_id: PeerId, payload: bytes) -> None:
        try:
            beat = Heartbeat.from_wire(decode_payload(payload))
        except PayloadError:
            beat = None
        self.step(HeartbeatReceived(peer_id, beat, self._clock.wall_ms()))
        if beat is not None and self.state_of(peer_id) is MemberState.ALIVE:
            self._ask_advert(peer_id, beat.advert_version)  # again, if it did not come
            seen = HeartbeatSeen(peer_id, beat.incarnation, beat.load, beat.body, beat.heads)
            self._tell(seen)

    def _on_leave(self, peer_id: PeerId, payload: bytes) -> None:
        try:
            incarnation = decode_payload(payload)
        except PayloadError:
            return
        if type(incarnation) is int:
            self.step(LeaveReceived(peer_id, incarnation))

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

    def _changed(self, change: Changed) -> None:
        if change.after in (MemberState.DEAD, MemberState.LEFT):
            self._adverts.pop(change.peer_id, None)
        self._tell(
            MemberChange(
                change.peer_id,
                change.incarnation,
                change.before,
                change.after,
                Reason(change.reason).value,
            )
        )

    def _tell(self, event: PresenceEvent) -> None:
        for listener in self._listeners:
            listener(event)
