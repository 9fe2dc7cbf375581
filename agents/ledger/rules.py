"""What each command does to the ledger: one function per kind, pure in (state, index, items).

Conditions are checked here, when the entry is applied, and never trusted from when it was
proposed: between the two, other entries may have come. That is what makes a retried, delayed or
doubled command harmless. Fencing after M. Kleppmann, "How to do distributed locking" (2016): the
token is the log index of the grant, it grows for ever, and what does not carry the current one is
refused.

What this module does not know: clocks (time comes with the entries), networks, who proposed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from agents.ledger.commands import Kind
from agents.ledger.model import (
    FINAL_STATES,
    STATE_TABLE,
    EndedBy,
    ErrorText,
    Lease,
    LeaseRef,
    Move,
    Refusal,
    State,
    TaskId,
    TaskSpec,
    Token,
)
from agents.ledger.outcome import Verdict
from agents.ledger.parsing import (
    parse_assignment,
    parse_completion,
    parse_disapproval,
    parse_failure,
    parse_lease_ref,
    parse_peer_end,
    parse_release,
    parse_renewal,
    parse_spec,
    parse_task_id,
    parse_voted,
    refusal_of_completion,
    refusal_of_spec,
)
from agents.ledger.state import LedgerState
from agents.ledger.task import NO_TOKEN, Task
from agents.ledger.voted import decided_on, id_of, is_approved
from consensus.ballots import Status, in_words
from keys import PeerId

NOT_APPROVED: Final = "NotApproved"  # the type of the error of a task that a vote parked
_MALFORMED: Final = Verdict(TaskId(""), NO_TOKEN, None, None, Refusal.MALFORMED)


def on_submitted(state: LedgerState, index: int, raw: Any) -> Sequence[Verdict]:
    spec = parse_spec(raw)
    return (_MALFORMED,) if spec is None else _submit(state, spec, None)


def on_submitted_for_vote(state: LedgerState, index: int, raw: Any) -> Sequence[Verdict]:
    item = parse_voted(raw)
    return (_MALFORMED,) if item is None else _submit(state, item.spec, item.terms)


def _submit(state: LedgerState, spec: TaskSpec, terms: bytes | None) -> Sequence[Verdict]:
    existing = state.tasks.get(spec.task_id)
    if existing is None and spec.key is not None:
        known = state.keys.get((spec.skill, spec.key))
        existing = None if known is None else state.tasks[known]
    if existing is not None:
        return (_refuse(existing, Refusal.DUPLICATE),)
    refusal = refusal_of_spec(spec, terms)
    if refusal is not None:
        return (Verdict(spec.task_id, NO_TOKEN, None, None, refusal),)
    task = state.add(spec, terms)
    return (Verdict(spec.task_id, NO_TOKEN, None, task.state),)


def on_assigned(state: LedgerState, index: int, raw: Any) -> Sequence[Verdict]:
    item = parse_assignment(raw)
    if item is None:
        return (_MALFORMED,)
    task = state.tasks.get(item.task_id)
    if task is None:
        return (_unknown(item.task_id),)
    if task.state is not State.PENDING or task.token >= index:
        return (_refuse(task, Refusal.ILLEGAL_MOVE),)
    if not is_approved(task, item.peer, state.approvals):
        return (_refuse(task, Refusal.NOT_APPROVED),)
    if task.terms is not None:
        task.decision = id_of(task, item.peer)
    lease = Lease(item.peer, item.agent, item.incarnation, Token(index), state.time_ms)
    state.grant(task, lease, state.time_ms + task.spec.lease_ms)
    return (Verdict(item.task_id, task.token, State.PENDING, State.ASSIGNED),)


def on_disapproved(state: LedgerState, index: int, raw: Any) -> Sequence[Verdict]:
    """A vote that ended without approval parks the task, with the reason, for a person to see."""
    item = parse_disapproval(raw)
    if item is None:
        return (_MALFORMED,)
    task = state.tasks.get(item.task_id)
    if task is None:
        return (_unknown(item.task_id),)
    if task.state is not State.PENDING:
        return (_refuse(task, Refusal.ILLEGAL_MOVE),)
    found = decided_on(task, item.peer, state.approvals)
    if found is None or found.status in (Status.OPEN, Status.APPROVED):
        return (_refuse(task, Refusal.NOT_DISAPPROVED),)
    words = f"{found.proposal.question} {in_words(found)}; decision {found.proposal.proposal_id}"
    task.error = ErrorText(NOT_APPROVED, words).clipped()
    task.decision = found.proposal.proposal_id
    task.votes += 1
    state.leave(task, Move.DISAPPROVE)
    return (Verdict(item.task_id, task.token, State.PENDING, task.state),)


def on_renewed(state: LedgerState, index: int, raw: Any) -> Sequence[Verdict]:
    renewal = parse_renewal(raw)
    if renewal is None:
        return (_MALFORMED,)
    verdicts = []
    for ref in renewal.leases:
        task = state.tasks.get(ref.task_id)
        if task is None:
            verdicts.append(_unknown(ref.task_id))
            continue
        refusal = _refusal_of_holder(task, ref.token, renewal.peer)
        if refusal is None:
            task.deadline_ms = max(task.deadline_ms, state.time_ms + task.spec.lease_ms)
            verdicts.append(Verdict(ref.task_id, task.token, task.state, task.state))
        else:
            verdicts.append(_refuse(task, refusal))
    return verdicts


def on_completed(state: LedgerState, index: int, raw: Any) -> Sequence[Verdict]:
    item = parse_completion(raw)
    if item is None:
        return (_MALFORMED,)
    task = state.tasks.get(item.task_id)
    if task is None:
        return (_unknown(item.task_id),)
    if _already_ended(task, item.token, item.peer, EndedBy.COMPLETED):
        return (_refuse(task, Refusal.DUPLICATE),)
    refusal = _refusal_of_holder(task, item.token, item.peer) or refusal_of_completion(item)
    if refusal is not None:
        return (_refuse(task, refusal),)
    task.result = item.result
    task.error = None
    state.end_lease(task, Move.COMPLETE, EndedBy.COMPLETED)
    return (Verdict(item.task_id, task.token, State.ASSIGNED, task.state),)


def on_failed(state: LedgerState, index: int, raw: Any) -> Sequence[Verdict]:
    item = parse_failure(raw)
    if item is None:
        return (_MALFORMED,)
    task = state.tasks.get(item.task_id)
    if task is None:
        return (_unknown(item.task_id),)
    if _already_ended(task, item.token, item.peer, EndedBy.FAILED):
        return (_refuse(task, Refusal.DUPLICATE),)
    refusal = _refusal_of_holder(task, item.token, item.peer)
    if refusal is not None:
        return (_refuse(task, refusal),)
    task.error = item.error
    move = _move_after_loss(task) if item.retryable else Move.REJECT
    state.end_lease(task, move, EndedBy.FAILED, item.error.type)
    return (Verdict(item.task_id, task.token, State.ASSIGNED, task.state),)


def on_leases_ended(state: LedgerState, index: int, raw: Any) -> Sequence[Verdict]:
    """One verdict per lease that ended, so none for a peer that held nothing."""
    end = parse_peer_end(raw)
    if end is None:
        return (_MALFORMED,)
    verdicts = []
    for task in state.leases.of_peer(end.peer):
        assert task.lease is not None
        if task.lease.incarnation <= end.incarnation:
            state.end_lease(task, _move_after_loss(task), EndedBy.PEER_LOST, end.reason)
            verdicts.append(Verdict(task.spec.task_id, task.token, State.ASSIGNED, task.state))
    return verdicts


def on_expired(state: LedgerState, index: int, raw: Any) -> Sequence[Verdict]:
    """The proposer only suspected it; here the deadline is compared with ledger time again."""
    ref = parse_lease_ref(raw)
    if ref is None:
        return (_MALFORMED,)
    task = state.tasks.get(ref.task_id)
    if task is None:
        return (_unknown(ref.task_id),)
    refusal = _refusal_of_token(task, ref)
    if refusal is None and task.deadline_ms > state.time_ms:
        refusal = Refusal.NOT_EXPIRED
    if refusal is not None:
        return (_refuse(task, refusal),)
    state.end_lease(task, _move_after_loss(task), EndedBy.EXPIRED)
    return (Verdict(ref.task_id, task.token, State.ASSIGNED, task.state),)


def on_released(state: LedgerState, index: int, raw: Any) -> Sequence[Verdict]:
    """Never started, so neither an attempt nor an execution."""
    item = parse_release(raw)
    if item is None:
        return (_MALFORMED,)
    task = state.tasks.get(item.task_id)
    if task is None:
        return (_unknown(item.task_id),)
    if _already_ended(task, item.token, item.peer, EndedBy.RELEASED):
        return (_refuse(task, Refusal.DUPLICATE),)
    refusal = _refusal_of_holder(task, item.token, item.peer)
    if refusal is not None:
        return (_refuse(task, refusal),)
    task.attempts -= 1
    task.executions -= 1
    state.end_lease(task, Move.REQUEUE, EndedBy.RELEASED, item.reason)
    return (Verdict(item.task_id, task.token, State.ASSIGNED, task.state),)


def on_cancelled(state: LedgerState, index: int, raw: Any) -> Sequence[Verdict]:
    task = _find(state, raw)
    if not isinstance(task, Task):
        return (task,)
    before = task.state
    if before is State.CANCELLED:
        return (_refuse(task, Refusal.DUPLICATE),)
    if (before, Move.CANCEL) not in STATE_TABLE:
        return (_refuse(task, Refusal.ILLEGAL_MOVE),)
    if before is State.ASSIGNED:
        state.end_lease(task, Move.CANCEL, EndedBy.CANCELLED)
    else:
        state.leave(task, Move.CANCEL)
    return (Verdict(task.spec.task_id, task.token, before, task.state),)


def on_retried(state: LedgerState, index: int, raw: Any) -> Sequence[Verdict]:
    task = _find(state, raw)
    if not isinstance(task, Task):
        return (task,)
    if (task.state, Move.RETRY) not in STATE_TABLE:
        return (_refuse(task, Refusal.ILLEGAL_MOVE),)
    task.attempts = 0
    state.leave(task, Move.RETRY)
    return (Verdict(task.spec.task_id, task.token, State.PARKED, task.state),)


def on_forgotten(state: LedgerState, index: int, raw: Any) -> Sequence[Verdict]:
    """Only what is final can be forgotten; its id and key could then be submitted anew."""
    task = _find(state, raw)
    if not isinstance(task, Task):
        return (task,)
    if task.state not in FINAL_STATES:
        return (_refuse(task, Refusal.ILLEGAL_MOVE),)
    state.forget(task)
    return (Verdict(task.spec.task_id, task.token, task.state, None),)


Rule = Callable[[LedgerState, int, Any], Sequence[Verdict]]
RULES: Final[dict[Kind, Rule]] = {
    Kind.SUBMITTED: on_submitted,
    Kind.ASSIGNED: on_assigned,
    Kind.RENEWED: on_renewed,
    Kind.COMPLETED: on_completed,
    Kind.FAILED: on_failed,
    Kind.LEASES_ENDED: on_leases_ended,
    Kind.EXPIRED: on_expired,
    Kind.RELEASED: on_released,
    Kind.CANCELLED: on_cancelled,
    Kind.RETRIED: on_retried,
    Kind.FORGOTTEN: on_forgotten,
    Kind.SUBMITTED_FOR_VOTE: on_submitted_for_vote,
    Kind.DISAPPROVED: on_disapproved,
}


def _find(state: LedgerState, raw: Any) -> Task | Verdict:
    task_id = parse_task_id(raw)
    if task_id is None:
        return _MALFORMED
    task = state.tasks.get(TaskId(task_id))
    return _unknown(TaskId(task_id)) if task is None else task


def _refuse(task: Task, refusal: Refusal) -> Verdict:
    return Verdict(task.spec.task_id, task.token, task.state, task.state, refusal)


def _unknown(task_id: TaskId) -> Verdict:
    return Verdict(task_id, NO_TOKEN, None, None, Refusal.UNKNOWN_TASK)


def _refusal_of_token(task: Task, ref: LeaseRef) -> Refusal | None:
    if task.lease is None or task.lease.token != ref.token:
        return Refusal.STALE_TOKEN
    return None


def _refusal_of_holder(task: Task, token: Token, peer: PeerId) -> Refusal | None:
    """Tokens can be guessed, being log indexes, so the holder must be right as well."""
    if task.lease is None or task.lease.token != token:
        return Refusal.STALE_TOKEN
    return None if task.lease.peer == peer else Refusal.NOT_HOLDER


def _already_ended(task: Task, token: Token, peer: PeerId, ended: EndedBy) -> bool:
    """The same report again: its first answer was lost."""
    last = task.last_attempt
    return (
        task.lease is None
        and last is not None
        and last.token == token
        and last.peer == peer
        and last.ended is ended
    )


def _move_after_loss(task: Task) -> Move:
    return Move.REQUEUE if task.attempts < task.spec.max_attempts else Move.EXHAUST
