"""Who waits for what: proposals until they are decided, reads, applied indexes, a handover.

The outcome of a proposal is unknown until its index is applied: the same term there is done,
another one is definitely not (R31). Without the lead nobody can say, and the asker is told so.

What this module does not know: the loop of the runner, storage, messages.

Invariant: every future is settled exactly once.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

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


class Committed(NamedTuple):
    """A proposal that is decided and applied here."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    term: int
    result: object


# What `Committed` does, without a call in Python: there is one for each command.
_committed_of: Callable[[tuple[int, int, object]], Committed] = partial(tuple.__new__, Committed)

_Waiter = tuple["asyncio.Future[Committed]", float]  # and when its patience is over
_Reader = tuple["asyncio.Future[int]", float]
NEVER_S = math.inf


@dataclass(slots=True)
class _Run:
    """Those who wait for the entries from `first` on, which this node appended together."""

    first: int
    term: int
    waiters: list[_Waiter]


class Outcomes:
    """The futures of one runner.

    Nothing here is done for each proposal that can be done for all of a turn: they share a request,
    a run of indexes and, while nobody's patience is over, one timer.

    Args:
        limit: how many proposals may wait at once.
    """

    def __init__(self, node_id: NodeId, limit: int, max_entry_bytes: int) -> None:
        self._node_id = node_id
        self._limit = limit
        self._max_entry_bytes = max_entry_bytes
        self._loop: asyncio.AbstractEventLoop
        self._new: list[_Waiter] = []
        self._new_data: list[bytes] = []
        self._new_readers: list[_Reader] = []
        self._events: list[Event] = []  # wishes of other kinds, for the next turn
        self._asked: dict[int, tuple[list[bytes], list[_Waiter]]] = {}  # by first request
        self._runs: deque[_Run] = deque()  # in the order of the log
        self._undecided = 0  # waiters in them
        self._readers: dict[int, list[_Reader]] = {}  # by request
        self._transfers: dict[NodeId | None, list[asyncio.Future[bool]]] = {}
        self._applied: list[tuple[int, int, asyncio.Future[None]]] = []  # a heap
        self._last_request = 0
        self._due_s = NEVER_S  # nobody's patience is over before
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Futures belong to this loop."""
        self._loop = loop

    # -- those who wait ------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Proposals that are not decided."""
        return self._undecided + len(self._new)

    def propose(self, data: bytes, timeout_s: float) -> asyncio.Future[Committed]:
        """Enter a proposal; it goes out with the next `take_events`.

        The future ends with OutcomeUnknown when that time is over.

        Raises:
            ProposalsFull: too many wait.
        """
        if self._undecided + len(self._new) >= self._limit:
            raise ProposalsFull(self._node_id, self._undecided, 0)
        future: asyncio.Future[Committed] = self._loop.create_future()
        self._new.append((future, self._patience(timeout_s)))
        self._new_data.append(data)
        return future

    def propose_hash(self, data: bytes) -> None:
        """Enter a hash of the state, for which nobody waits."""
        future: asyncio.Future[Committed] = self._loop.create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        request = self._next_request([data], [(future, NEVER_S)])
        self._events.append(Propose(request, [data], EntryKind.STATE_HASH))

    def change(
        self, voters: Sequence[NodeId], learners: Sequence[NodeId]
    ) -> asyncio.Future[Committed]:
        """Wait until the first step of a change is committed."""
        future: asyncio.Future[Committed] = self._loop.create_future()
        request = self._next_request([b""], [(future, NEVER_S)])
        self._events.append(ChangeConfig(request, tuple(voters), tuple(learners)))
        return future

    def read(self, timeout_s: float) -> asyncio.Future[int]:
        """Wait for an index at which a linearizable read may be served; all reads of a turn share
        a request. The future ends with TimeoutError when that time is over."""
        future: asyncio.Future[int] = self._loop.create_future()
        self._new_readers.append((future, self._patience(timeout_s)))
        return future

    def transfer(self, target: NodeId | None) -> asyncio.Future[bool]:
        """Wait for the end of a handover to this target."""
        future: asyncio.Future[bool] = self._loop.create_future()
        self._transfers.setdefault(target, []).append(future)
        return future

    def applied(self, index: int) -> asyncio.Future[None]:
        """Wait until this index is applied."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._last_request += 1
        heapq.heappush(self._applied, (index, self._last_request, future))
        return future

    # -- what the runner reports ---------------------------------------------------------------

    def take_events(self) -> list[Event]:
        """Return all wishes that are new; reads are one event, and so are proposals."""
        events, self._events = self._events, []
        if self._new_readers:
            self._last_request += 1
            self._readers[self._last_request], self._new_readers = self._new_readers, []
            events.append(ReadRequest(self._last_request))
        if self._new:
            data, waiters = self._new_data, self._new
            self._new_data, self._new = [], []
            events.append(Propose(self._next_request(data, waiters), data))
        return events

    def on_result(self, result: Result) -> None:
        """The core said what became of requests."""
        match result:
            case Accepted(first, count, first_index, term):
                _, waiters = self._answered(first, count)
                self._runs.append(_Run(first_index, term, waiters))
                self._undecided += count
            case Refused(first, count, reason, leader):
                self._refuse(first, count, reason, leader)
            case TransferEnded(target, moved):
                self._end_transfers(target, moved=moved)

    def on_read(self, ready: ReadReady) -> None:
        """A quorum has confirmed the lead since these reads were asked for."""
        for future, _ in self._readers.pop(ready.request, ()):
            if not future.done():
                future.set_result(ready.index)

    def on_applied(self, entries: Sequence[Entry], results: Sequence[object]) -> None:
        """Entries were applied here."""
        runs, first, last = self._runs, entries[0].index, entries[-1].index
        while runs and runs[0].first <= last:
            run = runs[0]
            assert run.first >= first, "nobody was told of entries that were applied"
            waiters = run.waiters
            if last - run.first + 1 < len(waiters):  # a page ends within it
                count = last - run.first + 1
                waiters, run.waiters = waiters[:count], waiters[count:]
            else:
                runs.popleft()
            self._settle(run, waiters, entries, results)
            self._undecided -= len(waiters)
            run.first += len(waiters)
        if self._applied:
            self.on_applied_up_to(last)

    def _settle(
        self,
        run: _Run,
        waiters: Sequence[_Waiter],
        entries: Sequence[Entry],
        results: Sequence[object],
    ) -> None:
        first, term = run.first, run.term
        begin, end = first - entries[0].index, first - entries[0].index + len(waiters)
        rows = zip(waiters, entries[begin:end], results[begin:end], strict=True)
        for index, ((future, _), entry, result) in enumerate(rows, first):
            if entry[1] != term:
                _fail(future, NotLeader(self._node_id, None))
            elif not future.done():
                future.set_result(_committed_of((index, term, result)))

    def on_applied_up_to(self, index: int) -> None:
        """Everything up to here is applied."""
        while self._applied and self._applied[0][0] <= index:
            _, _, future = heapq.heappop(self._applied)
            if not future.done():
                future.set_result(None)

    def on_lead_lost(self, leading_term: int | None) -> None:
        """This node leads in another term than before, or no more (None)."""
        kept: deque[_Run] = deque()
        for run in self._runs:
            if run.term == leading_term:
                kept.append(run)
                continue
            self._undecided -= len(run.waiters)
            for index, (future, _) in enumerate(run.waiters, run.first):
                _fail(future, OutcomeUnknown(self._node_id, index, run.term))
        self._runs = kept

    def stop(self) -> None:
        """Nothing will be decided here any more."""
        self.on_lead_lost(None)
        asked = (waiter for _, waiters in self._asked.values() for waiter in waiters)
        for future, _ in (*asked, *self._new):
            _fail(future, Stopped(self._node_id))
        for readers in (*self._readers.values(), self._new_readers):
            for read, _ in readers:
                _fail(read, Stopped(self._node_id))
        for _, _, applied in self._applied:
            _fail(applied, Stopped(self._node_id))
        self._asked, self._new, self._new_data = {}, [], []
        self._readers, self._new_readers, self._applied = {}, [], []
        for target in list(self._transfers):
            self._end_transfers(target, moved=False)
        if self._timer is not None:
            self._timer.cancel()

    # -- patience ------------------------------------------------------------------------------

    def _patience(self, timeout_s: float) -> float:
        """When it is over. Only one that ends before all others moves the timer."""
        due_s = self._loop.time() + timeout_s
        if due_s < self._due_s:
            self._arm(due_s)
        return due_s

    def _arm(self, due_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due_s = due_s
        self._timer = None if due_s == NEVER_S else self._loop.call_at(due_s, self._on_due)

    def _on_due(self) -> None:
        """Tell those whose time is over, and look at all others for the next one."""
        now_s = self._loop.time()
        later: list[float] = []
        for run in self._runs:
            for index, (future, due_s) in enumerate(run.waiters, run.first):
                if due_s <= now_s:
                    _fail(future, OutcomeUnknown(self._node_id, index, run.term))
                elif not future.done():
                    later.append(due_s)
        asked = (waiter for _, waiters in self._asked.values() for waiter in waiters)
        for future, due_s in (*asked, *self._new):
            if due_s <= now_s:
                _fail(future, OutcomeUnknown(self._node_id, 0, 0))
            elif not future.done():
                later.append(due_s)
        for readers in (*self._readers.values(), self._new_readers):
            for read, due_s in readers:
                if due_s <= now_s:
                    _fail(read, TimeoutError())
                elif not read.done():
                    later.append(due_s)
        self._timer = None
        self._arm(min(later, default=NEVER_S))

    # -- small things --------------------------------------------------------------------------

    def _next_request(self, data: list[bytes], waiters: list[_Waiter]) -> int:
        first = self._last_request + 1
        self._last_request += len(waiters)
        self._asked[first] = (data, waiters)
        return first

    def _answered(self, first: int, count: int) -> tuple[list[bytes], list[_Waiter]]:
        """Those who asked with these requests, which are the first ones of what was asked."""
        data, waiters = self._asked.pop(first)
        if count < len(waiters):
            self._asked[first + count] = (data[count:], waiters[count:])
            return data[:count], waiters[:count]
        return data, waiters

    def _refuse(self, first: int, count: int, reason: RefusalReason, leader: NodeId | None) -> None:
        readers = self._readers.pop(first, None)
        if readers is not None:
            for read, _ in readers:
                _fail(read, self._error_of(reason, leader, 0))
            return
        for data, (future, _) in zip(*self._answered(first, count), strict=True):
            _fail(future, self._error_of(reason, leader, len(data)))

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
                return ProposalsFull(self._node_id, self._undecided, 0)
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


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
