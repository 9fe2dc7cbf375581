"""The table of requests under way: a core without I/O.

It pairs replies with requests, lets deadlines pass and ends what a lost peer still owed. On this
path every message counts, so it offers plain methods instead of event objects.

What it does not know: envelopes, sockets, futures (it keeps one opaque token a request).

Invariants: an id is never reused; a token leaves the table exactly once; a reply settles a request
only when it comes from the peer that was asked.
"""

from __future__ import annotations

import heapq
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
COMPACT_AFTER = 512


class Pending(NamedTuple, Generic[T]):
    peer: str
    what: str
    deadline_ms: int
    budget_ms: int
    token: T


class RequestTable(Generic[T]):
    """Requests that wait for an answer.

    Args:
        limit: how many may wait at once; `is_full` says when.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pending: dict[int, Pending[T]] = {}
        self._by_peer: dict[str, set[int]] = {}
        self._deadlines: list[tuple[int, int]] = []
        self._last_id = 0
        self.late_replies = 0

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def is_full(self) -> bool:
        return len(self._pending) >= self._limit

    @property
    def deadline_ms(self) -> int | None:
        """When the next request runs out, or None when none waits."""
        while self._deadlines and self._deadlines[0][1] not in self._pending:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def open(self, peer: str, what: str, now_ms: int, budget_ms: int, token: T) -> int:
        """Enter a request that may take `budget_ms` from now, and return its id."""
        assert not self.is_full
        deadline_ms = now_ms + budget_ms
        self._last_id += 1
        self._pending[self._last_id] = Pending(peer, what, deadline_ms, budget_ms, token)
        self._by_peer.setdefault(peer, set()).add(self._last_id)
        heapq.heappush(self._deadlines, (deadline_ms, self._last_id))
        if len(self._deadlines) > COMPACT_AFTER and len(self._deadlines) > 4 * len(self._pending):
            self._deadlines = [d for d in self._deadlines if d[1] in self._pending]
            heapq.heapify(self._deadlines)
        return self._last_id

    def settle(self, request_id: int, peer: str) -> Pending[T] | None:
        """Take the request that this answer of `peer` is for; None (counted) if there is none."""
        found = self._pending.get(request_id)
        if found is None or found.peer != peer:
            self.late_replies += 1
            return None
        self._remove(request_id, peer)
        return found

    def abandon(self, request_id: int) -> Pending[T] | None:
        """Take a request whose caller no longer waits."""
        found = self._pending.get(request_id)
        if found is not None:
            self._remove(request_id, found.peer)
        return found

    def expire(self, now_ms: int) -> list[tuple[int, Pending[T]]]:
        """Take all requests whose deadline has passed."""
        out: list[tuple[int, Pending[T]]] = []
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            _, request_id = heapq.heappop(self._deadlines)
            found = self.abandon(request_id)
            if found is not None:
                out.append((request_id, found))
        return out

    def lose(self, peer: str) -> list[tuple[int, Pending[T]]]:
        """Take all requests that wait for this peer."""
        ids = sorted(self._by_peer.get(peer, ()))
        out = [(request_id, self._pending[request_id]) for request_id in ids]
        for request_id in ids:
            self._remove(request_id, peer)
        return out

    def check_invariants(self) -> None:
        listed = {i for ids in self._by_peer.values() for i in ids}
        assert listed == set(self._pending)
        timed = {i for _, i in self._deadlines}
        assert set(self._pending) <= timed
        assert all(i <= self._last_id for i in self._pending)

    def _remove(self, request_id: int, peer: str) -> None:
        del self._pending[request_id]
        ids = self._by_peer[peer]
        ids.discard(request_id)
        if not ids:
            del self._by_peer[peer]
