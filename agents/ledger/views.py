"""What the ledger shows: frozen copies that can be sent, printed and kept.

`to_wire` gives maps and lists of plain values with stable names, for `--json` and for calls
between nodes; `from_wire` takes the same back and raises `ValueError` for anything else.

What this module does not know: how a task changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from agents.ledger.model import FINAL_STATES, Attempt, EndedBy, ErrorText, State, TaskId, Token
from agents.ledger.task import Task
from agents.ledger.voted import terms_view
from keys import PeerId


@dataclass(frozen=True, slots=True)
class TaskView:
    """One task at one moment. All times are ledger time, which starts at 0 with the network."""

    task_id: TaskId
    skill: str
    key: str | None
    job: str | None
    submitter: PeerId
    policy: str
    priority: int
    state: State
    attempts: int
    max_attempts: int
    executions: int
    timeout_ms: int
    lease_ms: int
    token: Token
    peer: PeerId | None  # who holds it now
    agent: str | None
    incarnation: int | None
    lease_deadline_ms: int | None
    submitted_ms: int
    finished_ms: int | None
    payload_bytes: int
    result_bytes: int | None
    result: bytes | None  # None in lists
    error: ErrorText | None
    history: tuple[Attempt, ...]
    vote: Mapping[str, Any] | None = None  # who decides on its assignments; of the policy `vote`

    def to_wire(self) -> dict[str, Any]:
        wire = {item.name: getattr(self, item.name) for item in fields(self)}
        if self.vote is None:
            del wire["vote"]  # nodes that know no votes read what has none
        wire["state"] = self.state.value
        wire["error"] = None if self.error is None else list(self.error)
        wire["history"] = [
            [*attempt[:5], attempt.ended.value, attempt.detail] for attempt in self.history
        ]
        return wire

    @classmethod
    def from_wire(cls, wire: Any) -> TaskView:
        """Raises: ValueError: not what `to_wire` gives."""
        try:
            values = dict(wire)
            values["state"] = State(values["state"])
            if values["error"] is not None:
                values["error"] = ErrorText(*values["error"])
            values["history"] = tuple(map(_attempt_from_wire, values["history"]))
            return cls(**values)
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"not a task view: {error}") from error


class Work(NamedTuple):
    """What an assignee is told about one lease.

    Attributes:
        lease_left_ms: how much of the lease remained when the leader said this.
        proof: the certificate of the vote on this assignment; None if nobody votes on the task, and
            empty if the leader has it no more.
    """

    task_id: TaskId
    token: Token
    agent: str
    skill: str
    payload: bytes
    timeout_ms: int
    lease_ms: int
    lease_left_ms: int
    attempt: int  # 1 for the first
    submitter: PeerId
    key: str | None
    job: str | None
    proof: bytes | None = None

    def to_wire(self) -> tuple[object, ...]:
        """An array of the fields; the last one only if there is something in it, since a node of
        an earlier version takes no work that has it."""
        return self[:-1] if self.proof is None else self

    @classmethod
    def from_wire(cls, wire: Any) -> Work:
        """Raises: ValueError: not an array of these fields."""
        most = len(cls._fields)
        if not isinstance(wire, list | tuple) or len(wire) not in (most - 1, most):
            raise ValueError("not a work item: wrong shape")
        work = cls(*wire)
        strings = (work.task_id, work.agent, work.skill, work.submitter)
        numbers = (work.token, work.timeout_ms, work.lease_ms, work.lease_left_ms, work.attempt)
        optional = (work.key, work.job)
        if not (
            all(type(value) is str for value in strings)
            and all(type(value) is int and value >= 0 for value in numbers)
            and all(value is None or type(value) is str for value in optional)
            and type(work.payload) is bytes
            and (work.proof is None or type(work.proof) is bytes)
        ):
            raise ValueError("not a work item: wrong types")
        return work


@dataclass(frozen=True, slots=True)
class JobView:
    """How far a job is: its tasks by state, without those already forgotten."""

    job: str
    counts: Mapping[State, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def open(self) -> int:
        """Tasks that may still come to a result by themselves."""
        return self.counts[State.PENDING] + self.counts[State.ASSIGNED]

    def to_wire(self) -> dict[str, Any]:
        return {"job": self.job, "counts": {state.value: n for state, n in self.counts.items()}}


def view_of(task: Task, *, with_result: bool = True) -> TaskView:
    spec, lease = task.spec, task.lease
    return TaskView(
        task_id=spec.task_id,
        skill=spec.skill,
        key=spec.key,
        job=spec.job,
        submitter=spec.submitter,
        policy=spec.policy,
        priority=spec.priority,
        state=task.state,
        attempts=task.attempts,
        max_attempts=spec.max_attempts,
        executions=task.executions,
        timeout_ms=spec.timeout_ms,
        lease_ms=spec.lease_ms,
        token=task.token,
        peer=lease.peer if lease else None,
        agent=lease.agent if lease else None,
        incarnation=lease.incarnation if lease else None,
        lease_deadline_ms=task.deadline_ms if lease else None,
        submitted_ms=task.submitted_ms,
        finished_ms=task.finished_ms if task.state in FINAL_STATES else None,
        payload_bytes=len(spec.payload),
        result_bytes=None if task.result is None else len(task.result),
        result=task.result if with_result else None,
        error=task.error,
        history=tuple(task.history),
        vote=terms_view(task),
    )


def work_of(task: Task, reading_ms: int, proof: bytes | None) -> Work:
    """For a task that is leased; `reading_ms` is ledger time as the leader reads it now."""
    spec, lease = task.spec, task.lease
    assert lease is not None
    return Work(
        spec.task_id,
        lease.token,
        lease.agent,
        spec.skill,
        spec.payload,
        spec.timeout_ms,
        spec.lease_ms,
        max(0, task.deadline_ms - reading_ms),
        task.attempts,
        spec.submitter,
        spec.key,
        spec.job,
        proof,
    )


def _attempt_from_wire(row: Any) -> Attempt:
    peer, agent, token, assigned_ms, ended_ms, ended, detail = row
    return Attempt(peer, agent, token, assigned_ms, ended_ms, EndedBy(ended), detail)
