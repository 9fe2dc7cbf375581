"""Reports that wait for the ledger's word: sent in batches, and again until answered.

Few batches are under way at a time; what comes meanwhile shares the next one. A batch that is not
answered in time is free to be sent again, and the wait doubles each time that one had to be.

Invariants: a report is either waiting or in exactly one batch under way; nothing leaves but by
`remove`. What this module does not know: leases, why a report is removed, the network.
"""

from __future__ import annotations

from collections import OrderedDict

from agents.ledger import Completion, LeaseRef
from agents.scheduling.reports import Report, lease_of

_OVERHEAD_BYTES = 256


class Outbox:
    """Reports by lease, in order of arrival."""

    def __init__(
        self,
        *,
        max_items: int,
        max_bytes: int,
        max_batches: int,
        retry_ms: int,
        retry_max_ms: int,
    ) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._max_batches = max_batches
        self._retry_first_ms = retry_ms
        self._retry_max_ms = retry_max_ms
        self._retry_ms = retry_ms
        self._waiting: OrderedDict[LeaseRef, Report] = OrderedDict()
        self._sent: dict[LeaseRef, tuple[int, Report]] = {}  # with the batch's number
        self._batches: dict[int, tuple[int, set[LeaseRef]]] = {}  # number -> resend at, members
        self._number = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._sent)

    @property
    def deadline_ms(self) -> int | None:
        """When the next batch is overdue."""
        return min((at_ms for at_ms, _ in self._batches.values()), default=None)

    def has(self, ref: LeaseRef) -> bool:
        return ref in self._waiting or ref in self._sent

    def add(self, report: Report) -> None:
        self._waiting[lease_of(report)] = report

    def remove(self, ref: LeaseRef) -> None:
        """It was answered, or does not matter any more."""
        self._waiting.pop(ref, None)
        sent = self._sent.pop(ref, None)
        if sent is not None:
            number, _ = sent
            members = self._batches[number][1]
            members.discard(ref)
            if not members:
                del self._batches[number]
                self._retry_ms = self._retry_first_ms

    def resend_all(self) -> None:
        """Another leader: nothing that was sent counts."""
        self._recall(list(self._batches))
        self._retry_ms = self._retry_first_ms

    def take(self, now_ms: int) -> list[tuple[Report, ...]]:
        """The batches to send now."""
        overdue = [number for number, (at_ms, _) in self._batches.items() if at_ms <= now_ms]
        if overdue:
            self._recall(overdue)
            self._retry_ms = min(2 * self._retry_ms, self._retry_max_ms)
        batches = []
        while self._waiting and len(self._batches) < self._max_batches:
            batches.append(self._take_batch(now_ms))
        return batches

    def check_invariants(self) -> None:
        assert not self._waiting.keys() & self._sent.keys()
        assert len(self._batches) <= self._max_batches
        assert sum(len(members) for _, members in self._batches.values()) == len(self._sent)
        for ref, (number, _) in self._sent.items():
            assert ref in self._batches[number][1]

    def _take_batch(self, now_ms: int) -> tuple[Report, ...]:
        self._number += 1
        taken: list[Report] = []
        size = 0
        while self._waiting and len(taken) < self._max_items:
            ref, report = next(iter(self._waiting.items()))
            size += _size_of(report)
            if taken and size > self._max_bytes:
                break
            del self._waiting[ref]
            self._sent[ref] = (self._number, report)
            taken.append(report)
        members = {lease_of(report) for report in taken}
        self._batches[self._number] = (now_ms + self._retry_ms, members)
        return tuple(taken)

    def _recall(self, numbers: list[int]) -> None:
        """Put batches back in front, oldest first."""
        recalled = [(ref, report) for ref, (of, report) in self._sent.items() if of in numbers]
        for ref, report in reversed(recalled):
            del self._sent[ref]
            self._waiting[ref] = report
            self._waiting.move_to_end(ref, last=False)
        for number in numbers:
            del self._batches[number]


def _size_of(report: Report) -> int:
    return _OVERHEAD_BYTES + (len(report.result) if isinstance(report, Completion) else 0)
