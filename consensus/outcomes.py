"""Who waits for what: proposals until they are decided, reads, applied indexes, a handover.

The outcome of a proposal is unknown until its index is applied: the same term there is done,
another one is definitely not (R31). Without the lead nobody can say, and the asker is told so.

What this module does not know: the loop of the runner, storage, messages.

Invariant: every future is settled exactly once.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from consensus.errors import (
    ChangeRefused,
    ConsensusError,
    NotLeader,
    OutcomeUnknown,
    ProposalsFull,
    ProposalTooLarge,
    Stopped,
)
from consensus.raft import (
    Accepted,
    ChangeConfig,
    Entry,
    EntryKind,
    Event,
    NodeId,
    Propose,
    ReadReady,
    ReadRequest,
    RefusalReason,
    Refused,
    Result,
    TransferEnded,
)


@dataclass(frozen=True, slots=True)
class Committed:
    """A proposal that is decided and applied here."""

    index: int
    term: int
    result: object


_Waiter = tuple[int, "asyncio.Future[Committed]"]


class Outcomes:
    """The futures of one runner.

    Args:
        limit: how many proposals may wait at once.
    """

    def __init__(self, node_id: NodeId, limit: int, max_entry_bytes: int) -> None:
        self._node_id = node_id
        self._limit = limit
        self._max_entry_bytes = max_entry_bytes
        self._new: list[tuple[bytes, asyncio.Future[Committed]]] = []
        self._events: list[Event] = []  # wishes of other kinds, for the next turn
        self._asked: dict[int, tuple[int, asyncio.Future[Committed]]] = {}  # by request
        self._waiting: dict[int, _Waiter] = {}  # by index
        self._reads: dict[int, asyncio.Future[int]] = {}  # by request
        self._transfers: dict[NodeId | None, list[asyncio.Future[bool]]] = {}
        self._applied: list[tuple[int, int, asyncio.Future[None]]] = []  # a heap
        self._last_request = 0

    # -- those who wait ------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Proposals that are not decided."""
        return len(self._waiting) + len(self._asked) + len(self._new)

    def propose(self, data: bytes) -> asyncio.Future[Committed]:
        """Enter a proposal; it goes out with the next `take_events`.

        Raises:
            ProposalsFull: too many wait.
        """
        if len(self._waiting) + len(self._new) >= self._limit:
            raise ProposalsFull(self._node_id, len(self._waiting), 0)
        future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self._new.append((data, future))
        return future

    def propose_hash(self, data: bytes) -> None:
        """Enter a hash of the state, for which nobody waits."""
        future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        request = self._next_request(len(data), future)
        self._events.append(Propose(request, [data], EntryKind.STATE_HASH))

    def change(
        self, voters: Sequence[NodeId], learners: Sequence[NodeId]
    ) -> asyncio.Future[Committed]:
        """Wait until the first step of a change is committed."""
        future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        request = self._next_request(0, future)
        self._events.append(ChangeConfig(request, tuple(voters), tuple(learners)))
        return future

    def read(self) -> asyncio.Future[int]:
        """Wait for an index at which a linearizable read may be served."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._last_request += 1
        self._reads[self._last_request] = future
        self._events.append(ReadRequest(self._last_request))
        return future

    def transfer(self, target: NodeId | None) -> asyncio.Future[bool]:
        """Wait for the end of a handover to this target."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._transfers.setdefault(target, []).append(future)
        return future

    def applied(self, index: int) -> asyncio.Future[None]:
        """Wait until this index is applied."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._last_request += 1
        heapq.heappush(self._applied, (index, self._last_request, future))
        return future

    # -- what the runner reports ---------------------------------------------------------------

    def take_events(self) -> list[Event]:
        """Return all wishes that are new; proposals are one event."""
        events, self._events = self._events, []
        if self._new:
            new, self._new = self._new, []
            first = self._last_request + 1
            for data, future in new:
                self._last_request += 1
                self._asked[self._last_request] = (len(data), future)
            events.append(Propose(first, [data for data, _ in new]))
        return events

    def on_result(self, result: Result) -> None:
        """The core said what became of requests."""
        match result:
            case Accepted(first, count, first_index, term):
                for n in range(count):
                    _, future = self._asked.pop(first + n)
                    self._waiting[first_index + n] = (term, future)
            case Refused(first, count, reason, leader):
                for n in range(count):
                    self._refuse(first + n, reason, leader)
            case TransferEnded(target, moved):
                self._end_transfers(target, moved=moved)

    def on_read(self, ready: ReadReady) -> None:
        """A quorum has confirmed the lead since this read was asked for."""
        future = self._reads.pop(ready.request, None)
        if future is not None and not future.done():
            future.set_result(ready.index)

    def on_applied(self, entries: Sequence[Entry], results: Sequence[object]) -> None:
        """Entries were applied here."""
        waiting = self._waiting
        if waiting:
            for entry, result in zip(entries, results, strict=True):
                found = waiting.pop(entry.index, None)
                if found is None:
                    continue
                term, future = found
                if term != entry.term:
                    _fail(future, NotLeader(self._node_id, None))
                elif not future.done():
                    future.set_result(Committed(entry.index, entry.term, result))
        self.on_applied_up_to(entries[-1].index)

    def on_applied_up_to(self, index: int) -> None:
        """Everything up to here is applied."""
        while self._applied and self._applied[0][0] <= index:
            _, _, future = heapq.heappop(self._applied)
            if not future.done():
                future.set_result(None)

    def on_lead_lost(self, leading_term: int | None) -> None:
        """This node leads in another term than before, or no more (None)."""
        for index, (term, future) in list(self._waiting.items()):
            if term != leading_term:
                del self._waiting[index]
                _fail(future, OutcomeUnknown(self._node_id, index, term))

    def stop(self) -> None:
        """Nothing will be decided here any more."""
        self.on_lead_lost(None)
        for _, future in (*self._asked.values(), *self._new):
            _fail(future, Stopped(self._node_id))
        for read in self._reads.values():
            _fail(read, Stopped(self._node_id))
        for _, _, applied in self._applied:
            _fail(applied, Stopped(self._node_id))
        self._asked, self._new, self._reads, self._applied = {}, [], {}, []
        for target in list(self._transfers):
            self._end_transfers(target, moved=False)

    def _next_request(self, size_bytes: int, future: asyncio.Future[Committed]) -> int:
        self._last_request += 1
        self._asked[self._last_request] = (size_bytes, future)
        return self._last_request

    def _refuse(self, request: int, reason: RefusalReason, leader: NodeId | None) -> None:
        read = self._reads.pop(request, None)
        if read is not None:
            _fail(read, self._error_of(reason, leader, 0))
            return
        size_bytes, future = self._asked.pop(request)
        _fail(future, self._error_of(reason, leader, size_bytes))

    def _end_transfers(self, target: NodeId | None, *, moved: bool) -> None:
        """Of those for this target; who left the choice open is content with any."""
        for wanted in (target, None):
            for future in self._transfers.pop(wanted, []):
                if not future.done():
                    future.set_result(moved)

    def _error_of(
        self, reason: RefusalReason, leader: NodeId | None, size_bytes: int
    ) -> ConsensusError:
        match reason:
            case RefusalReason.FULL:
                return ProposalsFull(self._node_id, len(self._waiting), 0)
            case RefusalReason.TOO_LARGE:
                return ProposalTooLarge(size_bytes, self._max_entry_bytes)
            case (
                RefusalReason.CHANGE_PENDING
                | RefusalReason.TERM_NOT_COMMITTED
                | RefusalReason.NOT_CAUGHT_UP
                | RefusalReason.INVALID_CHANGE
            ):
                return ChangeRefused(self._node_id, reason.value)
            case _:
                return NotLeader(self._node_id, None if leader == self._node_id else leader)


def _fail(future: asyncio.Future[Any], error: ConsensusError) -> None:
    if not future.done():
        future.set_exception(error)
