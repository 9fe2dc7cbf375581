"""One task as a row of a snapshot, and back; the row's grammar stands in `snapshot`.

Reading is strict: exact types, the ledger's own limits, and what must hold for a task by itself
(`fault_of`), so that a state made of such rows needs no second look.

What this module does not know: the other records of a snapshot, checksums, bytes.
"""

from __future__ import annotations

from typing import Any, Final

from agents.ledger.model import (
    FINAL_STATES,
    MAX_HISTORY,
    MAX_RESULT_BYTES,
    MAX_TIME_MS,
    Attempt,
    EndedBy,
    Lease,
    State,
    Token,
)
from agents.ledger.parsing import parse_error, parse_spec, parse_task_id, refusal_of_spec
from agents.ledger.state import LedgerState
from agents.ledger.task import Task

_STATES: Final = {state.value: state for state in State}
_ENDS: Final = {end.value: end for end in EndedBy}
_TASK_FIELDS: Final = 12
_VOTED_FIELDS: Final = 15
_MAX_DETAIL_CHARS: Final = 256  # an error's type is the longest


def row_of(task: Task) -> tuple[Any, ...]:
    """Plain values. A deadline is only there with a lease: without one nobody ever reads it."""
    lease = None
    if task.lease is not None:
        peer, agent, incarnation, _, assigned_ms = task.lease
        lease = (peer, agent, incarnation, assigned_ms, task.deadline_ms)
    row = (
        task.spec,
        task.sequence,
        task.submitted_ms,
        task.state,
        task.attempts,
        task.executions,
        task.token,
        lease,
        task.finished_ms,
        task.result,
        task.error,
        task.history,
    )
    return row if task.terms is None else (*row, task.terms, task.votes, task.decision)


def parse_task(fields: list[Any]) -> Task | None:
    """The task, or None for what is not of the row's shape."""
    if len(fields) not in (_TASK_FIELDS, _VOTED_FIELDS):
        return None
    raw_spec, sequence, submitted_ms, raw_state, attempts, executions, token = fields[:7]
    raw_lease, finished_ms, result, raw_error, raw_history = fields[7:_TASK_FIELDS]
    spec = parse_spec(raw_spec)
    state = _STATES.get(raw_state) if type(raw_state) is str else None
    if spec is None or state is None or not isinstance(raw_history, list):
        return None
    numbers = (sequence, submitted_ms, attempts, executions, token, finished_ms)
    if not all(map(_is_count, numbers)) or not (result is None or type(result) is bytes):
        return None
    task = Task(spec, sequence, submitted_ms, state, attempts, executions, token)
    task.finished_ms = finished_ms
    task.result = result
    if len(fields) == _VOTED_FIELDS and not _take_vote(task, *fields[_TASK_FIELDS:]):
        return None
    if raw_error is not None:
        task.error = parse_error(raw_error)
    if raw_lease is not None and not _take_lease(task, raw_lease):
        return None
    history = [_parse_attempt(raw) for raw in raw_history]
    task.history = [attempt for attempt in history if attempt is not None]
    is_whole = len(task.history) == len(history) and (task.error is None) == (raw_error is None)
    return task if is_whole else None


def fault_of(task: Task, state: LedgerState) -> str | None:
    """What cannot be about this task in a ledger at that index and time, or None."""
    spec = task.spec
    is_final = task.state in FINAL_STATES
    tokens = [attempt.token for attempt in task.history]
    completed = [attempt.ended is EndedBy.COMPLETED for attempt in task.history]
    rules = {
        "beyond the limits": refusal_of_spec(spec, task.terms) is None
        and len(task.result or b"") <= MAX_RESULT_BYTES
        and len(tokens) <= MAX_HISTORY,
        "an id or key twice": spec.task_id not in state.tasks
        and (spec.key is None or (spec.skill, spec.key) not in state.keys),
        "an unknown job": spec.job is None or spec.job in state.jobs,
        "a later sequence than the next": task.sequence < state.next_sequence,
        "a lease without its state": (task.lease is not None) == (task.state is State.ASSIGNED),
        "given without a vote": task.terms is None or task.lease is None or bool(task.decision),
        "a result without its state": (task.result is not None) == (task.state is State.DONE),
        "no error": task.error is not None or task.state is not State.FAILED,
        "attempts": task.attempts <= min(spec.max_attempts, task.executions),
        "a token from the future": task.token <= state.index,
        "times from the future": max(task.submitted_ms, task.finished_ms) <= state.time_ms
        and (task.lease is None or task.lease.assigned_ms <= state.time_ms)
        and task.deadline_ms <= state.time_ms + spec.lease_ms,
        "an end without its state": is_final or task.finished_ms == 0,
        "its history": tokens == sorted(set(tokens))
        and all(token <= task.token for token in tokens)
        and (task.lease is None or task.token not in tokens)
        and sum(completed) == (task.state is State.DONE),
    }
    return next((name for name, holds in rules.items() if not holds), None)


def _take_vote(task: Task, terms: Any, votes: Any, decision: Any) -> bool:
    if type(terms) is not bytes or not _is_count(votes):
        return False
    if decision is not None and parse_task_id(decision) is None:  # of the same shape
        return False
    task.terms, task.votes, task.decision = terms, votes, decision
    return True


def _take_lease(task: Task, raw: Any) -> bool:
    if not isinstance(raw, list) or len(raw) != 5:
        return False
    peer, agent, incarnation, assigned_ms, deadline_ms = raw
    if not (_is_name(peer, 64) and _is_name(agent, 128)):
        return False
    if not (_is_count(incarnation) and _is_count(assigned_ms)):
        return False
    if type(deadline_ms) is not int or deadline_ms < assigned_ms:
        return False
    task.lease = Lease(peer, agent, incarnation, task.token, assigned_ms)
    task.deadline_ms = deadline_ms
    return True


def _parse_attempt(raw: Any) -> Attempt | None:
    if not isinstance(raw, list) or len(raw) != len(Attempt._fields):
        return None
    peer, agent, token, assigned_ms, ended_ms, raw_ended, detail = raw
    ended = _ENDS.get(raw_ended) if type(raw_ended) is str else None
    well_formed = (
        _is_name(peer, 64)
        and _is_name(agent, 128)
        and all(map(_is_count, (token, assigned_ms, ended_ms)))
        and type(detail) is str
        and len(detail) <= _MAX_DETAIL_CHARS
    )
    if not well_formed or ended is None:
        return None
    return Attempt(peer, agent, Token(token), assigned_ms, ended_ms, ended, detail)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_TIME_MS


def _is_name(value: Any, limit: int) -> bool:
    return type(value) is str and 0 < len(value) <= limit
