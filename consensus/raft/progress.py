"""What a leader knows of one member's log, and what is on the way to it.

PROBE: one message at a time until the two logs are known to meet. REPLICATE: a window of them, sent
ahead of the answers. SNAPSHOT: nothing, until the snapshot that the member needs has arrived or was
given up (etcd's states).

What this module does not know: messages, time.

Invariant: `match < next`; the window is never exceeded.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum


class Phase(Enum):
    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


@dataclass(slots=True)
class Progress:
    """One member. `match` never falls within a term (R7)."""

    next: int
    match: int = 0
    phase: Phase = Phase.PROBE
    probe_sent: bool = False
    snapshot_index: int = 0  # what it will have when its snapshot has arrived
    is_active: bool = False  # heard since the last quorum check
    inflight: deque[tuple[int, int]] = field(default_factory=deque)  # (last index, bytes)
    inflight_bytes: int = 0
    commit_sent: int = 0  # how much of the commit index it can know
    read_confirmed: int = 0  # the latest round for reads that it has answered
    stamp_ms: int = 0  # of its latest answer to a heartbeat, on its own clock

    @property
    def is_probing(self) -> bool:
        return self.phase is Phase.PROBE

    def has_room(self, max_messages: int, max_bytes: int) -> bool:
        """Whether another append may leave now."""
        match self.phase:
            case Phase.PROBE:
                return not self.probe_sent
            case Phase.REPLICATE:
                return len(self.inflight) < max_messages and self.inflight_bytes < max_bytes
            case Phase.SNAPSHOT:
                return False

    def sent(self, last_index: int, size_bytes: int) -> None:
        """An append with entries up to `last_index` has left."""
        if self.is_probing:
            self.probe_sent = True
            return
        self.next = last_index + 1
        self.inflight.append((last_index, size_bytes))
        self.inflight_bytes += size_bytes

    def confirmed(self, index: int) -> bool:
        """The member has everything up to `index`; whether that is news."""
        while self.inflight and self.inflight[0][0] <= index:
            self.inflight_bytes -= self.inflight.popleft()[1]
        is_news = index > self.match
        self.match = max(self.match, index)
        self.next = max(self.next, index + 1)
        meets = index == self.match and (
            self.phase is Phase.PROBE
            or (self.phase is Phase.SNAPSHOT and index >= self.snapshot_index)
        )
        if meets:
            self.phase = Phase.REPLICATE
            self.probe_sent = False
        return is_news

    def probe(self, next_index: int) -> None:
        """Go back to one message at a time, from `next_index`."""
        self.next = max(self.match + 1, next_index)
        self.phase = Phase.PROBE
        self.probe_sent = False
        self._nothing_under_way()

    def begin_snapshot(self, index: int) -> None:
        """It lacks what the log no longer has: a snapshot up to `index` is on its way."""
        self.phase = Phase.SNAPSHOT
        self.snapshot_index = index
        self.probe_sent = False
        self._nothing_under_way()

    def end_snapshot(self, *, arrived: bool) -> None:
        """The sending has ended; if it arrived, the member's own word is still to come."""
        if self.phase is Phase.SNAPSHOT:
            self.probe(self.snapshot_index + 1 if arrived else self.match + 1)

    def resume(self) -> None:
        """A heartbeat was answered: a probe that was sent before it may be lost (R27)."""
        self.probe_sent = False

    def _nothing_under_way(self) -> None:
        self.inflight.clear()
        self.inflight_bytes = 0

    def check_invariants(self) -> None:
        assert self.match < self.next
        assert self.inflight_bytes == sum(size for _, size in self.inflight)
        assert self.phase is Phase.REPLICATE or not self.inflight
