"""The leader's part in scheduling: what to propose now, and whom to tell what was decided.

Every node has one and feeds it every applied entry, so that a new leader starts with a warm
history; only between `Elected` and `Deposed` does it propose.

Nothing is told before it is applied: an assignee learns of a lease from the committed entry, a
submitter of its task likewise. What could not be told is told again: work until its peer
acknowledges it, and after an election all of it; answers are not kept, because the asker asks
again. One batch of assignments is under way at a time, so that a plan never counts on a stale
ledger; everything proposed is conditional where it is applied, so a lost race costs nothing else.

Ledger time as the leader reads it is ledger time at its election plus its own monotonic time since.

What this module does not know: Raft, the network, clocks, payload formats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from agents.ledger import (
    Applied,
    EndedBy,
    Kind,
    LeaseRef,
    Ledger,
    PeerEnd,
    State,
    encode,
    encode_assigned,
    encode_disapproved,
    encode_expired,
    encode_forgotten,
    encode_leases_ended,
)
from agents.scheduling import requests
from agents.scheduling.history import Observation
from agents.scheduling.intake import Intake
from agents.scheduling.leader_events import (
    CancelReceived,
    DecisionMoved,
    Deposed,
    Elected,
    EntryApplied,
    Failing,
    LeaderEffect,
    LeaderEvent,
    LeaderTick,
    OpenQuestion,
    PeerDied,
    ProposalDecided,
    ProposalFailed,
    Propose,
    QuestionOpened,
    RenewalReceived,
    ReportsReceived,
    RetryReceived,
    SubmissionReceived,
    TellRevoked,
    VotedSubmissionReceived,
    WorkAcknowledged,
    WorkersChanged,
)
from agents.scheduling.scheduler import Scheduler
from agents.scheduling.telling import Telling
from agents.scheduling.voting import Votes
from agents.scheduling.workers import WorkerView
from keys import PeerId


@dataclass(frozen=True, slots=True)
class LeaderSettings:
    tick_ms: int = 100
    batch_items: int = 256
    batch_bytes: int = 256 * 1024
    batches_under_way: int = 2  # of each kind of request
    max_queued: int = 20_000
    tell_bytes: int = 384 * 1024
    retell_ms: int = 1000
    retain_ms: int = 3_600_000  # how long finished tasks are kept
    retain_tasks: int = 200_000
    retain_bytes: int = 512 * 1024 * 1024


class _Purpose(StrEnum):
    ASSIGN = "assign"
    DISAPPROVE = "disapprove"
    END = "end"
    EXPIRE = "expire"
    FORGET = "forget"


_ENDS_LEASE: Final = frozenset(
    {Kind.COMPLETED, Kind.FAILED, Kind.LEASES_ENDED, Kind.EXPIRED, Kind.RELEASED, Kind.CANCELLED}
)
_HOLDER_MAY_NOT_KNOW: Final = frozenset({Kind.LEASES_ENDED, Kind.EXPIRED, Kind.CANCELLED})


@dataclass(slots=True)
class _Term:
    """What lasts as long as one leadership."""

    elected_ms: int
    ledger_ms: int
    under_way: dict[_Purpose, int] = field(default_factory=dict)
    ends: dict[PeerId, int] = field(default_factory=dict)  # to be proposed: up to incarnation
    next_tick_ms: int = 0
    plan_wanted: bool = True


class LeaderCore:
    """`step` takes events and the monotonic time, and returns effects in order."""

    def __init__(self, settings: LeaderSettings, ledger: Ledger, scheduler: Scheduler) -> None:
        self._settings = settings
        self._ledger = ledger
        self._scheduler = scheduler
        self._workers: dict[PeerId, WorkerView] = {}
        self._dead: dict[PeerId, int] = {}
        self.votes = Votes(ledger, scheduler)
        self._telling = Telling(settings.tell_bytes, settings.retell_ms)
        self._intake = Intake(
            max_items=settings.batch_items,
            max_bytes=settings.batch_bytes,
            max_under_way=settings.batches_under_way,
            max_queued=settings.max_queued,
        )
        self._proposals = 0
        self._term: _Term | None = None
        self._effects: list[LeaderEffect] = []
        self._handlers: dict[type, Callable[[Any, int], None]] = {
            Elected: self._on_elected,
            Deposed: self._on_deposed,
            WorkersChanged: self._on_workers_changed,
            PeerDied: self._on_peer_died,
            EntryApplied: self._on_entry_applied,
            ProposalDecided: self._on_proposal_decided,
            ProposalFailed: self._on_proposal_failed,
            SubmissionReceived: self._on_request,
            VotedSubmissionReceived: self._on_request,
            DecisionMoved: self._on_decision_moved,
            QuestionOpened: self._on_question_opened,
            CancelReceived: self._on_request,
            RetryReceived: self._on_request,
            ReportsReceived: self._on_request,
            RenewalReceived: self._on_request,
            WorkAcknowledged: self._on_work_acknowledged,
            LeaderTick: self._on_tick,
        }

    @property
    def leading(self) -> bool:
        return self._term is not None

    @property
    def deadline_ms(self) -> int | None:
        """When it next wants a tick."""
        return None if self._term is None else self._term.next_tick_ms

    @property
    def queued(self) -> int:
        """Items that wait to be proposed."""
        return self._intake.queued

    def reading_ms(self, now_ms: int) -> int:
        """Ledger time: as the leader reads it, or else as of the last entry."""
        if self._term is None:
            return self._ledger.time_ms
        reading_ms = self._term.ledger_ms + max(0, now_ms - self._term.elected_ms)
        return max(reading_ms, self._ledger.time_ms)

    def step(self, *events: LeaderEvent, now_ms: int) -> list[LeaderEffect]:
        """Take what happened since the last step; several events at once share their batches."""
        self._effects = []
        for event in events:
            self._handlers[type(event)](event, now_ms)
        if self._term is not None:
            self._propose_requests(now_ms)
            self._propose_ends(self._term, now_ms)
            self._propose_plan(self._term, now_ms)
            self._effects += self._telling.due(self._ledger, now_ms, self.reading_ms(now_ms))
        return self._effects

    def check_invariants(self) -> None:
        self._intake.check_invariants()
        self._telling.check_invariants()
        self.votes.check_invariants()
        if self._term is not None:
            numbers = list(self._term.under_way.values())
            assert len(set(numbers)) == len(numbers)
            assert not any(self._intake.owns(number) for number in numbers)

    # Leadership

    def _on_elected(self, event: Elected, now_ms: int) -> None:
        self._term = _Term(now_ms, self._ledger.time_ms, next_tick_ms=now_ms)
        self._telling.clear()
        self.votes.clear()
        for peer in self._ledger.holders():
            # The old leader may have gone before it told them.
            self._telling.add(self._ledger.lease_refs_of(peer), self._ledger)
            self._end_leases_of_the_dead(peer)

    def _on_deposed(self, event: Deposed, now_ms: int) -> None:
        self._term = None
        self._telling.clear()
        self.votes.clear()
        self._effects += requests.effects_of(self._intake.clear())

    def _on_tick(self, event: LeaderTick, now_ms: int) -> None:
        term = self._term
        if term is None or now_ms < term.next_tick_ms:
            return
        term.next_tick_ms = now_ms + self._settings.tick_ms
        term.plan_wanted = True
        self._telling.tick(now_ms)
        reading_ms = self.reading_ms(now_ms)
        if _Purpose.EXPIRE not in term.under_way:
            expired = self._ledger.expiring(reading_ms, self._settings.batch_items)
            if expired:
                self._propose(term, _Purpose.EXPIRE, encode_expired(reading_ms, expired))
        if _Purpose.FORGET not in term.under_way:
            self._propose_forgetting(term, reading_ms)

    # Workers

    def _on_workers_changed(self, event: WorkersChanged, now_ms: int) -> None:
        self._workers = {worker.peer: worker for worker in event.workers}
        for worker in event.workers:
            if worker.alive and worker.incarnation >= self._dead.get(worker.peer, -1):
                self._dead.pop(worker.peer, None)
        if self._term is not None:
            self._term.plan_wanted = True
            for peer in self._ledger.holders():
                self._end_leases_of_the_dead(peer)

    def _on_peer_died(self, event: PeerDied, now_ms: int) -> None:
        self._dead[event.peer] = max(event.incarnation, self._dead.get(event.peer, -1))
        worker = self._workers.get(event.peer)
        if worker is not None and worker.incarnation <= event.incarnation:
            del self._workers[event.peer]
        self._end_leases_of_the_dead(event.peer)

    def _end_leases_of_the_dead(self, peer: PeerId) -> None:
        """Leases of a dead peer, or of an earlier start of a living one. A peer that nobody here
        has heard of yet keeps its leases until they expire."""
        if self._term is None:
            return
        gone = self._dead.get(peer, -1)
        worker = self._workers.get(peer)
        if worker is not None:
            gone = max(gone, worker.incarnation - 1 if worker.alive else worker.incarnation)
        if any(incarnation <= gone for incarnation in self._ledger.incarnations_of(peer)):
            self._term.ends[peer] = gone

    def _on_work_acknowledged(self, event: WorkAcknowledged, now_ms: int) -> None:
        self._telling.acknowledge(event.peer, event.leases)

    # What the log decided

    def _on_entry_applied(self, event: EntryApplied, now_ms: int) -> None:
        outcome = event.outcome
        if not isinstance(outcome, Applied) or outcome.kind is Kind.RENEWED:
            return
        kind = outcome.kind
        revoked: dict[PeerId, list[LeaseRef]] = {}
        granted: list[LeaseRef] = []
        for verdict in outcome.verdicts:
            if verdict.refusal is not None:
                continue
            ref = LeaseRef(verdict.task_id, verdict.token)
            if kind is Kind.ASSIGNED:
                granted.append(ref)
            elif kind in _ENDS_LEASE and verdict.before is State.ASSIGNED:
                holder = self._on_attempt_ended(ref, now_ms)
                if holder is not None and kind in _HOLDER_MAY_NOT_KNOW:
                    revoked.setdefault(holder, []).append(ref)
        if self._term is None:
            return
        self._term.plan_wanted = True
        for peer in self._telling.add(granted, self._ledger):
            self._end_leases_of_the_dead(peer)
        for peer, refs in revoked.items():
            self._telling.acknowledge(peer, refs)
            self._effects.append(TellRevoked(peer, tuple(refs)))

    def _on_decision_moved(self, event: DecisionMoved, now_ms: int) -> None:
        if self._term is not None:
            self._term.plan_wanted = True

    def _on_question_opened(self, event: QuestionOpened, now_ms: int) -> None:
        self.votes.opened(event.proposal_id, now_ms)

    def _on_attempt_ended(self, ref: LeaseRef, now_ms: int) -> PeerId | None:
        """Learn from it; who held it, unless a later entry has already pushed that out."""
        attempt = self._ledger.attempt(ref.task_id, ref.token)
        skill = self._ledger.skill_of(ref.task_id)
        if attempt is None or skill is None:
            return None
        if attempt.ended is not EndedBy.CANCELLED:
            duration_ms = attempt.ended_ms - attempt.assigned_ms
            seen = Observation(attempt.peer, attempt.agent, skill, attempt.ended, duration_ms)
            self._scheduler.observe(seen, now_ms)
        return attempt.peer

    def _on_proposal_decided(self, event: ProposalDecided, now_ms: int) -> None:
        if self._intake.owns(event.proposal):
            settled = self._intake.decide(event.proposal, event.outcome)
            self._effects += requests.effects_of(settled)
        else:
            self._close(event.proposal)

    def _on_proposal_failed(self, event: ProposalFailed, now_ms: int) -> None:
        if self._intake.owns(event.proposal):
            settled = self._intake.fail(event.proposal, definite=event.definite)
            self._effects += requests.effects_of(settled)
        else:
            self._close(event.proposal)

    def _close(self, proposal: int) -> None:
        term = self._term
        if term is None:
            return
        purposes = [purpose for purpose, number in term.under_way.items() if number == proposal]
        for purpose in purposes:
            del term.under_way[purpose]
        if _Purpose.END in purposes:
            # Looked up again whether it succeeded or not. A failed plan is made anew at a tick.
            for peer in self._ledger.holders():
                self._end_leases_of_the_dead(peer)

    # What to propose

    def _on_request(self, event: requests.Request, now_ms: int) -> None:
        items = requests.items_of(event)
        if self._term is None:
            self._effects += requests.refusal_of(event, Failing.NOT_LEADER)
        elif not self._intake.has_room(len(items)):
            self._effects += requests.refusal_of(event, Failing.OVERLOADED)
        else:
            settled = self._intake.add(event, items)
            if settled is not None:
                self._effects += requests.effects_of([settled])

    def _propose_requests(self, now_ms: int) -> None:
        reading_ms = self.reading_ms(now_ms)
        while True:
            batch = self._intake.next_batch(self._proposals + 1)
            if batch is None:
                return
            self._proposals += 1
            command = encode(batch.kind, reading_ms, batch.items)
            self._effects.append(Propose(batch.proposal, command))

    def _propose_ends(self, term: _Term, now_ms: int) -> None:
        if not term.ends or _Purpose.END in term.under_way:
            return
        ends = [PeerEnd(peer, upto, "peer died") for peer, upto in term.ends.items()]
        term.ends.clear()
        self._propose(term, _Purpose.END, encode_leases_ended(self.reading_ms(now_ms), ends))

    def _propose_plan(self, term: _Term, now_ms: int) -> None:
        if not term.plan_wanted or _Purpose.ASSIGN in term.under_way:
            return
        term.plan_wanted = False
        # Those that were approved go first: a vote is dear, and their worker has room for them.
        votes = self.votes.plan(now_ms, self._workers)
        self._effects += map(OpenQuestion, votes.questions)
        if votes.disapprovals and _Purpose.DISAPPROVE not in term.under_way:
            command = encode_disapproved(self.reading_ms(now_ms), votes.disapprovals)
            self._propose(term, _Purpose.DISAPPROVE, command)
        plan = self._scheduler.plan(now_ms, self._ledger, tuple(self._workers.values()))
        plan = [*votes.assignments, *plan]
        if plan:
            self._propose(term, _Purpose.ASSIGN, encode_assigned(self.reading_ms(now_ms), plan))

    def _propose_forgetting(self, term: _Term, reading_ms: int) -> None:
        settings, ledger = self._settings, self._ledger
        before_ms = reading_ms - settings.retain_ms
        limit = settings.batch_items
        if ledger.finished_bytes > settings.retain_bytes:
            before_ms = reading_ms
        elif ledger.finished_count() > settings.retain_tasks:
            before_ms = reading_ms
            limit = min(limit, ledger.finished_count() - settings.retain_tasks)
        old = ledger.finished_before(before_ms, limit)
        if old:
            self._propose(term, _Purpose.FORGET, encode_forgotten(reading_ms, old))

    def _propose(self, term: _Term, purpose: _Purpose, command: bytes) -> None:
        self._proposals += 1
        term.under_way[purpose] = self._proposals
        self._effects.append(Propose(self._proposals, command))
