"""The leases that a worker holds, and which executions occupy which agent.

Invariants: one lease per task; queues and counts agree with the leases' stages; an agent that was
not made smaller meanwhile never runs more than its capacity.
What this module does not know: time (deadlines are just kept here), reports, the leader.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from agents.ledger import LeaseRef, TaskId, Work


class Stage(StrEnum):
    """Of a lease that is still ours. One that we lost while it ran is kept apart until it stops."""

    QUEUED = "queued"
    RUNNING = "running"
    REPORTING = "reporting"


@dataclass(slots=True, eq=False)
class Held:
    """One lease. Times are this worker's own monotonic milliseconds."""

    work: Work
    ref: LeaseRef
    deadline_ms: int
    renew_at_ms: int
    stage: Stage = Stage.QUEUED
    timeout_at_ms: int = 0


class Holding:
    """All leases of one worker, with a queue per agent."""

    def __init__(self) -> None:
        self._held: dict[TaskId, Held] = {}
        self._queues: dict[str, OrderedDict[TaskId, Held]] = {}
        self._running: dict[str, int] = {}
        self._stopping: dict[LeaseRef, str] = {}  # told to stop, still in its agent's place
        self._capacities: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Held]:
        return iter(self._held.values())

    def get(self, task_id: TaskId) -> Held | None:
        return self._held.get(task_id)

    def set_capacities(self, capacities: Mapping[str, int]) -> None:
        self._capacities = dict(capacities)

    def serves(self, agent: str) -> bool:
        return self._capacities.get(agent, 0) > 0

    def backlog(self, agent: str) -> int:
        """What is queued beyond what could start now."""
        return len(self._queues.get(agent, ())) - max(0, self._free_places(agent))

    def queued(self) -> list[Held]:
        return [held for queue in self._queues.values() for held in queue.values()]

    def running(self) -> dict[str, int]:
        return dict(self._running)

    def add(self, work: Work, deadline_ms: int, renew_at_ms: int) -> Held:
        held = Held(work, LeaseRef(work.task_id, work.token), deadline_ms, renew_at_ms)
        assert work.task_id not in self._held
        self._held[work.task_id] = held
        self._queues.setdefault(work.agent, OrderedDict())[work.task_id] = held
        return held

    def startable(self) -> list[Held]:
        """What fits now, in order. The caller starts each of them."""
        found: list[Held] = []
        for agent, queue in self._queues.items():
            free = self._free_places(agent)
            if free > 0:
                for held in queue.values():
                    found.append(held)
                    free -= 1
                    if not free:
                        break
        return found

    def start(self, held: Held, timeout_at_ms: int) -> None:
        assert held.stage is Stage.QUEUED
        self._unqueue(held)
        held.stage = Stage.RUNNING
        held.timeout_at_ms = timeout_at_ms
        self._running[held.work.agent] = self._running.get(held.work.agent, 0) + 1

    def finish(self, held: Held, *, still_running: bool = False) -> None:
        """From QUEUED or RUNNING to REPORTING."""
        self._leave_stage(held, still_running=still_running)
        held.stage = Stage.REPORTING

    def drop(self, held: Held) -> bool:
        """Hold it no more. True if it runs and must be cancelled; its place is not free yet."""
        ran = held.stage is Stage.RUNNING
        self._leave_stage(held, still_running=ran)
        del self._held[held.work.task_id]
        return ran

    def stopped(self, ref: LeaseRef) -> bool:
        """Free the place of an execution that had been told to stop."""
        agent = self._stopping.pop(ref, None)
        if agent is not None:
            self._free(agent)
        return agent is not None

    def check_invariants(self) -> None:
        stages = [held.stage for held in self._held.values()]
        assert stages.count(Stage.QUEUED) == sum(map(len, self._queues.values()))
        assert all(self._queues.values())
        running = stages.count(Stage.RUNNING) + len(self._stopping)
        assert running == sum(self._running.values())
        assert all(count > 0 for count in self._running.values())

    def _free_places(self, agent: str) -> int:
        return self._capacities.get(agent, 0) - self._running.get(agent, 0)

    def _leave_stage(self, held: Held, *, still_running: bool) -> None:
        if held.stage is Stage.QUEUED:
            self._unqueue(held)
        elif held.stage is Stage.RUNNING and still_running:
            self._stopping[held.ref] = held.work.agent
        elif held.stage is Stage.RUNNING:
            self._free(held.work.agent)

    def _unqueue(self, held: Held) -> None:
        queue = self._queues[held.work.agent]
        del queue[held.work.task_id]
        if not queue:
            del self._queues[held.work.agent]

    def _free(self, agent: str) -> None:
        self._running[agent] -= 1
        if not self._running[agent]:
            del self._running[agent]
