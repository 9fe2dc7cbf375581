"""The waiting tasks, in the order in which they should be served: priority, then submission.

Kept per skill, so that a hundred thousand tasks that nobody can do cost nothing when another
skill's tasks are placed. New tasks arrive in order of submission and are appended; tasks that come
back (a lost lease, a retry) are few and kept sorted beside them.

Invariants: a task is here if and only if its state is PENDING; iteration is strictly ordered by
(-priority, sequence). What this module does not know: workers, leases, why a task came back.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator, Mapping

from agents.ledger.task import Task


class _Bucket:
    """Tasks of one skill and priority, by sequence."""

    __slots__ = ("fresh", "newest", "returned", "returned_order")

    def __init__(self) -> None:
        # An OrderedDict because plain dicts become quadratic when emptied from the front.
        self.fresh: OrderedDict[int, Task] = OrderedDict()
        self.newest = -1
        self.returned: dict[int, Task] = {}
        self.returned_order: list[int] = []

    def add(self, task: Task) -> None:
        if task.sequence > self.newest:
            self.newest = task.sequence
            self.fresh[task.sequence] = task
        else:
            self.returned[task.sequence] = task
            insort(self.returned_order, task.sequence)

    def remove(self, task: Task) -> None:
        if self.fresh.pop(task.sequence, None) is None:
            del self.returned[task.sequence]
            del self.returned_order[bisect_left(self.returned_order, task.sequence)]

    def __len__(self) -> int:
        return len(self.fresh) + len(self.returned)

    def __iter__(self) -> Iterator[Task]:
        if not self.returned:
            return iter(self.fresh.values())
        back = (self.returned[sequence] for sequence in self.returned_order)
        return heapq.merge(back, self.fresh.values(), key=lambda task: task.sequence)


class PendingTasks:
    """An ordered set of tasks with a view by skill."""

    def __init__(self) -> None:
        self._buckets: dict[str, dict[int, _Bucket]] = {}
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(self._counts.values())

    @property
    def counts(self) -> Mapping[str, int]:
        """How many wait, by skill; no skill has zero."""
        return self._counts

    def add(self, task: Task) -> None:
        skill = task.spec.skill
        buckets = self._buckets.setdefault(skill, {})
        bucket = buckets.get(task.spec.priority)
        if bucket is None:
            bucket = buckets[task.spec.priority] = _Bucket()
        bucket.add(task)
        self._counts[skill] = self._counts.get(skill, 0) + 1

    def remove(self, task: Task) -> None:
        skill, priority = task.spec.skill, task.spec.priority
        buckets = self._buckets[skill]
        bucket = buckets[priority]
        bucket.remove(task)
        if not len(bucket):
            del buckets[priority]
        self._counts[skill] -= 1
        if not self._counts[skill]:
            del self._counts[skill], self._buckets[skill]

    def of_skill(self, skill: str) -> Iterator[Task]:
        """In order. Do not change the set while reading."""
        buckets = self._buckets.get(skill, {})
        for priority in sorted(buckets, reverse=True):
            yield from buckets[priority]

    def __iter__(self) -> Iterator[Task]:
        return heapq.merge(*map(self.of_skill, self._buckets), key=order_of)


def order_of(task: Task) -> tuple[int, int]:
    """The key that waiting tasks are served by."""
    return (-task.spec.priority, task.sequence)
