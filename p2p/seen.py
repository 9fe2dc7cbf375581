"""What one peer has of another besides its state: its last beat, and how far apart the clocks are.

What this module does not know: who is alive.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from p2p.membership import Heartbeat

_OFFSET_SAMPLES = 9
_OFFSET = Struct("q")


@dataclass(slots=True)
class Seen:
    """Of one peer."""

    changed_ms: int
    heard_ms: int
    beat: Heartbeat | None = None
    offsets: bytes = b""  # the last samples, packed: a tuple of integers would take four times that

    def take(self, beat: Heartbeat, wall_ms: int) -> bool:
        """Whether this beat is newer than the last; then it is the last."""
        last = self.beat
        if last is None or last.incarnation != beat.incarnation:
            self.offsets = b""
        elif beat.sequence <= last.sequence:
            return False
        self.beat = beat
        kept = self.offsets[(1 - _OFFSET_SAMPLES) * _OFFSET.size :]
        self.offsets = kept + _OFFSET.pack(beat.wall_ms - wall_ms)
        return True

    def offset_ms(self) -> int | None:
        """How far ahead its clock is, in the middle."""
        ordered = sorted(offset_ms for (offset_ms,) in _OFFSET.iter_unpack(self.offsets))
        return ordered[len(ordered) // 2] if ordered else None
