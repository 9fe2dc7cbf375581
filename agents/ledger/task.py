"""One task as a replica keeps it: the only mutable record of the ledger.

Only the functions of `rules` change it, through `LedgerState`. Readers outside get a `TaskView`.
What this module does not know: other tasks, the indexes over them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.ledger.model import Attempt, ErrorText, Lease, State, TaskId, TaskSpec, Token

NO_TOKEN = Token(0)


@dataclass(slots=True, eq=False)
class Task:
    """`attempts` counts against `spec.max_attempts` and starts again at a retry; `executions`
    counts every assignment that was not given back unstarted, for ever."""

    spec: TaskSpec
    sequence: int  # order of submission
    submitted_ms: int
    state: State = State.PENDING
    attempts: int = 0
    executions: int = 0
    token: Token = NO_TOKEN  # of the latest lease, also after it ended
    lease: Lease | None = None
    deadline_ms: int = 0  # of the lease, in ledger time
    finished_ms: int = 0
    result: bytes | None = None
    error: ErrorText | None = None
    history: list[Attempt] = field(default_factory=list)  # the latest MAX_HISTORY
    terms: bytes | None = None  # who votes on its assignments, if somebody does
    votes: int = 0  # that ended without approval
    decision: str | None = None  # id of the one that gave or refused it last

    @property
    def task_id(self) -> TaskId:
        return self.spec.task_id

    @property
    def last_attempt(self) -> Attempt | None:
        return self.history[-1] if self.history else None
