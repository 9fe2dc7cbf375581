"""Who waits for what: proposals until they are decided, applied indexes, a handover.

The outcome of a proposal is unknown until its index is applied: the same term there is done,
another one is definitely not (R31). Without the lead nobody can say, and the asker is told so.

What this module does not know: the loop of the runner, storage, messages.

Invariant: every future is settled exactly once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from consensus.errors import (
    ConsensusError,
    NotLeader,
    OutcomeUnknown,
    ProposalsFull,
    ProposalTooLarge,
    Stopped,
)
from consensus.raft import (
    Accepted,
    Entry,
    NodeId,
    Propose,
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
        self._asked: dict[int, tuple[int, asyncio.Future[Committed]]] = {}  # by request
        self._waiting: dict[int, _Waiter] = {}  # by index
        self._transfers: list[asyncio.Future[bool]] = []
        self._applied: list[tuple[int, asyncio.Future[None]]] = []
        self._last_request = 0

    # -- those who wait ------------------------------------------------------------------------

    def propose(self, data: bytes) -> asyncio.Future[Committed]:
        """Enter a proposal; it goes out with the next `take_proposals`.

        Raises:
            ProposalsFull: too many wait.
        """
        if len(self._waiting) + len(self._new) >= self._limit:
            raise ProposalsFull(self._node_id, len(self._waiting), 0)
        future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self._new.append((data, future))
        return future

    def transfer(self) -> asyncio.Future[bool]:
        """Wait for the end of a handover."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._transfers.append(future)
        return future

    def applied(self, index: int) -> asyncio.Future[None]:
        """Wait until this index is applied."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._applied.append((index, future))
        return future

    # -- what the runner reports ---------------------------------------------------------------

    def take_proposals(self) -> Propose | None:
        """Return all new proposals as one event."""
        if not self._new:
            return None
        new, self._new = self._new, []
        first = self._last_request + 1
        for data, future in new:
            self._last_request += 1
            self._asked[self._last_request] = (len(data), future)
        return Propose(first, [data for data, _ in new])

    def on_result(self, result: Result) -> None:
        """The core said what became of requests."""
        match result:
            case Accepted(first, count, first_index, term):
                for n in range(count):
                    _, future = self._asked.pop(first + n)
                    self._waiting[first_index + n] = (term, future)
            case Refused(first, count, reason, leader):
                for n in range(count):
                    size_bytes, future = self._asked.pop(first + n)
                    _fail(future, self._error_of(reason, leader, size_bytes))
            case TransferEnded(_, moved):
                self._end_transfers(moved)

    def on_applied(self, entry: Entry, result: object, leader: NodeId | None) -> None:
        """An entry was applied here."""
        found = self._waiting.pop(entry.index, None)
        if found is None:
            return
        term, future = found
        if term != entry.term:
            _fail(future, NotLeader(self._node_id, leader))
        elif not future.done():
            future.set_result(Committed(entry.index, entry.term, result))

    def on_applied_up_to(self, index: int) -> None:
        """Everything up to here is applied."""
        if not self._applied:
            return
        due = [future for wanted, future in self._applied if wanted <= index]
        self._applied = [item for item in self._applied if item[0] > index]
        for future in due:
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
        self._asked, self._new = {}, []
        self._end_transfers(False)

    def _end_transfers(self, moved: bool) -> None:
        for future in self._transfers:
            if not future.done():
                future.set_result(moved)
        self._transfers = []

    def _error_of(
        self, reason: RefusalReason, leader: NodeId | None, size_bytes: int
    ) -> ConsensusError:
        if reason is RefusalReason.FULL:
            return ProposalsFull(self._node_id, len(self._waiting), 0)
        if reason is RefusalReason.TOO_LARGE:
            return ProposalTooLarge(size_bytes, self._max_entry_bytes)
        return NotLeader(self._node_id, None if leader == self._node_id else leader)


def _fail(future: asyncio.Future[Committed], error: ConsensusError) -> None:
    if not future.done():
        future.set_exception(error)
