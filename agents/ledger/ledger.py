"""The task ledger: a deterministic state machine over the committed log.

Every replica applies the same commands in the same order and holds the same tasks. `apply` is the
way in, and `restore` where the log no longer reaches back; everything else reads. Applying costs
in proportion to what changes, so a hundred thousand tasks that wait cost nothing.

Ledger time is replicated: each entry carries its leader's reading and applying takes the larger of
that and the time so far. It stands still without a leader, so a failover only lengthens leases,
and no wall clock can shorten one.

Invariants: see `state`. What this module does not know: Raft, scheduling, the network, clocks.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, takewhile
from types import MappingProxyType

from agents.ledger.commands import decode
from agents.ledger.model import (
    MAX_TIME_MS,
    Attempt,
    Lease,
    LeaseRef,
    Refusal,
    State,
    TaskId,
    Token,
)
from agents.ledger.outcome import Applied, Outcome, Refused, Verdict
from agents.ledger.pending import order_of
from agents.ledger.rules import RULES
from agents.ledger.snapshot import SnapshotReader, write
from agents.ledger.state import LedgerState, check
from agents.ledger.task import Task
from agents.ledger.views import JobView, TaskView, Work, view_of, work_of
from agents.ledger.voted import Approvals, approvers, decided_on, id_of, proof_of, question_on
from consensus.ballots import Proposal, Status
from keys import PeerId


class Ledger:
    """Tasks, leases and their rules. Not thread-safe.

    Args:
        approvals: the register of decisions that the same log drives; without it no task that
            waits for a vote is ever assigned.
    """

    def __init__(self, approvals: Approvals | None = None) -> None:
        self._approvals = approvals
        self._state = LedgerState()
        self._state.approvals = approvals
        self._refused: dict[Refusal, int] = {}

    def apply(self, index: int, command: bytes) -> Outcome:
        """Apply the committed entry at log `index`; indexes grow. Garbage is `Refused`."""
        state = self._state
        assert index > state.index, (index, state.index)
        state.index = index
        decoded = decode(command)
        if isinstance(decoded, Refusal):
            self._count(decoded)
            return Refused(index, decoded)
        kind, time_ms, items = decoded
        if time_ms > state.time_ms:
            state.time_ms = time_ms
        rule = RULES[kind]
        verdicts: list[Verdict] = []
        for raw in items:
            verdicts.extend(rule(state, index, raw))
        for verdict in verdicts:
            if verdict.refusal is not None:
                self._count(verdict.refusal)
        return Applied(index, kind, state.time_ms, tuple(verdicts))

    def advance(self, time_ms: int) -> int:
        """Let ledger time move on by an entry that is not the ledger's, and return it."""
        if self._state.time_ms < time_ms <= MAX_TIME_MS:
            self._state.time_ms = time_ms
        return self._state.time_ms

    def check_invariants(self) -> None:
        """Assert that tasks, indexes and counts agree; linear in the number of tasks."""
        check(self._state)

    # Snapshots

    def snapshot(self) -> Iterator[bytes]:
        """The whole state in chunks of 64 KiB, each made when it is asked for; `snapshot` has the
        format. Equal ledgers give equal bytes. Apply nothing before the last chunk.

        Raises:
            LedgerChanged: while it goes on, if something was applied all the same.
        """
        return write(self._state)

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Hold what the ledger held that these chunks are a snapshot of, cut anywhere, and nothing
        else. `refused` goes on counting.

        Raises:
            LedgerSnapshotInvalid: they are none, or damaged; this ledger is what it was.
        """
        reader = SnapshotReader()
        for chunk in chunks:
            reader.feed(chunk)
        self.adopt(reader)

    def adopt(self, reader: SnapshotReader) -> None:
        """`restore` for a caller that fed the reader itself, a chunk per turn of its loop.

        Raises:
            LedgerSnapshotInvalid: what it was fed is no snapshot, or damaged.
        """
        state = reader.finish()
        state.approvals = self._approvals
        self._state = state

    # Time and counts

    @property
    def time_ms(self) -> int:
        return self._state.time_ms

    @property
    def index(self) -> int:
        """Of the last entry applied."""
        return self._state.index

    @property
    def refused(self) -> Mapping[Refusal, int]:
        """Items and commands that changed nothing, by reason, since this replica started."""
        return MappingProxyType(self._refused)

    def __len__(self) -> int:
        return len(self._state.tasks)

    def counts(self) -> dict[State, int]:
        return dict(self._state.counts)

    # Tasks

    def get(self, task_id: TaskId) -> TaskView | None:
        task = self._state.tasks.get(task_id)
        return None if task is None else view_of(task)

    def state_of(self, task_id: TaskId) -> State | None:
        task = self._state.tasks.get(task_id)
        return None if task is None else task.state

    def find(self, skill: str, key: str) -> TaskId | None:
        """The task that was submitted under this key."""
        return self._state.keys.get((skill, key))

    def attempt(self, task_id: TaskId, token: Token) -> Attempt | None:
        """How the lease with this token ended, if it did and is still remembered."""
        task = self._state.tasks.get(task_id)
        if task is not None:
            for attempt in reversed(task.history):
                if attempt.token == token:
                    return attempt
        return None

    def skill_of(self, task_id: TaskId) -> str | None:
        task = self._state.tasks.get(task_id)
        return None if task is None else task.spec.skill

    def tasks(
        self,
        *,
        states: Iterable[State] | None = None,
        job: str | None = None,
        limit: int = 100,
    ) -> tuple[TaskView, ...]:
        """The latest tasks, newest first, without their results. Linear in what it skips."""
        wanted = frozenset(State if states is None else states)
        chosen = (
            task
            for task in reversed(self._state.tasks.values())
            if task.state in wanted and (job is None or task.spec.job == job)
        )
        return tuple(view_of(task, with_result=False) for task in islice(chosen, limit))

    def job(self, job: str) -> JobView | None:
        counts = self._state.jobs.get(job)
        return None if counts is None else JobView(job, MappingProxyType(dict(counts)))

    def jobs(self) -> tuple[str, ...]:
        return tuple(self._state.jobs)

    # Waiting tasks

    def pending_counts(self) -> Mapping[str, int]:
        """How many tasks wait for a worker and for no vote, by skill."""
        return MappingProxyType(self._state.pending.counts)

    def counts_to_vote(self) -> Mapping[str, int]:
        """How many tasks wait for a vote, by skill."""
        return MappingProxyType(self._state.to_vote.counts)

    def pending(self, limit: int = 100) -> tuple[TaskView, ...]:
        """The tasks next in order of priority and submission, over all skills."""
        queues = self._state.pending, self._state.to_vote
        tasks = islice(heapq.merge(*queues, key=order_of), limit)
        return tuple(view_of(task, with_result=False) for task in tasks)

    def waiting(self, skill: str) -> Iterator[Task]:
        """Waiting tasks of a skill, in order, for the scheduler: read only, and before the next
        `apply`."""
        return self._state.pending.of_skill(skill)

    def waiting_to_vote(self, skill: str) -> Iterator[Task]:
        """Like `waiting`, of those that wait for a vote."""
        return self._state.to_vote.of_skill(skill)

    # Votes

    def question(self, task_id: TaskId, worker: PeerId) -> Proposal | None:
        """What is asked before this worker gets this waiting task; None if nothing is."""
        task = self._state.tasks.get(task_id)
        if task is None or task.terms is None or task.state is not State.PENDING:
            return None
        return question_on(task, worker)

    def question_id(self, task_id: TaskId, worker: PeerId) -> str | None:
        """The id of that question."""
        task = self._state.tasks.get(task_id)
        if task is None or task.terms is None or task.state is not State.PENDING:
            return None
        return id_of(task, worker)

    def vote_on(self, task_id: TaskId, worker: PeerId) -> Status | None:
        """How the vote on that question stands; None if it was not put to one yet."""
        task = self._state.tasks.get(task_id)
        if task is None or self._approvals is None:
            return None
        held = self._approvals.get(id_of(task, worker))
        if held is None or held.status is Status.OPEN:
            return None if held is None else held.status  # its text matters once it has ended
        found = decided_on(task, worker, self._approvals)
        return None if found is None else found.status

    def approved_by(self, task_id: TaskId) -> list[str]:
        """The peers that approved its latest assignment, as long as the register knows."""
        task = self._state.tasks.get(task_id)
        if task is None or task.decision is None or self._approvals is None:
            return []
        found = self._approvals.get(task.decision)
        return [] if found is None else approvers(found)

    # Leases

    def holders(self) -> tuple[PeerId, ...]:
        return self._state.leases.holders()

    def leases_of(self, peer: PeerId) -> tuple[TaskView, ...]:
        return tuple(view_of(t, with_result=False) for t in self._state.leases.of_peer(peer))

    def lease_refs_of(self, peer: PeerId) -> tuple[LeaseRef, ...]:
        return tuple(
            LeaseRef(task.spec.task_id, task.token) for task in self._state.leases.of_peer(peer)
        )

    def incarnations_of(self, peer: PeerId) -> frozenset[int]:
        """The incarnations of a peer that hold leases."""
        leases = (task.lease for task in self._state.leases.of_peer(peer))
        return frozenset(lease.incarnation for lease in leases if lease is not None)

    def held_by(self, peer: PeerId) -> Mapping[str, int]:
        """Leases by agent of the peer."""
        return self._state.leases.held_by(peer)

    def lease(self, task_id: TaskId) -> Lease | None:
        """Who holds the task now."""
        task = self._state.tasks.get(task_id)
        return None if task is None else task.lease

    def work(self, ref: LeaseRef, reading_ms: int) -> Work | None:
        """What the holder of this lease needs to know; None if the lease is over."""
        task = self._state.tasks.get(ref.task_id)
        if task is None or task.lease is None or task.lease.token != ref.token:
            return None
        return work_of(task, reading_ms, proof_of(task, self._approvals))

    def expiring(self, until_ms: int, limit: int) -> list[LeaseRef]:
        """Leases that are over once ledger time is `until_ms`, earliest first."""
        return self._state.leases.expiring(until_ms, limit)

    # Finished tasks

    @property
    def finished_bytes(self) -> int:
        """Payloads and results of finished tasks."""
        return self._state.finished_bytes

    def finished_count(self) -> int:
        return len(self._state.finished)

    def finished_before(self, before_ms: int, limit: int) -> list[TaskId]:
        """Tasks that were final before this ledger time, oldest first."""
        oldest = islice(self._state.finished.values(), limit)
        old = takewhile(lambda task: task.finished_ms < before_ms, oldest)  # ledger time only grows
        return [task.spec.task_id for task in old]

    def _count(self, refusal: Refusal) -> None:
        self._refused[refusal] = self._refused.get(refusal, 0) + 1
