"""The table of requests under way: a core without I/O.

It pairs replies with requests, lets deadlines pass and ends what a lost peer still owed. On this
path every message counts, so it offers plain methods instead of event objects.

What it does not know: envelopes, sockets, futures (it keeps one opaque token a request).

Invariants: an id is never reused; a token leaves the table exactly once; a reply settles a request
only when it comes from the peer that was asked.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from p2p.rpc.wheel import Wheel

T = TypeVar("T")


class Pending(Generic[T]):
    """A request that waits."""

    __slots__ = ("budget_ms", "deadline_ms", "peer", "token", "what")

    def __init__(self, peer: str, what: str, deadline_ms: int, budget_ms: int, token: T) -> None:
        self.peer = peer
        self.what = what
        self.deadline_ms = deadline_ms
        self.budget_ms = budget_ms
        self.token = token


class RequestTable(Generic[T]):
    """Requests that wait for an answer.

    Args:
        limit: how many may wait at once; `is_full` says when.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pending: dict[int, Pending[T]] = {}
        self._wheel: Wheel[int] = Wheel()
        self._last_id = 0
        self.late_replies = 0

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def is_full(self) -> bool:
        return len(self._pending) >= self._limit

    @property
    def due_ms(self) -> int | None:
        """When `expire` should be called next, or None when nothing waits."""
        return self._wheel.due_ms

    def open(self, peer: str, what: str, now_ms: int, budget_ms: int, token: T) -> int:
        """Enter a request that may take `budget_ms` from now, and return its id."""
        assert not self.is_full
        deadline_ms = now_ms + budget_ms
        self._last_id = request_id = self._last_id + 1
        self._pending[request_id] = Pending(peer, what, deadline_ms, budget_ms, token)
        self._wheel.add(deadline_ms, request_id)
        return request_id

    def settle(self, request_id: int, peer: str) -> Pending[T] | None:
        """Take the request that this answer of `peer` is for; None (counted) if there is none."""
        found = self._pending.get(request_id)
        if found is None or found.peer != peer:
            self.late_replies += 1
            return None
        del self._pending[request_id]
        self._wheel.discard(found.deadline_ms, request_id)
        return found

    def abandon(self, request_id: int) -> Pending[T] | None:
        """Take a request whose caller no longer waits."""
        found = self._pending.pop(request_id, None)
        if found is not None:
            self._wheel.discard(found.deadline_ms, request_id)
        return found

    def expire(self, now_ms: int) -> list[tuple[int, Pending[T]]]:
        """Take all requests whose deadline has passed, up to one slot of the wheel late."""
        due = self._wheel.take_due(now_ms)
        return [(request_id, self._pending.pop(request_id)) for request_id in due]

    def lose(self, peer: str) -> list[tuple[int, Pending[T]]]:
        """Take all requests that wait for this peer."""
        lost = [(n, pending) for n, pending in self._pending.items() if pending.peer == peer]
        for request_id, _ in lost:
            self.abandon(request_id)
        return lost

    def take_all(self) -> list[tuple[int, Pending[T]]]:
        """Take everything: nobody waits any more."""
        everything = list(self._pending.items())
        for request_id, _ in everything:
            self.abandon(request_id)
        return everything

    def check_invariants(self) -> None:
        self._wheel.check_invariants()
        assert len(self._wheel) == len(self._pending)
        assert all(i <= self._last_id for i in self._pending)
