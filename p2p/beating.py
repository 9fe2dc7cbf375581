"""Liveness by heartbeats of everybody to everybody: the shell around the core for tens of peers.

Heartbeats travel on the control lane as notices and carry a small status of the layers above.

What this module does not know: introductions, what a status means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from keys import PeerId, Permission
from p2p.alarm import Alarm
from p2p.clock import Clock
from p2p.membership import (
    Admitted,
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
from p2p.presence import LinkBroken, MemberChange, Presence
from p2p.rpc import Exchange
from p2p.wire import PayloadError, decode_payload, encode_payload

HEARTBEAT = "presence.heartbeat"
LEAVE = "presence.leave"


class Beating(Presence):
    """A `Presence` for tens of peers."""

    def __init__(
        self,
        membership: Membership,
        incarnation: int,
        clock: Clock,
        exchange: Exchange,
        status: Callable[[], tuple[int, bytes]],
        reintroduce: Callable[[PeerId], None],
    ) -> None:
        super().__init__(incarnation, clock, exchange, status, reintroduce)
        self._membership = membership
        self._alarm = Alarm(clock, lambda: self.step(Tick()))
        exchange.serve_notice(HEARTBEAT, self._on_heartbeat, Permission.MEMBERSHIP)
        exchange.serve_notice(LEAVE, self._on_leave, Permission.MEMBERSHIP)

    def members(self) -> tuple[Member, ...]:
        return self._membership.members(self._clock.now_ms())

    def present(self) -> tuple[PeerId, ...]:
        return self._membership.present()

    def state_of(self, peer_id: PeerId) -> MemberState | None:
        return self._membership.state_of(peer_id)

    def counters(self) -> Mapping[str, int]:
        adverts = {f"adverts_{k}": v for k, v in self.adverts.counters().items()}
        return {**self._membership.counters(), **adverts}

    def admitted(self, peer_id: PeerId, incarnation: int) -> None:
        self.step(Admitted(peer_id, incarnation))
        self.adverts.admitted(peer_id)

    def door_failed(self, peer_id: PeerId) -> None:
        self.step(ReintroductionFailed(peer_id))

    def link_lost(self, peer_id: PeerId) -> None:
        self._tell(LinkBroken(peer_id))
        self.step(LinkLost(peer_id))

    def expelled(self, peer_id: PeerId) -> None:
        self.step(Expelled(peer_id))

    def say_goodbye(self) -> None:
        self._is_open = False
        for peer_id in self.present():
            self._send(peer_id, LEAVE, encode_payload(self._incarnation))

    async def close(self) -> None:
        self._alarm.off()
        await super().close()

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
        self._alarm.set(self._membership.deadline_ms)

    def _clock_offset_ms(self) -> int | None:
        return self._membership.clock_offset_ms

    def _beat(self, to: Sequence[PeerId], sequence: int) -> None:
        payload = encode_payload(self._heartbeat(sequence).to_wire())
        for peer_id in to:
            self._send(peer_id, HEARTBEAT, payload)

    def _on_heartbeat(self, peer_id: PeerId, payload: bytes) -> None:
        try:
            beat = Heartbeat.from_wire(decode_payload(payload))
        except PayloadError:
            beat = None
        self.step(HeartbeatReceived(peer_id, beat, self._clock.wall_ms()))
        if beat is not None and self.state_of(peer_id) is MemberState.ALIVE:
            self._heard(peer_id, beat)

    def _on_leave(self, peer_id: PeerId, payload: bytes) -> None:
        try:
            incarnation = decode_payload(payload)
        except PayloadError:
            return
        if type(incarnation) is int:
            self.step(LeaveReceived(peer_id, incarnation))

    def _changed(self, change: Changed) -> None:
        if change.after in (MemberState.DEAD, MemberState.LEFT):
            self._gone(change.peer_id)
        self._tell(
            MemberChange(
                change.peer_id,
                change.incarnation,
                change.before,
                change.after,
                Reason(change.reason).value,
            )
        )
