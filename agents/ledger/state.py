"""The ledger's state with its indexes, and the few ways in which it changes.

Every change of a task's state goes through one of the functions here that end in `_move`, which
looks it up in `STATE_TABLE` and keeps every index in step. `check` compares the indexes with the
tasks from scratch.

Invariants: those of `PendingTasks` and `LeaseTable`; counts by state and by job add up; a
(skill, key) names one task; a task in ASSIGNED has a lease whose token is the task's token, any
other has none; tokens of a task grow; a result exists exactly in DONE.
What this module does not know: commands, refusals, when a move is allowed beyond the table.
"""

from __future__ import annotations

from collections import OrderedDict

from agents.ledger.leases import LeaseTable
from agents.ledger.model import (
    FINAL_STATES,
    MAX_HISTORY,
    STATE_TABLE,
    VOTE,
    Attempt,
    EndedBy,
    Lease,
    Move,
    State,
    TaskId,
    TaskSpec,
)
from agents.ledger.pending import PendingTasks, order_of
from agents.ledger.task import Task
from agents.ledger.voted import Approvals


def _no_counts() -> dict[State, int]:
    return dict.fromkeys(State, 0)


class LedgerState:
    """Plain data and its indexes; `rules` decides, this keeps the books."""

    def __init__(self) -> None:
        self.time_ms = 0
        self.index = 0
        self.next_sequence = 0
        self.tasks: dict[TaskId, Task] = {}
        self.keys: dict[tuple[str, str], TaskId] = {}  # (skill, key)
        self.pending = PendingTasks()
        self.to_vote = PendingTasks()  # those that wait for a vote first
        self.voted = 0  # tasks with terms
        self.approvals: Approvals | None = None  # another machine of this log, never saved here
        self.leases = LeaseTable()
        self.finished: OrderedDict[TaskId, Task] = OrderedDict()  # final states, oldest first
        self.finished_bytes = 0
        self.counts = _no_counts()
        self.jobs: dict[str, dict[State, int]] = {}

    def add(self, spec: TaskSpec, terms: bytes | None = None) -> Task:
        """A new task; its id and key are not taken."""
        task = Task(spec, self.next_sequence, self.time_ms, terms=terms)
        self.next_sequence += 1
        self.tasks[spec.task_id] = task
        self.voted += terms is not None
        if spec.key is not None:
            self.keys[(spec.skill, spec.key)] = spec.task_id
        self.counts[State.PENDING] += 1
        if spec.job is not None:
            self.jobs.setdefault(spec.job, _no_counts())[State.PENDING] += 1
        self._queue_of(task).add(task)
        return task

    def forget(self, task: Task) -> None:
        """Drop a task that is in a final state, with its key."""
        spec = task.spec
        del self.tasks[spec.task_id], self.finished[spec.task_id]
        self.voted -= task.terms is not None
        self.finished_bytes -= _size_of(task)
        if spec.key is not None:
            del self.keys[(spec.skill, spec.key)]
        self.counts[task.state] -= 1
        if spec.job is not None:
            job = self.jobs[spec.job]
            job[task.state] -= 1
            if not any(job.values()):
                del self.jobs[spec.job]

    def grant(self, task: Task, lease: Lease, deadline_ms: int) -> None:
        """PENDING to ASSIGNED: one attempt and one execution more, a larger token."""
        assert lease.token > task.token
        self._queue_of(task).remove(task)
        self._move(task, Move.ASSIGN)
        task.lease = lease
        task.token = lease.token
        task.deadline_ms = deadline_ms
        task.attempts += 1
        task.executions += 1
        self.leases.add(task)

    def end_lease(self, task: Task, move: Move, ended: EndedBy, detail: str = "") -> None:
        """Out of ASSIGNED by `move`; the attempt goes to the history."""
        lease = task.lease
        assert lease is not None
        self.leases.remove(task)
        task.lease = None
        task.history.append(
            Attempt(
                lease.peer,
                lease.agent,
                lease.token,
                lease.assigned_ms,
                self.time_ms,
                ended,
                detail,
            )
        )
        if len(task.history) > MAX_HISTORY:
            del task.history[0]
        self.leave(task, move)

    def leave(self, task: Task, move: Move) -> None:
        """Any move of a task that holds no lease, into whatever state the table says."""
        if task.state is State.PENDING:
            self._queue_of(task).remove(task)
        after = self._move(task, move)
        if after is State.PENDING:
            self._queue_of(task).add(task)
        elif after in FINAL_STATES:
            task.finished_ms = self.time_ms
            self.add_finished(task)

    def add_finished(self, task: Task) -> None:
        """Behind those that were final before it."""
        self.finished[task.spec.task_id] = task
        self.finished_bytes += _size_of(task)

    def open_job(self, job: str) -> None:
        """Give a job its place among the jobs before its first task comes back."""
        self.jobs[job] = _no_counts()

    def put_back(self, task: Task) -> None:
        """A task out of a snapshot, in order of submission, its job open. One that is leased or
        final still has to take its place in `leases` or `finished`, which have orders of their
        own."""
        spec = task.spec
        self.tasks[spec.task_id] = task
        self.voted += task.terms is not None
        if spec.key is not None:
            self.keys[(spec.skill, spec.key)] = spec.task_id
        self.counts[task.state] += 1
        if spec.job is not None:
            self.jobs[spec.job][task.state] += 1
        if task.state is State.PENDING:
            self._queue_of(task).add(task)

    def _queue_of(self, task: Task) -> PendingTasks:
        return self.pending if task.terms is None else self.to_vote

    def _move(self, task: Task, move: Move) -> State:
        before = task.state
        after = STATE_TABLE[before, move]
        task.state = after
        self.counts[before] -= 1
        self.counts[after] += 1
        if task.spec.job is not None:
            job = self.jobs[task.spec.job]
            job[before] -= 1
            job[after] += 1
        return after


