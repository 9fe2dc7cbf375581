"""Batches for the log out of many small requests, and the verdicts back to each request.

Per kind of command there is a queue and a bound on proposals under way. While those are under way
the queue grows, and the next proposal takes all that fits: batches are large under load and small
when idle, without any timer. This is group commit (D. Ongaro, "Consensus: bridging theory and
practice", 10.2.2) one level higher.

Invariants: each item is queued, in exactly one proposal, or settled; a request is settled once,
when its last item is; batches keep the order of arrival.
What this module does not know: what items mean, time, who asked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from agents.ledger import (
    Applied,
    Completion,
    Failure,
    Kind,
    Outcome,
    Renewal,
    TaskSpec,
    Verdict,
    VotedSpec,
)

_ITEM_OVERHEAD_BYTES: Final = 256


@dataclass(slots=True, eq=False)
class Pledge:
    """A request that waits for its verdicts. `origin` is the owner's own note of who asked."""

    origin: Any
    verdicts: list[Verdict | None]
    missing: int
    decided: bool = False
    failed: bool = False
    unsure: bool = False

    @property
    def definite(self) -> bool:
        """Of a failed request: nothing of it happened."""
        return not self.decided and not self.unsure


class _Item(NamedTuple):
    value: Any
    pledge: Pledge
    place: int  # of its first verdict
    width: int  # how many verdicts it gets


class Batch(NamedTuple):
    proposal: int
    kind: Kind
    items: list[Any]


@dataclass(slots=True)
class _Lane:
    queue: deque[_Item] = field(default_factory=deque)
    under_way: int = 0


class Intake:
    """See the module. Proposals are numbered by the owner."""

    def __init__(
        self, *, max_items: int, max_bytes: int, max_under_way: int, max_queued: int
    ) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._max_under_way = max_under_way
        self._max_queued = max_queued
        self._lanes: dict[Kind, _Lane] = {}
        self._proposed: dict[int, tuple[Kind, list[_Item]]] = {}
        self._queued = 0

    @property
    def queued(self) -> int:
        return self._queued

    def has_room(self, items: int) -> bool:
        return self._queued + items <= self._max_queued

    def add(self, origin: Any, items: Sequence[tuple[Kind, Any] | Verdict]) -> Pledge | None:
        """Queue a request; the caller has asked `has_room`. An item may be a verdict already.

        Returns the request if that settles it.
        """
        widths = [1 if isinstance(item, Verdict) else _width_of(*item) for item in items]
        pledge = Pledge(origin, [None] * sum(widths), sum(widths))
        place = 0
        for item, width in zip(items, widths, strict=True):
            if isinstance(item, Verdict):
                pledge.verdicts[place] = item
                pledge.missing -= 1
            else:
                kind, value = item
                lane = self._lanes.setdefault(kind, _Lane())
                lane.queue.append(_Item(value, pledge, place, width))
                self._queued += 1
            place += width
        return None if pledge.missing else pledge

    def next_batch(self, proposal: int) -> Batch | None:
        """What to propose next under this number, if anything."""
        for kind, lane in self._lanes.items():
            if lane.queue and lane.under_way < self._max_under_way:
                items = self._take(lane.queue)
                lane.under_way += 1
                self._queued -= len(items)
                self._proposed[proposal] = (kind, items)
                return Batch(proposal, kind, [item.value for item in items])
        return None

    def decide(self, proposal: int, outcome: Outcome) -> list[Pledge]:
        """Give the verdicts out; the requests that are settled by it."""
        if not isinstance(outcome, Applied):
            return self.fail(proposal, definite=True)
        items = self._close(proposal)
        assert len(outcome.verdicts) == sum(item.width for item in items)
        settled = []
        at = 0
        for item in items:
            pledge = item.pledge
            end = at + item.width
            pledge.verdicts[item.place : item.place + item.width] = outcome.verdicts[at:end]
            at = end
            pledge.decided = True
            pledge.missing -= item.width
            if not pledge.missing:
                settled.append(pledge)
        return settled

    def fail(self, proposal: int, *, definite: bool) -> list[Pledge]:
        """The proposal came to nothing, as far as one knows."""
        return _fail(self._close(proposal), definite=definite)

    def clear(self) -> list[Pledge]:
        """Fail what was not proposed yet; what is under way will be decided or fail by itself."""
        items = [item for lane in self._lanes.values() for item in lane.queue]
        for lane in self._lanes.values():
            lane.queue.clear()
        self._queued = 0
        return _fail(items, definite=True)

    def owns(self, proposal: int) -> bool:
        return proposal in self._proposed

    def check_invariants(self) -> None:
        assert self._queued == sum(len(lane.queue) for lane in self._lanes.values())
        for kind, lane in self._lanes.items():
            proposed = [items for of_kind, items in self._proposed.values() if of_kind is kind]
            assert lane.under_way == len(proposed) <= self._max_under_way
            for item in [*lane.queue, *(item for items in proposed for item in items)]:
                assert item.pledge.missing >= item.width

    def _take(self, queue: deque[_Item]) -> list[_Item]:
        items = [queue.popleft()]
        size = _size_of(items[0].value)
        while queue and len(items) < self._max_items:
            size += _size_of(queue[0].value)
            if size > self._max_bytes:
                break
            items.append(queue.popleft())
        return items

    def _close(self, proposal: int) -> list[_Item]:
        kind, items = self._proposed.pop(proposal)
        self._lanes[kind].under_way -= 1
        return items


def _fail(items: list[_Item], *, definite: bool) -> list[Pledge]:
    settled = []
    for item in items:
        pledge = item.pledge
        pledge.failed = True
        pledge.unsure = pledge.unsure or not definite
        pledge.missing -= item.width
        if not pledge.missing:
            settled.append(pledge)
    return settled


def _width_of(kind: Kind, value: Any) -> int:
    return len(value.leases) if kind is Kind.RENEWED else 1


def _size_of(value: Any) -> int:
    if isinstance(value, TaskSpec):
        return len(value.payload) + _ITEM_OVERHEAD_BYTES
    if isinstance(value, VotedSpec):
        return len(value.spec.payload) + len(value.terms) + _ITEM_OVERHEAD_BYTES
    if isinstance(value, Completion):
        return len(value.result) + _ITEM_OVERHEAD_BYTES
    if isinstance(value, Failure):
        return 4 * (len(value.error.message) + len(value.error.traceback)) + _ITEM_OVERHEAD_BYTES
    if isinstance(value, Renewal):
        return 48 * len(value.leases) + _ITEM_OVERHEAD_BYTES
    return _ITEM_OVERHEAD_BYTES
