"""Who holds what, and which leases run out first.

A heap holds one entry per lease. A renewal does not touch it: an entry that comes up is looked at
again and goes back with the lease's present deadline, so renewing a thousand leases costs a
thousand assignments. Entries of leases that ended are dropped when they come up, and all at once
when they outnumber the living.

Invariants: a task is here if and only if its state is ASSIGNED; the counts per agent add up; every
lease has a heap entry that is not later than its deadline.
What this module does not know: ledger time, what happens when a lease ends.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from agents.ledger.model import LeaseRef, TaskId, Token
from agents.ledger.task import Task
from keys import PeerId

_NOTHING_HELD: Mapping[str, int] = MappingProxyType({})


class LeaseTable:
    """All ASSIGNED tasks, by peer and by deadline."""

    def __init__(self) -> None:
        self._by_peer: dict[PeerId, dict[TaskId, Task]] = {}
        self._held: dict[PeerId, dict[str, int]] = {}
        self._heap: list[tuple[int, int, Token, Task]] = []  # deadline, tie, token, task
        self._count = 0
        self._entered = 0  # breaks ties, so that tasks are never compared

    def __len__(self) -> int:
        return self._count

    def add(self, task: Task) -> None:
        lease = task.lease
        assert lease is not None
        self._by_peer.setdefault(lease.peer, {})[task.spec.task_id] = task
        held = self._held.setdefault(lease.peer, {})
        held[lease.agent] = held.get(lease.agent, 0) + 1
        self._count += 1
        self._push(task)

    def remove(self, task: Task) -> None:
        lease = task.lease
        assert lease is not None
        tasks = self._by_peer[lease.peer]
        del tasks[task.spec.task_id]
        held = self._held[lease.peer]
        held[lease.agent] -= 1
        if not held[lease.agent]:
            del held[lease.agent]
        if not tasks:
            del self._by_peer[lease.peer], self._held[lease.peer]
        self._count -= 1
        if len(self._heap) > 2 * self._count + 1024:
            self._rebuild()

    def of_peer(self, peer: PeerId) -> tuple[Task, ...]:
        """In the order in which they were granted."""
        return tuple(self._by_peer.get(peer, {}).values())

    def holders(self) -> tuple[PeerId, ...]:
        return tuple(self._by_peer)

    def held_by(self, peer: PeerId) -> Mapping[str, int]:
        """How many leases each agent of the peer holds."""
        return self._held.get(peer, _NOTHING_HELD)

    def expiring(self, until_ms: int, limit: int) -> list[LeaseRef]:
        """Up to `limit` leases whose deadline is at or before `until_ms`, earliest first."""
        found: list[Task] = []
        while self._heap and self._heap[0][0] <= until_ms and len(found) < limit:
            _, _, token, task = heapq.heappop(self._heap)
            if task.lease is None or task.token != token:
                continue  # that lease ended; a later one of the task has an entry of its own
            if task.deadline_ms > until_ms:
                self._push(task)
            else:
                found.append(task)
        for task in found:
            self._push(task)
        return [LeaseRef(task.spec.task_id, task.token) for task in found]

    def __iter__(self) -> Iterator[Task]:
        for tasks in self._by_peer.values():
            yield from tasks.values()

    def _push(self, task: Task) -> None:
        self._entered += 1
        heapq.heappush(self._heap, (task.deadline_ms, self._entered, task.token, task))

    def _rebuild(self) -> None:
        self._heap = [
            (task.deadline_ms, place, task.token, task) for place, task in enumerate(self)
        ]
        self._entered = len(self._heap)
        heapq.heapify(self._heap)
