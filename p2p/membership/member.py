"""One peer as membership sees it, the times that decide its state, and the public view of it."""

from __future__ import annotations

from dataclasses import dataclass

from keys import PeerId
from p2p.membership.events import MemberState
from p2p.membership.heartbeat import Heartbeat

_OFFSET_SAMPLES = 9


@dataclass(frozen=True, slots=True)
class MembershipSettings:
    """Paces and limits in milliseconds.

    With the defaults a peer that falls silent is suspected after 1.5 s and dead after 2.5 s; a
    process that was killed on a machine that lives is dead within a second of its last word,
    because its link breaks and its door refuses.
    """

    heartbeat_ms: int = 500
    suspect_after_ms: int = 1_500
    dead_after_ms: int = 2_500
    unreachable_after_ms: int = 1_000  # silence that is enough once link and door have failed
    lag_threshold_ms: int = 500  # a Tick that comes later than this blames ourselves
    max_health: int = 4  # each stall lengthens our patience by half, up to threefold
    health_recovery_ms: int = 10_000
    dead_heartbeat_ms: int = 2_000  # the dead are spoken to, so that a healed partition shows
    forget_after_ms: int = 24 * 3_600_000

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_ms < self.suspect_after_ms < self.dead_after_ms:
            raise ValueError("heartbeat_ms < suspect_after_ms < dead_after_ms must hold")
        if not 0 < self.unreachable_after_ms <= self.dead_after_ms:
            raise ValueError("unreachable_after_ms must be at most dead_after_ms")
        if self.lag_threshold_ms < 1 or self.max_health < 0 or self.health_recovery_ms < 1:
            raise ValueError("lag_threshold_ms, max_health, health_recovery_ms are out of range")
        if self.dead_heartbeat_ms < self.heartbeat_ms:
            raise ValueError("dead_heartbeat_ms must be at least heartbeat_ms")


@dataclass(frozen=True, slots=True)
class Member:
    """The public view of one peer."""

    peer_id: PeerId
    state: MemberState
    incarnation: int
    silent_ms: int  # since it was last heard
    since_ms: int  # since its state last changed
    heartbeat: Heartbeat | None  # its last one of this incarnation
    clock_offset_ms: int | None  # its clock minus ours; None before the first heartbeat


@dataclass(slots=True)
class Record:
    """Mutable; owned by the core."""

    peer_id: PeerId
    incarnation: int
    state: MemberState
    heard_ms: int
    changed_ms: int
    heartbeat: Heartbeat | None = None
    is_link_lost: bool = False
    has_door_failed: bool = False
    offsets_ms: tuple[int, ...] = ()  # the last samples; a deque would take five times as much

    @property
    def is_present(self) -> bool:
        return self.state in (MemberState.ALIVE, MemberState.SUSPECT)

    @property
    def is_unreachable(self) -> bool:
        return self.is_link_lost and self.has_door_failed

    def add_offset_ms(self, offset_ms: int) -> None:
        """A heartbeat says how far its clock is from ours."""
        self.offsets_ms = (*self.offsets_ms[1 - _OFFSET_SAMPLES :], offset_ms)

    def clock_offset_ms(self) -> int | None:
        """The middle of the last samples; transit only ever makes a clock look slower."""
        if not self.offsets_ms:
            return None
        ordered = sorted(self.offsets_ms)
        return ordered[len(ordered) // 2]

    def view(self, now_ms: int) -> Member:
        return Member(
            self.peer_id,
            self.state,
            self.incarnation,
            now_ms - self.heard_ms,
            now_ms - self.changed_ms,
            self.heartbeat,
            self.clock_offset_ms(),
        )