def check(state: LedgerState) -> None:
    """Assert every invariant; linear in the number of tasks."""
    counts = _no_counts()
    jobs: dict[str, dict[State, int]] = {}
    for task_id, task in state.tasks.items():
        assert task_id == task.spec.task_id
        counts[task.state] += 1
        if task.spec.job is not None:
            jobs.setdefault(task.spec.job, _no_counts())[task.state] += 1
        if task.spec.key is not None:
            assert state.keys[(task.spec.skill, task.spec.key)] == task_id
        _check_task(task, state)
    assert counts == state.counts
    assert jobs == state.jobs
    assert state.voted == sum(task.terms is not None for task in state.tasks.values())
    assert len(state.keys) == sum(task.spec.key is not None for task in state.tasks.values())
    _check_indexes(state)


def _check_task(task: Task, state: LedgerState) -> None:
    assert (task.lease is not None) == (task.state is State.ASSIGNED)
    if task.lease is not None:
        assert task.lease.token == task.token
        assert task.lease.assigned_ms <= state.time_ms
    assert (task.result is not None) == (task.state is State.DONE)
    assert (task.error is not None) >= (task.state is State.FAILED)
    assert 0 <= task.attempts <= task.spec.max_attempts
    assert task.executions >= task.attempts
    assert task.token <= state.index
    assert (task.terms is not None) == (task.spec.policy == VOTE)
    assert task.terms is not None or (task.votes, task.decision) == (0, None)
    assert task.terms is None or task.lease is None or task.decision is not None
    tokens = [attempt.token for attempt in task.history]
    assert tokens == sorted(set(tokens))
    assert not tokens or tokens[-1] <= task.token
    assert len(tokens) <= MAX_HISTORY
    completed = [attempt for attempt in task.history if attempt.ended is EndedBy.COMPLETED]
    assert len(completed) == (task.state is State.DONE)


def _check_indexes(state: LedgerState) -> None:
    for queue in (state.pending, state.to_vote):
        pending = list(queue)
        assert [order_of(task) for task in pending] == sorted({order_of(task) for task in pending})
        assert all(task.state is State.PENDING for task in pending)
        assert all((task.terms is None) == (queue is state.pending) for task in pending)
        assert len(pending) == len(queue)
    assert len(state.pending) + len(state.to_vote) == state.counts[State.PENDING]
    leased = list(state.leases)
    assert all(task.state is State.ASSIGNED for task in leased)
    assert len(leased) == len(state.leases) == state.counts[State.ASSIGNED]
    for peer in state.leases.holders():
        tasks = state.leases.of_peer(peer)
        assert all(task.lease is not None and task.lease.peer == peer for task in tasks)
        assert sum(state.leases.held_by(peer).values()) == len(tasks) > 0
    assert all(task.state in FINAL_STATES for task in state.finished.values())
    assert len(state.finished) == sum(state.counts[final] for final in sorted(FINAL_STATES))
    assert state.finished_bytes == sum(map(_size_of, state.finished.values()))


def _size_of(task: Task) -> int:
    return len(task.spec.payload) + len(task.result or b"")
