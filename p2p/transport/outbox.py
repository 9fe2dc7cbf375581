"""What waits for one peer on one lane: envelopes, joined into frames, under a budget in bytes.

A pure core. It does not know sockets, peers, time, or what an envelope holds.

High-water marks of ZeroMQ count messages, so the bound in bytes is ours. Coalescing is worth a
factor of two to five: a frame costs a send, a receive and a box of encryption, however many
envelopes it holds. An envelope with a body is a frame of its own.

Each priority has a queue of its own, so that what waits leaves in the order of priorities, and the
last half of the budget belongs to the important: low is refused once half of it waits, normal at
nine tenths. A frame that is full leaves at once where there is room, so without pressure priority
decides nothing.

Invariants: `queued_bytes` is the sum of all that waits and never exceeds the budget; no frame is
larger than the frame limit; the order within a priority is the order of `push`.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import NamedTuple

from p2p.errors import MisuseError, PayloadTooLarge
from p2p.links import JOIN_BYTES, MAX_BODY_BYTES, Lane, frame_of

Body = bytes | memoryview
Frame = tuple[bytes, int, Body | None, int]  # payload, envelopes in it, body, what they count for

LOW, NORMAL, HIGH = 0, 1, 2
QUEUED, FULL, REFUSED, TOO_LARGE = 0, 1, 2, 3  # what `push` says


# A deque takes 600 bytes before anything is in it, and most queues of most peers never hold any.
_NOTHING: deque[Frame] = deque(maxlen=0)


class _Queue:
    """Of one priority."""

    __slots__ = ("open", "open_bytes", "sealed")

    def __init__(self) -> None:
        self.open: list[bytes] = []
        self.open_bytes = 0
        self.sealed: deque[Frame] = _NOTHING

    def seal(self) -> None:
        opened = self.open
        if opened:
            payload = opened[0] if len(opened) == 1 else frame_of(opened)
            self.append((payload, len(opened), None, self.open_bytes))
            self.open = []
            self.open_bytes = 0

    def append(self, frame: Frame) -> None:
        if self.sealed is _NOTHING:
            self.sealed = deque()
        self.sealed.append(frame)

    def pop(self) -> Frame:
        frame = self.sealed.popleft()
        if not self.sealed:
            self.sealed = _NOTHING
        return frame


_UNUSED = _Queue()  # stands for every queue that nothing was pushed into: most of most peers


class _Limits(NamedTuple):
    """Of all outboxes that were given the same numbers."""

    half_bytes: int  # below it nothing is refused
    refused_from_bytes: tuple[int, int, int]  # by priority
    together_bytes: int

    @classmethod
    @lru_cache(maxsize=16)
    def of(cls, budget_bytes: int, frame_limit_bytes: int) -> _Limits:
        half_bytes = budget_bytes // 2
        refused_from_bytes = (half_bytes, budget_bytes * 9 // 10, budget_bytes)
        return cls(half_bytes, refused_from_bytes, frame_limit_bytes - JOIN_BYTES)


class Outbox:
    __slots__ = (
        "_batch_bytes",
        "_batch_envelopes",
        "_budget_bytes",
        "_frame_limit_bytes",
        "_half_bytes",
        "_queues",
        "_refused_from_bytes",
        "_together_bytes",
        "_waiting",
        "queued_bytes",
    )

    def __init__(
        self, *, budget_bytes: int, batch_envelopes: int, batch_bytes: int, frame_limit_bytes: int
    ) -> None:
        self._budget_bytes = budget_bytes
        limits = _Limits.of(budget_bytes, frame_limit_bytes)
        self._half_bytes, self._refused_from_bytes, self._together_bytes = limits
        self._batch_envelopes = batch_envelopes
        self._batch_bytes = batch_bytes
        self._frame_limit_bytes = frame_limit_bytes
        self._queues = [_UNUSED, _UNUSED, _UNUSED]
        self._waiting: _Queue | None = None  # where `first` found the frame to send
        self.queued_bytes = 0

    def __bool__(self) -> bool:
        return any(queue.open or queue.sealed for queue in self._queues)

    @property
    def envelopes(self) -> int:
        """How many envelopes wait."""
        return sum(
            len(queue.open) + sum(frame[1] for frame in queue.sealed) for queue in self._queues
        )

    def push(self, envelope: bytes, priority: int = NORMAL) -> int:
        """Add one envelope.

        Returns:
            REFUSED: there is no room for one of this priority. TOO_LARGE: no frame holds it.
            FULL: a frame is complete and worth sending at once. QUEUED: it waits for the end of
            the turn.
        """
        queue = self._queues[priority]
        if queue is _UNUSED:
            queue = self._queues[priority] = _Queue()
        size_bytes = len(envelope)
        total_bytes = self.queued_bytes + size_bytes
        if total_bytes > self._half_bytes and self._refuses(size_bytes, priority):
            return REFUSED
        said = QUEUED
        filled_bytes = queue.open_bytes + size_bytes
        if filled_bytes > self._together_bytes:
            if size_bytes > self._frame_limit_bytes:
                return TOO_LARGE
            if queue.open:
                queue.seal()
                said = FULL
            filled_bytes = size_bytes
        self.queued_bytes = total_bytes
        opened = queue.open
        opened.append(envelope)
        queue.open_bytes = filled_bytes
        if filled_bytes >= self._batch_bytes or len(opened) >= self._batch_envelopes:
            queue.seal()
            return FULL
        return said

    def push_with_body(self, envelope: bytes, priority: int, body: Body) -> int:
        """Add an envelope that travels alone, beside its body; says the same as `push`."""
        if len(envelope) > self._frame_limit_bytes:
            return TOO_LARGE
        size_bytes = len(envelope) + bytes_of(body)
        if self._refuses(size_bytes, priority):
            return REFUSED
        queue = self._queues[priority]
        if queue is _UNUSED:
            queue = self._queues[priority] = _Queue()
        queue.seal()
        queue.append((envelope, 1, body, size_bytes))
        self.queued_bytes += size_bytes
        return FULL

    def seal(self) -> None:
        """Close the frames that are being filled; the turn of the loop is over."""
        for queue in self._queues:
            if queue.open:
                queue.seal()

    def first(self) -> Frame | None:
        """The frame to send next, of the highest priority; it stays here until `pop`."""
        low, normal, high = self._queues
        queue = high if high.sealed else normal if normal.sealed else low
        self._waiting = queue
        return queue.sealed[0] if queue.sealed else None

    def pop(self) -> None:
        """The frame that `first` gave has left."""
        assert self._waiting is not None, "pop follows first"
        self.queued_bytes -= self._waiting.pop()[3]
        self._waiting = None

    def clear(self) -> int:
        """Forget everything; returns how many envelopes that were."""
        envelopes = self.envelopes
        self._queues = [_UNUSED, _UNUSED, _UNUSED]
        self._waiting = None
        self.queued_bytes = 0
        return envelopes

    def check_invariants(self) -> None:
        assert not _UNUSED.open, "nobody uses it"
        assert not _UNUSED.sealed
        total_bytes = 0
        for queue in self._queues:
            assert queue.open_bytes == sum(map(len, queue.open)) <= self._frame_limit_bytes
            assert len(queue.open) < 2 or queue.open_bytes <= self._together_bytes
            assert len(queue.open) < self._batch_envelopes
            total_bytes += queue.open_bytes
            for payload, envelopes, body, size_bytes in queue.sealed:
                assert len(payload) <= self._frame_limit_bytes
                assert body is None or envelopes == 1
                join_bytes = JOIN_BYTES if envelopes > 1 else 0
                assert size_bytes == len(payload) - join_bytes + bytes_of(body)
                total_bytes += size_bytes
        assert self.queued_bytes == total_bytes <= self._budget_bytes

    def _refuses(self, size_bytes: int, priority: int) -> bool:
        return (
            self.queued_bytes >= self._refused_from_bytes[priority]
            or self.queued_bytes + size_bytes > self._budget_bytes
        )


def bytes_of(body: Body | None) -> int:
    """How long it is; a view may count in other items than bytes."""
    if body is None:
        return 0
    return body.nbytes if isinstance(body, memoryview) else len(body)


def check_body(lane: Lane, body: Body) -> None:
    """
    Raises:
        MisuseError: the lane carries none, or it is no run of bytes.
        PayloadTooLarge: over the limit of a body.
    """
    if lane is not Lane.BULK:
        raise MisuseError(f"the {lane.name.lower()} lane carries no bodies; use the bulk lane")
    if isinstance(body, memoryview) and not body.c_contiguous:
        raise MisuseError("a body is one run of bytes; this view has holes in it")
    size_bytes = bytes_of(body)
    if size_bytes > MAX_BODY_BYTES:
        raise PayloadTooLarge(size_bytes, MAX_BODY_BYTES, "body")
