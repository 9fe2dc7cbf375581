"""What one peer has of another besides its state: which beat was its last, and how far apart the
clocks are.

What a beat says is for whoever listens when it comes, and is not kept.

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
    """Of one peer.

    Attributes:
        sequence: of its last beat; None before the first.
        offsets: of the last beats, packed: a tuple of integers would take four times as much.
    """

    changed_ms: int
    heard_ms: int
    incarnation: int = 0
    sequence: int | None = None
    offsets: bytes = b""

    def take(self, beat: Heartbeat, wall_ms: int) -> bool:
        """Whether this beat is newer than the last; then it is the last."""
        if self.sequence is None or self.incarnation != beat.incarnation:
            self.incarnation, self.offsets = beat.incarnation, b""
        elif beat.sequence <= self.sequence:
            return False
        self.sequence = beat.sequence
        kept = self.offsets[(1 - _OFFSET_SAMPLES) * _OFFSET.size :]
        self.offsets = kept + _OFFSET.pack(beat.wall_ms - wall_ms)
        return True

    def forget_beat(self) -> None:
        """It is gone: the next beat is the first, whatever its number."""
        self.sequence = None

    def offset_ms(self) -> int | None:
        """How far ahead its clock is, in the middle."""
        ordered = sorted(offset_ms for (offset_ms,) in _OFFSET.iter_unpack(self.offsets))
        return ordered[len(ordered) // 2] if ordered else None
