"""What waits for one peer on one lane: envelopes, joined into frames, under a budget in bytes.

A pure core. It does not know sockets, peers, time, or what an envelope holds.

High-water marks of ZeroMQ count messages, so the bound in bytes is ours. Coalescing is worth a
factor of two to five: a frame costs a send, a receive and a box of encryption, however many
envelopes it holds.

Invariants: `queued_bytes` is the sum of all that waits and never exceeds the budget; no frame is
larger than the frame limit; order is the order of `push`.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class Frame(NamedTuple):
    payload: bytes
    envelopes: int


class Outbox:
    def __init__(
        self, *, budget_bytes: int, batch_envelopes: int, batch_bytes: int, frame_limit_bytes: int
    ) -> None:
        self._budget_bytes = budget_bytes
        self._batch_envelopes = batch_envelopes
        self._batch_bytes = batch_bytes
        self._frame_limit_bytes = frame_limit_bytes
        self._open: list[bytes] = []
        self._open_bytes = 0
        self._sealed: deque[Frame] = deque()
        self.queued_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._open or self._sealed)

    @property
    def envelopes(self) -> int:
        """How many envelopes wait."""
        return len(self._open) + sum(frame.envelopes for frame in self._sealed)

    def has_room_for(self, size_bytes: int) -> bool:
        return self.queued_bytes + size_bytes <= self._budget_bytes

    def push(self, envelope: bytes) -> bool:
        """Add one envelope; True when a frame is full and worth sending at once."""
        size_bytes = len(envelope)
        assert size_bytes <= self._frame_limit_bytes, "the sender checks the size"
        full = False
        if self._open_bytes + size_bytes > self._frame_limit_bytes:
            self.seal()
            full = True
        self._open.append(envelope)
        self._open_bytes += size_bytes
        self.queued_bytes += size_bytes
        if self._open_bytes >= self._batch_bytes or len(self._open) >= self._batch_envelopes:
            self.seal()
            full = True
        return full

    def seal(self) -> None:
        """Close the frame that is being filled; the turn of the loop is over."""
        if not self._open:
            return
        payload = self._open[0] if len(self._open) == 1 else b"".join(self._open)
        self._sealed.append(Frame(payload, len(self._open)))
        self._open = []
        self._open_bytes = 0

    def first(self) -> Frame | None:
        """The frame to send next; it stays here until `pop`."""
        return self._sealed[0] if self._sealed else None

    def pop(self) -> None:
        frame = self._sealed.popleft()
        self.queued_bytes -= len(frame.payload)

    def clear(self) -> int:
        """Forget everything; returns how many envelopes that were."""
        envelopes = self.envelopes
        self._open = []
        self._open_bytes = 0
        self._sealed.clear()
        self.queued_bytes = 0
        return envelopes

    def check_invariants(self) -> None:
        assert self._open_bytes == sum(map(len, self._open))
        sealed_bytes = sum(len(frame.payload) for frame in self._sealed)
        assert self.queued_bytes == self._open_bytes + sealed_bytes
        assert self.queued_bytes <= self._budget_bytes
        assert self._open_bytes <= self._frame_limit_bytes
        assert all(len(frame.payload) <= self._frame_limit_bytes for frame in self._sealed)
        assert len(self._open) < self._batch_envelopes
