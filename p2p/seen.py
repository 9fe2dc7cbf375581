"""What one peer has of another besides its state: its last beat, and how far apart the clocks are.

What this module does not know: who is alive.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from p2p.membership import Heartbeat

_OFFSET_SAMPLES = 9


@dataclass(slots=True)
class Seen:
    """Of one peer."""

    changed_ms: int
    heard_ms: int
    beat: Heartbeat | None = None
    offsets_ms: deque[int] = field(default_factory=lambda: deque(maxlen=_OFFSET_SAMPLES))

    def take(self, beat: Heartbeat, wall_ms: int) -> bool:
        """Whether this beat is newer than the last; then it is the last."""
        last = self.beat
        if last is None or last.incarnation != beat.incarnation:
            self.offsets_ms.clear()
        elif beat.sequence <= last.sequence:
            return False
        self.beat = beat
        self.offsets_ms.append(beat.wall_ms - wall_ms)
        return True

    def offset_ms(self) -> int | None:
        """How far ahead its clock is, in the middle."""
        ordered = sorted(self.offsets_ms)
        return ordered[len(ordered) // 2] if ordered else None
