"""The worker's part: start what was decided, keep its leases, and report until it is heard.

A lease is trusted only as far as this worker can prove: after a renewal it counts from before the
renewal was sent, after an assignment from when it was told, minus a margin for drift and for the
message's way. Past that deadline an execution is cancelled, because by then another peer may have
the task; the fencing token is what makes even a late one harmless. A result is reported
until the ledger answers, also past the deadline: whether it still counts is the ledger's decision.

A place is free when the execution has really stopped, not when it was told to.

States of a held lease, where an illegal event changes nothing:

    QUEUED --start--> RUNNING --finished/failed--> REPORTING --answered--> (gone)
    RUNNING --lost/revoked--> STOPPING --stopped--> (gone)
    RUNNING --timeout--> REPORTING, and its place is free when it stopped
    QUEUED --drain/no such agent/queue full--> REPORTING (a release)

Invariants: executions of an agent never exceed its capacity; one lease per task is held; every
lease that is not answered is renewed; what waits for an answer is bounded by what is held.
What this module does not know: handlers, the network, clocks, the ledger.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from agents.ledger import (
    MAX_RESULT_BYTES,
    Completion,
    ErrorText,
    Failure,
    LeaseRef,
    Release,
    TaskId,
    Token,
    Work,
)
from agents.scheduling.holding import Held, Holding, Stage
from agents.scheduling.outbox import Outbox
from agents.scheduling.reports import Report
from agents.scheduling.worker_events import (
    AcknowledgeWork,
    AgentsChanged,
    Cancel,
    CancelReason,
    Drained,
    DrainRequested,
    ExecutionFailed,
    ExecutionFinished,
    ExecutionStopped,
    LeaderChanged,
    LeasesRevoked,
    RenewalAnswered,
    ReportsAnswered,
    SendRenewal,
    SendReports,
    Start,
    WorkerEffect,
    WorkerEvent,
    WorkerTick,
    WorkTold,
)
from keys import PeerId

_REMEMBERED: Final = 4096
_ROUNDS: Final = 64


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    queue_per_agent: int = 64  # what exceeds it is given back at once
    lease_margin: int = 8  # an eighth of each lease is not trusted
    renewals_per_lease: int = 3
    renewal_items: int = 1024
    report_items: int = 256
    report_bytes: int = 384 * 1024
    report_batches: int = 4
    report_retry_ms: int = 1000
    report_retry_max_ms: int = 8000


class WorkerCore:
    """`step` takes events and the monotonic time, and returns effects in order."""

    def __init__(self, settings: WorkerSettings, own: PeerId, incarnation: int) -> None:
        self._settings = settings
        self._own = own
        self._incarnation = incarnation
        self._holding = Holding()
        self._outbox = Outbox(
            max_items=settings.report_items,
            max_bytes=settings.report_bytes,
            max_batches=settings.report_batches,
            retry_ms=settings.report_retry_ms,
            retry_max_ms=settings.report_retry_max_ms,
        )
        self._done: OrderedDict[TaskId, Token] = OrderedDict()  # highest token seen to its end
        self._rounds: OrderedDict[int, int] = OrderedDict()  # renewal round -> sent at
        self._round = 0
        self._leader: PeerId | None = None
        self._draining = False
        self._drained = False
        self._due_ms: int | None = None
        self.dropped = 0  # messages about leases that are not ours
        self._effects: list[WorkerEffect] = []
        self._handlers: dict[type, Callable[[Any, int], None]] = {
            AgentsChanged: self._on_agents_changed,
            WorkTold: self._on_work_told,
            LeasesRevoked: self._on_leases_revoked,
            ExecutionFinished: self._on_execution_finished,
            ExecutionFailed: self._on_execution_failed,
            ExecutionStopped: self._on_execution_stopped,
            ReportsAnswered: self._on_reports_answered,
            RenewalAnswered: self._on_renewal_answered,
            LeaderChanged: self._on_leader_changed,
            DrainRequested: self._on_drain_requested,
            WorkerTick: self._on_tick,
        }

    @property
    def deadline_ms(self) -> int | None:
        """When it next wants a tick; it may be early, never late."""
        # Without a leader there is nobody to report to, and so nothing to wake for: an overdue
        # report would ask for a tick that changes nothing, again and again.
        overdue_ms = self._outbox.deadline_ms if self._leader is not None else None
        return min((at for at in (self._due_ms, overdue_ms) if at is not None), default=None)

    def in_flight(self) -> dict[str, int]:
        """Executions by agent."""
        return self._holding.running()

    @property
    def held(self) -> int:
        """Leases that are queued, running, or not yet answered."""
        return len(self._holding)

    def step(self, *events: WorkerEvent, now_ms: int) -> list[WorkerEffect]:
        """Take what happened since the last step; several events at once share their batches."""
        self._effects = []
        for event in events:
            self._handlers[type(event)](event, now_ms)
        for held in self._holding.startable():
            self._holding.start(held, now_ms + held.work.timeout_ms)
            self._wake_at(held.timeout_at_ms)
            self._effects.append(Start(held.work))
        if self._leader is not None:
            self._effects += map(SendReports, self._outbox.take(now_ms))
        if self._draining and not self._drained and not len(self._holding):
            self._drained = True
            self._effects.append(Drained())
        return self._effects

    def check_invariants(self) -> None:
        self._holding.check_invariants()
        self._outbox.check_invariants()
        assert len(self._done) <= _REMEMBERED
        assert len(self._rounds) <= _ROUNDS
        for held in self._holding:
            assert (held.stage is Stage.REPORTING) == self._outbox.has(held.ref)
            assert self._due_ms is not None
            assert self._due_ms <= self._next_ms(held)

    # Work comes

    def _on_agents_changed(self, event: AgentsChanged, now_ms: int) -> None:
        self._holding.set_capacities(event.capacities)
        for held in self._holding.queued():
            if event.capacities.get(held.work.agent, 0) <= 0:
                self._give_back(held, "no such agent")

    def _on_work_told(self, event: WorkTold, now_ms: int) -> None:
        if event.incarnation != self._incarnation:
            self.dropped += len(event.work)
            return
        known = [LeaseRef(w.task_id, w.token) for w in event.work if self._take(w, now_ms)]
        if known:
            self._effects.append(AcknowledgeWork(tuple(known)))

    def _take(self, work: Work, now_ms: int) -> bool:
        """Whether the leader may stop telling us of this lease."""
        if work.token <= self._done.get(work.task_id, -1):
            return True
        current = self._holding.get(work.task_id)
        if current is not None and current.work.token >= work.token:
            return True
        deadline_ms = now_ms + work.lease_left_ms - self._margin_ms(work)
        if deadline_ms <= now_ms:
            self.dropped += 1
            return False  # it will expire; until then there is no time to do it
        if current is not None:
            self._lose(current, CancelReason.SUPERSEDED)
        room = self._holding.backlog(work.agent) < self._settings.queue_per_agent
        held = self._holding.add(work, deadline_ms, now_ms + self._renew_every_ms(work))
        self._wake_at(min(deadline_ms, now_ms + self._renew_every_ms(work)))
        if self._draining:
            self._give_back(held, "draining")
        elif not self._holding.serves(work.agent):
            self._give_back(held, "no such agent")
        elif not room:
            self._give_back(held, "queue full")
        return True

    # Work ends

    def _on_execution_finished(self, event: ExecutionFinished, now_ms: int) -> None:
        held = self._ended(event.task_id, event.token)
        if held is None:
            return
        size = len(event.result)
        if size <= MAX_RESULT_BYTES:
            self._report(held, Completion(event.task_id, event.token, self._own, event.result))
            return
        error = ErrorText("ResultTooLarge", f"{size:,} of {MAX_RESULT_BYTES:,} bytes allowed")
        self._report(held, Failure(event.task_id, event.token, self._own, error, False))

    def _on_execution_failed(self, event: ExecutionFailed, now_ms: int) -> None:
        held = self._ended(event.task_id, event.token)
        if held is not None:
            error = event.error.clipped()
            self._report(
                held, Failure(event.task_id, event.token, self._own, error, event.retryable)
            )

    def _on_execution_stopped(self, event: ExecutionStopped, now_ms: int) -> None:
        ref = LeaseRef(event.task_id, event.token)
        if self._holding.stopped(ref):
            return
        held = self._ended(event.task_id, event.token)
        if held is not None:
            # Stopped without having been told to: the node is closing under it.
            error = ErrorText("Stopped", "the execution was stopped by its node")
            self._report(held, Failure(event.task_id, event.token, self._own, error, True))

    def _ended(self, task_id: TaskId, token: Token) -> Held | None:
        """The lease whose execution just ended by itself, if it is still ours to report."""
        if self._holding.stopped(LeaseRef(task_id, token)):
            return None  # it was cancelled meanwhile; its place is free now
        held = self._holding.get(task_id)
        if held is None or held.work.token != token or held.stage is not Stage.RUNNING:
            self.dropped += 1
            return None
        return held

    def _report(self, held: Held, report: Report) -> None:
        self._holding.finish(held)
        self._outbox.add(report)

    def _give_back(self, held: Held, reason: str) -> None:
        self._holding.finish(held)
        self._outbox.add(Release(held.work.task_id, held.work.token, self._own, reason))

    # Leases end

    def _on_leases_revoked(self, event: LeasesRevoked, now_ms: int) -> None:
        self._lose_all(event.leases, CancelReason.REVOKED)

    def _on_renewal_answered(self, event: RenewalAnswered, now_ms: int) -> None:
        sent_ms = self._rounds.pop(event.round, None)
        if sent_ms is not None:
            for ref in event.renewed:
                held = self._find(ref)
                if held is not None:
                    lease_ms = held.work.lease_ms - self._margin_ms(held.work)
                    held.deadline_ms = max(held.deadline_ms, sent_ms + lease_ms)
        self._lose_all(event.lost, CancelReason.LEASE_LOST)

    def _lose_all(self, leases: Iterable[LeaseRef], reason: CancelReason) -> None:
        for ref in leases:
            held = self._find(ref)
            if held is not None and held.stage is not Stage.REPORTING:
                self._lose(held, reason)

    def _lose(self, held: Held, reason: CancelReason) -> None:
        """Whatever stage it is in, the lease is not ours any more."""
        if self._holding.drop(held):
            self._effects.append(Cancel(held.work.task_id, held.work.token, reason))
        self._outbox.remove(held.ref)
        self._remember(held.work.task_id, held.work.token)

    def _find(self, ref: LeaseRef) -> Held | None:
        held = self._holding.get(ref.task_id)
        return held if held is not None and held.work.token == ref.token else None

    # Answers

    def _on_reports_answered(self, event: ReportsAnswered, now_ms: int) -> None:
        """Any answer is final: it counts, or it never will."""
        for answer in event.answers:
            held = self._find(LeaseRef(answer.task_id, answer.token))
            if held is None or held.stage is not Stage.REPORTING:
                self.dropped += 1
                continue
            self._outbox.remove(held.ref)
            self._holding.drop(held)
            self._remember(answer.task_id, answer.token)

    def _on_leader_changed(self, event: LeaderChanged, now_ms: int) -> None:
        if event.leader == self._leader:
            return
        self._leader = event.leader
        if event.leader is not None:
            self._outbox.resend_all()
            self._renew(now_ms, everything=True)

    def _remember(self, task_id: TaskId, token: Token) -> None:
        self._done[task_id] = max(token, self._done.pop(task_id, token))
        if len(self._done) > _REMEMBERED:
            self._done.popitem(last=False)

    # Time

    def _on_drain_requested(self, event: DrainRequested, now_ms: int) -> None:
        self._draining = True
        for held in self._holding.queued():
            self._give_back(held, "draining")

    def _on_tick(self, event: WorkerTick, now_ms: int) -> None:
        if self._due_ms is None or now_ms < self._due_ms:
            return
        for held in list(self._holding):
            if held.stage is Stage.REPORTING:
                continue
            if held.deadline_ms <= now_ms:
                self._lose(held, CancelReason.LEASE_LOST)
            elif held.stage is Stage.RUNNING and held.timeout_at_ms <= now_ms:
                self._time_out(held)
        self._renew(now_ms, everything=False)

    def _time_out(self, held: Held) -> None:
        task_id, token, timeout_ms = held.work.task_id, held.work.token, held.work.timeout_ms
        error = ErrorText("TimeoutError", f"ran longer than {timeout_ms:,} ms")
        self._effects.append(Cancel(task_id, token, CancelReason.TIMEOUT))
        self._holding.finish(held, still_running=True)
        self._outbox.add(Failure(task_id, token, self._own, error, True))

    def _renew(self, now_ms: int, *, everything: bool) -> None:
        """Renew what is due, with all that is due soon; then look when to wake next."""
        due: list[LeaseRef] = []
        for held in self._holding:
            every_ms = self._renew_every_ms(held.work)
            if everything or held.renew_at_ms - every_ms // 2 <= now_ms:
                held.renew_at_ms = now_ms + every_ms
                due.append(held.ref)
        if self._leader is not None:
            for start in range(0, len(due), self._settings.renewal_items):
                part = tuple(due[start : start + self._settings.renewal_items])
                self._round += 1
                self._rounds[self._round] = now_ms
                if len(self._rounds) > _ROUNDS:
                    self._rounds.popitem(last=False)
                self._effects.append(SendRenewal(self._round, self._incarnation, part))
        self._due_ms = min((self._next_ms(held) for held in self._holding), default=None)

    def _next_ms(self, held: Held) -> int:
        times = [held.renew_at_ms]
        if held.stage is not Stage.REPORTING:
            times.append(held.deadline_ms)
        if held.stage is Stage.RUNNING:
            times.append(held.timeout_at_ms)
        return min(times)

    def _wake_at(self, at_ms: int) -> None:
        self._due_ms = at_ms if self._due_ms is None else min(self._due_ms, at_ms)

    def _margin_ms(self, work: Work) -> int:
        return work.lease_ms // self._settings.lease_margin

    def _renew_every_ms(self, work: Work) -> int:
        return max(1, work.lease_ms // self._settings.renewals_per_lease)
