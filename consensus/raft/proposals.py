"""Commands on their way into a leader's log, and which of them are refused for certain.

What this module does not know: when a command is committed; who proposed it.

Invariant: every command of a `Propose` is answered exactly once, in order, `Accepted` or `Refused`.
"""

from __future__ import annotations

from itertools import repeat

from consensus.raft.events import Accepted, Propose, Refused
from consensus.raft.state import NodeState
from consensus.raft.types import Entry, RefusalReason, Role


def on_propose(state: NodeState, event: Propose) -> None:
    """Append what may be appended; replicating and storing begin with the next take."""
    if state.role is not Role.LEADER:
        _refuse(state, event.first_request, len(event.data), RefusalReason.NOT_LEADER)
        return
    if state.transfer is not None:
        _refuse(state, event.first_request, len(event.data), RefusalReason.TRANSFERRING)
        return
    if _fits(state, event):
        _answer(state, event, 0, len(event.data), None)
        return
    first = 0  # where the present run of equal answers begins
    reason: RefusalReason | None = None
    for position, data in enumerate(event.data):
        found = _refusal_of(state, data)
        if found is not reason:
            _answer(state, event, first, position, reason)
            first, reason = position, found
        if found is None:
            state.uncommitted_bytes += len(data)
    _answer(state, event, first, len(event.data), reason)


def _fits(state: NodeState, event: Propose) -> bool:
    """Whether all of them do, as nearly always; and if so, count them."""
    sizes = list(map(len, event.data))
    config, total = state.config, sum(sizes)
    if max(sizes, default=0) > config.max_entry_bytes:
        return False
    if state.uncommitted_bytes + total > config.max_uncommitted_bytes:
        return False
    state.uncommitted_bytes += total
    return True


def _refusal_of(state: NodeState, data: bytes) -> RefusalReason | None:
    if len(data) > state.config.max_entry_bytes:
        return RefusalReason.TOO_LARGE
    waiting_bytes = state.uncommitted_bytes
    # A command that fits no bound alone must still be possible when nothing waits.
    if waiting_bytes and waiting_bytes + len(data) > state.config.max_uncommitted_bytes:
        return RefusalReason.FULL
    return None


def _answer(
    state: NodeState, event: Propose, first: int, end: int, reason: RefusalReason | None
) -> None:
    """The commands at positions `first` to `end` (excluded) have one fate."""
    if first == end:
        return
    if reason is not None:
        _refuse(state, event.first_request + first, end - first, reason)
        return
    first_index, term, kind = state.log.last_index + 1, state.term, event.kind
    count = end - first
    indexes, data = range(first_index, first_index + count), event.data[first:end]
    # `Entry` would be a call in Python for each of them.
    rows = zip(indexes, repeat(term, count), repeat(kind, count), data, strict=True)
    state.append(list(map(tuple.__new__, repeat(Entry), rows)))
    state.note("Replicate")
    state.replicate_due = True
    state.outbox.results.append(
        Accepted(event.first_request + first, end - first, first_index, state.term)
    )


def _refuse(state: NodeState, first_request: int, count: int, reason: RefusalReason) -> None:
    state.outbox.results.append(Refused(first_request, count, reason, state.leader))
