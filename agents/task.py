"""A submitted task as a program holds it, and many of them.

What this module does not know: where the ledger is; it asks through the gate.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from agents.amounts import millis, seconds, seconds_if_any
from agents.errors import (
    InvalidArguments,
    OutcomeUnknown,
    TaskCancelled,
    TaskFailed,
    TaskParked,
    TaskTimeout,
    TaskUnknown,
)
from agents.hosting.values import as_type, from_bytes
from agents.ledger import MAJORITY, NOT_APPROVED, VOTE, State, TaskView
from agents.local import Gate
from agents.names import peer_meant

POLL_S = 10.0
VOTE_DEADLINE_S = 60.0
TWO_THIRDS = (2, 3)
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.001, 0.05  # an assignment is one round of the quorum away


@dataclass(frozen=True, slots=True)
class Decision:
    """How it was decided who does a task.

    Attributes:
        policy: `majority`: the log's own quorum; `vote`: named voters approved it before.
        index: the log index of the decision, and the fencing token; 0 before there is one.
        votes: the voters that have it on their disks, as the leader knows; with `vote`, those
            who approved it.
        voters: who votes.
    """

    policy: str
    index: int
    votes: tuple[str, ...]
    voters: tuple[str, ...]


UNDECIDED = Decision("majority", 0, (), ())


class Task:
    """One task. Its properties are as of the last `refresh`, `wait_assigned` or `result`."""

    def __init__(self, gate: Gate, task_id: str, skill: str) -> None:
        self._gate = gate
        self.id = task_id
        self.skill = skill
        self._view: TaskView | None = None
        self.decision = UNDECIDED

    @property
    def state(self) -> str:
        return self._view.state.value if self._view is not None else "pending"

    @property
    def assignee(self) -> str | None:
        """The peer that holds it, or held it last."""
        if self._view is None:
            return None
        if self._view.peer is not None:
            return self._view.peer
        return self._view.history[-1].peer if self._view.history else None

    @property
    def executions(self) -> int:
        """How often it was started; more than one means that a worker died or failed."""
        return self._view.executions if self._view is not None else 0

    @property
    def view(self) -> TaskView | None:
        """Everything that the ledger says of it."""
        return self._view

    async def refresh(self) -> None:
        """Ask the ledger how it stands.

        Raises:
            TaskUnknown: it has no such task.
        """
        said = await self._gate.request("task", {"id": self.id})
        if said is None:
            raise TaskUnknown(self.id)
        self._take(said)

    async def wait_assigned(self, timeout: float) -> None:
        """Return when somebody has it or had it, or when the time is over."""
        deadline = time.monotonic() + seconds(self.skill, "timeout", timeout)
        pause_s = SHORTEST_PAUSE_S
        while True:
            await self.refresh()
            if self.state != "pending" or time.monotonic() >= deadline:
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def result(self, timeout: float | None = None, *, returns: Any = None) -> Any:
        """Wait until it is done and return its result; survives the death of workers and leaders.

        Args:
            returns: a type that the result is validated as; plain data otherwise.

        Raises:
            TaskFailed, TaskParked, TaskCancelled: it ended without a result.
            TaskTimeout: it goes on without you.
            InvalidArguments: the timeout is no number of seconds.
        """
        tasks = Tasks(self._gate, [self.id], self.skill)
        timeout = seconds_if_any(self.skill, "timeout", timeout)
        try:
            async with asyncio.timeout(timeout):
                async for view in tasks.views():
                    self._view = view
        except TimeoutError:
            raise TaskTimeout(self.id, timeout or 0.0, self.state) from None
        assert self._view is not None
        value = await opened_result(self._gate, self._view)
        return value if returns is None else as_type(value, returns)

    def _take(self, said: dict[str, Any]) -> None:
        decision = said.pop("decision", None)
        self._view = TaskView.from_wire(said)
        self.skill = self._view.skill
        if decision is not None and decision["index"]:
            self.decision = Decision(
                decision["policy"],
                decision["index"],
                tuple(decision["votes"]),
                tuple(decision["voters"]),
            )


def vote_of(
    skill: str,
    policy: str,
    voters: Iterable[str] | None,
    threshold: tuple[int, int] | None,
    may_veto: Iterable[str],
    deadline_s: float | None,
) -> dict[str, Any]:
    """What a submission says about a vote: nothing of a task that none is held on.

    Raises:
        InvalidArguments: the policy is none, or has no voters.
    """
    guardians = list(may_veto)
    if policy == VOTE:
        named = None if voters is None else list(voters)
        vote_s = VOTE_DEADLINE_S if deadline_s is None else deadline_s
        deadline_ms = millis(skill, "vote_deadline", vote_s)
        return {"vote": [named, guardians, *(threshold or TWO_THIRDS), deadline_ms]}
    if policy != MAJORITY:
        raise InvalidArguments(skill, f"policy {policy!r} is neither {MAJORITY!r} nor {VOTE!r}")
    if voters is not None or guardians or threshold is not None or deadline_s is not None:
        raise InvalidArguments(skill, f"only a task with policy {VOTE!r} has voters of its own")
    return {}


class Tasks:
    """Many tasks of one skill, in the order of their submission."""

    def __init__(self, gate: Gate, ids: Sequence[str], skill: str) -> None:
        self._gate = gate
        self.ids = tuple(ids)
        self.skill = skill

    def __len__(self) -> int:
        return len(self.ids)

    async def views(self) -> AsyncIterator[TaskView]:
        """Yield each task once it rests, in the order in which they end.

        Raises:
            TaskUnknown: the ledger has forgotten one.
        """
        left = dict.fromkeys(self.ids)
        while left:
            try:
                found = await self._gate.request("wait", {"ids": list(left), "timeout_s": POLL_S})
            except OutcomeUnknown:
                continue  # a leader changed while it was asked; waiting has no outcome to lose
            for task_id, said in found:
                if said is None:
                    raise TaskUnknown(task_id)
                if task_id in left:
                    del left[task_id]
                    yield TaskView.from_wire(said)

    async def results(self, timeout: float | None = None) -> list[Any]:
        """Return all results, in the order of submission.

        Raises:
            TaskFailed, TaskParked, TaskCancelled: the first that ended without one.
            TaskTimeout: not all were done in time.
        """
        values: dict[str, Any] = {}
        timeout = seconds_if_any(self.skill, "timeout", timeout)
        try:
            async with asyncio.timeout(timeout):
                async for view in self.views():
                    values[view.task_id] = await opened_result(self._gate, view)
        except TimeoutError:
            late = next(i for i in self.ids if i not in values)
            raise TaskTimeout(late, timeout or 0.0, "under way") from None
        return [values[task_id] for task_id in self.ids]


async def opened_result(gate: Gate, view: TaskView) -> Any:
    """Return the result of a task that rests, or raise why there is none.

    Raises:
        SealedRefused: it is sealed, and not for this node, or not by the worker it was meant for.
    """
    if view.state is State.DONE and view.result is not None and peer_meant(view.skill)[1]:
        params = {"id": view.task_id, "skill": view.skill, "data": view.result}
        return from_bytes(await gate.request("unseal_result", params))
    return result_of(view)


def result_of(view: TaskView) -> Any:
    """Return the result of a task that rests, or raise why there is none."""
    error = view.error
    if view.state is State.DONE:
        return from_bytes(view.result) if view.result is not None else None
    if view.state is State.CANCELLED:
        raise TaskCancelled(view.task_id, "it was cancelled")
    where = view.history[-1].peer[:8] if view.history else "?"
    if view.state is State.FAILED and error is not None:
        raise TaskFailed(view.task_id, where, error.type, error.message, error.traceback)
    if view.vote is not None and error is not None and error.type == NOT_APPROVED:
        raise TaskParked(
            view.task_id,
            f"parked, for nobody was approved to do it: {error.message}; `conclave retry` asks the "
            "voters again, `conclave cancel` ends it",
        )
    words = f"{error.type}: {error.message}" if error is not None else view.history[-1].detail
    raise TaskParked(
        view.task_id,
        f"parked after {view.attempts} attempts, the last at {where}: {words}; "
        "look at it, then `conclave retry` or `conclave cancel`",
    )
