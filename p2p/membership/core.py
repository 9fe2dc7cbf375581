"""Who is alive: heartbeats of everybody to everybody, and a node that doubts itself first.

A pure core: `step(event, now_ms=...)` returns effects, `deadline_ms` says when it next wants a
`Tick`. It does not know sockets, certificates, tasks, or consensus. It never changes who may
vote: it hints, and the layers above decide by quorum. Who may be a member at all is decided at
the door; what a peer that was not admitted says does not count.

All-to-all heartbeats fit tens of peers (n^2 small messages, two a second). Beyond that, SWIM
(Das et al. 2002) with the corrections of Lifeguard (Dadgar et al. 2018) takes this place: its
rule that a stalled observer blames itself is kept here already, and incarnations are the same.

Invariants (`check_invariants`): the incarnation of a peer never falls; only a peer's own word
(a heartbeat, a goodbye, a session) moves it out of DEAD or into LEFT; at every moment a present
peer that stays silent has a deadline.

A stall of our own (a busy loop, a stopped process, a sleeping laptop) looks just like the
silence of all the others. It shows in a step that comes long after `deadline_ms`. Every silence
is then forgiven by as much, and for a while all limits are longer.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

from keys import PeerId
from p2p.membership.events import (
    Admitted,
    Changed,
    Drop,
    DropReason,
    Expelled,
    HeartbeatReceived,
    LeaveReceived,
    LinkLost,
    MembershipEffect,
    MembershipEvent,
    MemberState,
    Reason,
    Reintroduce,
    ReintroductionFailed,
    SendHeartbeat,
    Tick,
)
from p2p.membership.member import Member, MembershipSettings, Record

_Effects = list[MembershipEffect]


class Membership:
    """See the module. `own` is never a member of its own table."""

    def __init__(self, own: PeerId, settings: MembershipSettings, rng: random.Random) -> None:
        self._own = own
        self._settings = settings
        self._rng = rng
        self._records: dict[PeerId, Record] = {}
        self._sequence = 0
        self._heartbeat_at_ms: int | None = None  # None before the first step
        self._dead_heartbeat_at_ms = 0
        self._check_at_ms: int | None = None  # no silence runs out before this
        self._health = 0  # 0 is well; see `MembershipSettings.max_health`
        self._health_at_ms = 0
        self._counters: Counter[str] = Counter()

    # -- what it knows -------------------------------------------------------------------------

    @property
    def deadline_ms(self) -> int | None:
        """When the next `Tick` is wanted; None while nobody was ever admitted."""
        if self._heartbeat_at_ms is None or not self._records:
            return None
        if self._check_at_ms is None:
            return self._heartbeat_at_ms
        return min(self._heartbeat_at_ms, self._check_at_ms)

    def state_of(self, peer_id: PeerId) -> MemberState | None:
        record = self._records.get(peer_id)
        return None if record is None else record.state

    def members(self, now_ms: int) -> tuple[Member, ...]:
        """Everybody, by peer id: the dead and the departed too, until they are forgotten."""
        ordered = sorted(self._records.values(), key=lambda record: record.peer_id)
        return tuple(record.view(now_ms) for record in ordered)

    def present(self) -> tuple[PeerId, ...]:
        """Those alive or suspected, by peer id."""
        return tuple(sorted(r.peer_id for r in self._records.values() if r.is_present))

    def is_isolated(self, now_ms: int) -> bool:
        """Whether others should be here and none of them was heard: perhaps it is us."""
        expected = [r for r in self._records.values() if r.state is not MemberState.LEFT]
        limit_ms = self._patient(self._settings.suspect_after_ms)
        return bool(expected) and all(now_ms - r.heard_ms >= limit_ms for r in expected)

    @property
    def clock_offset_ms(self) -> int | None:
        """How far ahead the clocks of the others are, in the middle; None with nobody heard."""
        offsets = [r.clock_offset_ms() for r in self._records.values() if r.is_present]
        known = sorted(offset for offset in offsets if offset is not None)
        return known[len(known) // 2] if known else None

    @property
    def health(self) -> int:
        """0 is well; each stall of our own loop adds one, and each limit grows by half."""
        return self._health

    def counters(self) -> Mapping[str, int]:
        states = Counter(str(record.state) for record in self._records.values())
        return {**self._counters, **states, "health": self._health}

    # -- what happens --------------------------------------------------------------------------

    def step(self, event: MembershipEvent, *, now_ms: int) -> list[MembershipEffect]:
        """Take in one event and return what to do about it."""
        effects: _Effects = []
        self._notice_own_stall(now_ms)
        match event:
            case Admitted():
                self._on_admitted(event, now_ms, effects)
            case Expelled():
                self._on_expelled(event, effects)
            case HeartbeatReceived():
                self._on_heartbeat(event, now_ms, effects)
            case LeaveReceived():
                self._on_leave(event, now_ms, effects)
            case LinkLost():
                self._on_link_lost(event, effects)
            case ReintroductionFailed():
                self._on_reintroduction_failed(event, now_ms, effects)
            case Tick():
                pass
        if self._check_at_ms is not None and now_ms >= self._check_at_ms:
            self._check_silences(now_ms, effects)
        if self._heartbeat_at_ms is not None and now_ms >= self._heartbeat_at_ms:
            self._beat(now_ms, effects)
        return effects

    def _on_admitted(self, event: Admitted, now_ms: int, effects: _Effects) -> None:
        if event.peer_id == self._own:
            return
        record = self._records.get(event.peer_id)
        if record is None:
            record = Record(
                event.peer_id, event.incarnation, MemberState.ALIVE, now_ms, changed_ms=now_ms
            )
            self._records[event.peer_id] = record
            effects.append(_changed(record, None, Reason.ADMITTED))
        elif event.incarnation < record.incarnation:
            return self._drop(event.peer_id, DropReason.STALE_INCARNATION, effects)
        else:
            if event.incarnation > record.incarnation:
                self._replace_incarnation(record, event.incarnation, now_ms, effects)
            self._revive(record, now_ms, Reason.ADMITTED, effects)
        soon_ms = now_ms + self._rng.randint(1, self._settings.heartbeat_ms)
        if self._heartbeat_at_ms is None or self._heartbeat_at_ms > soon_ms:
            self._heartbeat_at_ms = soon_ms  # a random phase, so that peers do not beat as one
        self._watch(record)
        self._send((event.peer_id,), effects)
        return None

    def _on_expelled(self, event: Expelled, effects: _Effects) -> None:
        record = self._records.pop(event.peer_id, None)
        if record is not None and record.is_present:
            before, record.state = record.state, MemberState.DEAD
            effects.append(_changed(record, before, Reason.EXPELLED))

    def _on_heartbeat(self, event: HeartbeatReceived, now_ms: int, effects: _Effects) -> None:
        record = self._records.get(event.peer_id)
        heartbeat = event.heartbeat
        if record is None:
            return self._drop(event.peer_id, DropReason.NOT_ADMITTED, effects)
        if heartbeat is None:
            return self._drop(event.peer_id, DropReason.MALFORMED, effects)
        if heartbeat.incarnation < record.incarnation:
            return self._drop(event.peer_id, DropReason.STALE_INCARNATION, effects)
        if heartbeat.incarnation > record.incarnation:
            self._replace_incarnation(record, heartbeat.incarnation, now_ms, effects)
        elif record.state is MemberState.LEFT:
            return self._drop(event.peer_id, DropReason.AFTER_GOODBYE, effects)
        last = record.heartbeat  # None for the first of an incarnation
        if last is not None and heartbeat.sequence <= last.sequence:
            return self._drop(event.peer_id, DropReason.REPLAYED, effects)
        record.heartbeat = heartbeat
        if event.wall_ms is not None:
            record.add_offset_ms(heartbeat.wall_ms - event.wall_ms)
        self._revive(record, now_ms, Reason.HEARD, effects)
        return None

    def _on_leave(self, event: LeaveReceived, now_ms: int, effects: _Effects) -> None:
        record = self._records.get(event.peer_id)
        if record is None:
            return self._drop(event.peer_id, DropReason.NOT_ADMITTED, effects)
        if event.incarnation < record.incarnation:
            return self._drop(event.peer_id, DropReason.STALE_INCARNATION, effects)
        if event.incarnation > record.incarnation:
            self._replace_incarnation(record, event.incarnation, now_ms, effects)
        record.heard_ms = now_ms
        if record.state is not MemberState.LEFT:
            self._become(record, MemberState.LEFT, Reason.GOODBYE, now_ms, effects)
        return None

    def _on_link_lost(self, event: LinkLost, effects: _Effects) -> None:
        record = self._records.get(event.peer_id)
        if record is None or not record.is_present or record.is_link_lost:
            return
        record.is_link_lost, record.has_door_failed = True, False
        effects.append(Reintroduce(event.peer_id))

    def _on_reintroduction_failed(
        self, event: ReintroductionFailed, now_ms: int, effects: _Effects
    ) -> None:
        record = self._records.get(event.peer_id)
        if record is None or not record.is_present:
            return
        record.has_door_failed = True
        if record.is_unreachable and record.state is MemberState.ALIVE:
            self._become(record, MemberState.SUSPECT, Reason.UNREACHABLE, now_ms, effects)
        self._watch(record)

    # -- silence -------------------------------------------------------------------------------

    def _notice_own_stall(self, now_ms: int) -> None:
        planned_ms = self.deadline_ms
        if planned_ms is not None and now_ms - planned_ms > self._settings.lag_threshold_ms:
            lag_ms = now_ms - planned_ms
            for record in self._records.values():
                record.heard_ms = min(now_ms, record.heard_ms + lag_ms)
            self._health = min(self._settings.max_health, self._health + 1)
            self._health_at_ms = now_ms
            self._counters["own stalls"] += 1
            self._counters["own stalls ms"] += lag_ms
        elif self._health and now_ms - self._health_at_ms >= self._settings.health_recovery_ms:
            self._health -= 1
            self._health_at_ms += self._settings.health_recovery_ms
            if self._check_at_ms is not None:
                self._check_at_ms = now_ms  # limits are shorter now: look at everybody again

    def _patient(self, limit_ms: int) -> int:
        return limit_ms + limit_ms * self._health // 2

    def _check_silences(self, now_ms: int, effects: _Effects) -> None:
        """Judge every present peer, and find when the next could run out."""
        self._check_at_ms = None
        for record in self._records.values():
            if record.is_present:
                self._judge(record, now_ms, effects)
                self._watch(record)

    def _judge(self, record: Record, now_ms: int, effects: _Effects) -> None:
        silent_ms = now_ms - record.heard_ms
        if silent_ms >= self._dead_after_ms(record):
            reason = Reason.UNREACHABLE if record.is_unreachable else Reason.SILENT
            self._become(record, MemberState.DEAD, reason, now_ms, effects)
        elif record.state is MemberState.ALIVE and silent_ms >= self._suspect_after_ms():
            self._become(record, MemberState.SUSPECT, Reason.SILENT, now_ms, effects)
            effects.append(Reintroduce(record.peer_id))

    def _watch(self, record: Record) -> None:
        """Be awake when this peer's silence runs out; hearing it only makes that later."""
        if not record.is_present:
            return
        due_ms = record.heard_ms + self._dead_after_ms(record)
        if record.state is MemberState.ALIVE:
            due_ms = min(due_ms, record.heard_ms + self._suspect_after_ms())
        if self._check_at_ms is None or due_ms < self._check_at_ms:
            self._check_at_ms = due_ms

    def _suspect_after_ms(self) -> int:
        return self._patient(self._settings.suspect_after_ms)

    def _dead_after_ms(self, record: Record) -> int:
        settings = self._settings
        is_short = record.is_unreachable
        return self._patient(settings.unreachable_after_ms if is_short else settings.dead_after_ms)

    # -- states --------------------------------------------------------------------------------

    def _replace_incarnation(
        self, record: Record, incarnation: int, now_ms: int, effects: _Effects
    ) -> None:
        """The process before is dead, whether we noticed or not."""
        assert incarnation > record.incarnation
        if record.is_present:
            self._become(record, MemberState.DEAD, Reason.RESTARTED, now_ms, effects)
        record.incarnation = incarnation
        record.heartbeat = None
        record.offsets_ms = ()
        if record.state is MemberState.LEFT:
            record.state = MemberState.DEAD  # that goodbye was of another process

    def _revive(self, record: Record, now_ms: int, reason: Reason, effects: _Effects) -> None:
        record.heard_ms = now_ms
        record.is_link_lost = record.has_door_failed = False
        if record.state is not MemberState.ALIVE:
            self._become(record, MemberState.ALIVE, reason, now_ms, effects)
            self._watch(record)

    def _become(
        self,
        record: Record,
        after: MemberState,
        reason: Reason,
        now_ms: int,
        effects: _Effects,
    ) -> None:
        before, record.state = record.state, after
        assert before is not after
        record.changed_ms = now_ms
        self._counters[f"became {after}"] += 1
        effects.append(_changed(record, before, reason))

    # -- our own heartbeat ---------------------------------------------------------------------

    def _beat(self, now_ms: int, effects: _Effects) -> None:
        """Speak to everybody; to the dead more rarely, so that a healed partition shows."""
        settings = self._settings
        to = list(self.present())
        if now_ms >= self._dead_heartbeat_at_ms:
            self._dead_heartbeat_at_ms = now_ms + settings.dead_heartbeat_ms
            self._forget_old(now_ms)
            to += sorted(r.peer_id for r in self._records.values() if r.state is MemberState.DEAD)
        if to:
            self._send(tuple(to), effects)
        jitter_ms = settings.heartbeat_ms // 10
        pace_ms = settings.heartbeat_ms - self._rng.randint(0, jitter_ms)
        is_alone = not any(record.is_present for record in self._records.values())
        self._heartbeat_at_ms = self._dead_heartbeat_at_ms if is_alone else now_ms + pace_ms

    def _send(self, to: tuple[PeerId, ...], effects: _Effects) -> None:
        self._sequence += 1
        effects.append(SendHeartbeat(to, self._sequence))

    def _forget_old(self, now_ms: int) -> None:
        limit_ms = self._settings.forget_after_ms
        old = [
            record.peer_id
            for record in self._records.values()
            if not record.is_present and now_ms - record.changed_ms > limit_ms
        ]
        for peer_id in old:
            del self._records[peer_id]

    def _drop(self, peer_id: PeerId, reason: DropReason, effects: _Effects) -> None:
        self._counters[f"dropped: {reason}"] += 1
        effects.append(Drop(peer_id, reason))

    def check_invariants(self) -> None:
        assert self._own not in self._records
        assert 0 <= self._health <= self._settings.max_health
        for peer_id, record in self._records.items():
            assert peer_id == record.peer_id
            assert record.incarnation >= 0
            heartbeat = record.heartbeat
            assert heartbeat is None or heartbeat.incarnation == record.incarnation
            if record.is_present:
                assert self._check_at_ms is not None, f"nobody watches {peer_id}"
        if self._records:
            assert self._heartbeat_at_ms is not None


def _changed(record: Record, before: MemberState | None, reason: Reason) -> Changed:
    return Changed(record.peer_id, record.incarnation, before, record.state, reason)
