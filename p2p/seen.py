"""What one peer has of another besides its state: its last beat, and how far apart the clocks are.

What this module does not know: who is alive.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2p.membership import Heartbeat

_OFFSET_SAMPLES = 9


@dataclass(slots=True)
class Seen:
    """Of one peer."""

    changed_ms: int
    heard_ms: int
    beat: Heartbeat | None = None
    offsets_ms: tuple[int, ...] = ()  # the last samples; a deque would take five times as much

    def take(self, beat: Heartbeat, wall_ms: int) -> bool:
        """Whether this beat is newer than the last; then it is the last."""
        last = self.beat
        if last is None or last.incarnation != beat.incarnation:
            self.offsets_ms = ()
        elif beat.sequence <= last.sequence:
            return False
        self.beat = beat
        self.offsets_ms = (*self.offsets_ms[1 - _OFFSET_SAMPLES :], beat.wall_ms - wall_ms)
        return True

    def offset_ms(self) -> int | None:
        """How far ahead its clock is, in the middle."""
        ordered = sorted(self.offsets_ms)
        return ordered[len(ordered) // 2] if ordered else None
