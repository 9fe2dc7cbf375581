"""What a leader knows of one follower's log, and what is on the way to it.

PROBE: one message at a time until the two logs are known to meet. REPLICATE: a window of them,
sent ahead of the answers (etcd's states; a snapshot state comes with snapshots).

What this module does not know: messages, time.

Invariant: `match < next`; the window is never exceeded.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """One follower. `match` never falls within a term (R7)."""

    next: int
    match: int = 0
    is_probing: bool = True
    probe_sent: bool = False
    is_active: bool = False  # heard since the last quorum check
    inflight: deque[tuple[int, int]] = field(default_factory=deque)  # (last index, bytes)
    inflight_bytes: int = 0
    commit_sent: int = 0  # how much of the commit index it can know

    def has_room(self, max_messages: int, max_bytes: int) -> bool:
        """Whether another append may leave now."""
        if self.is_probing:
            return not self.probe_sent
        return len(self.inflight) < max_messages and self.inflight_bytes < max_bytes

    def sent(self, last_index: int, size_bytes: int) -> None:
        """An append with entries up to `last_index` has left."""
        if self.is_probing:
            self.probe_sent = True
            return
        self.next = last_index + 1
        self.inflight.append((last_index, size_bytes))
        self.inflight_bytes += size_bytes

    def confirmed(self, index: int) -> bool:
        """The follower has everything up to `index`; whether that is news."""
        while self.inflight and self.inflight[0][0] <= index:
            self.inflight_bytes -= self.inflight.popleft()[1]
        is_news = index > self.match
        self.match = max(self.match, index)
        self.next = max(self.next, index + 1)
        if self.is_probing and index == self.match:
            self.is_probing = False
            self.probe_sent = False
        return is_news

    def probe(self, next_index: int) -> None:
        """Go back to one message at a time, from `next_index`."""
        self.next = max(self.match + 1, next_index)
        self.is_probing = True
        self.probe_sent = False
        self.inflight.clear()
        self.inflight_bytes = 0

    def resume(self) -> None:
        """A heartbeat was answered: a probe that was sent before it may be lost (R27)."""
        self.probe_sent = False

    def check_invariants(self) -> None:
        assert self.match < self.next
        assert self.inflight_bytes == sum(size for _, size in self.inflight)
