"""The table of requests under way: a core without I/O.

It pairs replies with requests, lets deadlines pass and ends what a lost peer still owed. On this
path every message counts, so it offers plain methods instead of event objects.

What it does not know: envelopes, sockets, futures (it keeps one opaque token a request).

Invariants: an id is never reused; a token leaves the table exactly once; a reply settles a request
only when it comes from the peer that was asked; no request is due before `due_ms`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from p2p.rpc.deadlines import FirstDue

T = TypeVar("T")


class Pending(NamedTuple, Generic[T]):
    """A request that waits."""

    token: T
    peer: str
    what: str
    deadline_ms: int
    budget_ms: int


class RequestTable(Generic[T]):
    """Requests that wait for an answer.

    Args:
        limit: how many may wait at once; `is_full` says when.
        sooner: is told when `due_ms` is earlier than it was.
    """

    def __init__(self, limit: int, sooner: Callable[[int | None], None] | None = None) -> None:
        self._limit = limit
        self._sooner = sooner
        self._pending: dict[int, tuple[T, str, str, int, int]] = {}
        self._first = FirstDue()
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
        return self._first.due_ms

    def open(self, peer: str, what: str, now_ms: int, budget_ms: int, token: T) -> int:
        """Enter a request that may take `budget_ms` from now, and return its id."""
        self._last_id = request_id = self._last_id + 1
        deadline_ms = now_ms + budget_ms
        self._pending[request_id] = (token, peer, what, deadline_ms, budget_ms)
        first = self._first
        is_sooner = first.due_ms is None or deadline_ms < first.due_ms
        if is_sooner and first.entered(deadline_ms) and self._sooner is not None:
            self._sooner(first.due_ms)
        return request_id

    def settle(self, request_id: int, peer: str) -> T | None:
        """Take the token that this answer of `peer` is for; None (counted) if there is none."""
        found = self._pending.get(request_id)
        if found is None or found[1] != peer:
            self.late_replies += 1
            return None
        del self._pending[request_id]
        return found[0]

    def look(self, request_id: int) -> Pending[T] | None:
        """Return what is known of a request that waits, or None."""
        found = self._pending.get(request_id)
        return Pending(*found) if found is not None else None

    def abandon(self, request_id: int) -> bool:
        """Forget a request whose caller no longer waits; False when it was settled."""
        return self._pending.pop(request_id, None) is not None

    def expire(self, now_ms: int) -> list[Pending[T]]:
        """Take all requests whose deadline has passed."""
        due = [n for n, pending in self._pending.items() if pending[3] <= now_ms]
        expired = self._take(due)
        first_ms = min((pending[3] for pending in self._pending.values()), default=None)
        self._first.looked(first_ms, len(self._pending), now_ms)
        return sorted(expired, key=lambda pending: pending.deadline_ms)

    def lose(self, peer: str) -> list[Pending[T]]:
        """Take all requests that wait for this peer."""
        return self._take([n for n, pending in self._pending.items() if pending[1] == peer])

    def waits_for(self, peer: str) -> bool:
        """Whether any request waits for this peer."""
        return any(pending[1] == peer for pending in self._pending.values())

    def take_all(self) -> list[Pending[T]]:
        """Take everything: nobody waits any more."""
        return self._take(list(self._pending))

    def check_invariants(self) -> None:
        assert all(number <= self._last_id for number in self._pending)
        if self._pending:
            assert self.due_ms is not None

    def _take(self, numbers: list[int]) -> list[Pending[T]]:
        return [Pending(*self._pending.pop(number)) for number in numbers]
