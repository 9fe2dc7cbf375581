"""The leader's part in tasks that are voted on: what to ask, of which worker, and when it is over.

A plan says which worker should get a waiting task; the voters are asked about exactly that, in the
log's register of decisions, and the assignment is proposed when they approved. What a predecessor
asked is found again in the register: ids of questions follow from task and worker, so nothing is
asked twice because the leader changed.

    (waiting) --planned--> asked --OpenQuestion--> open --approved--> assignment proposed
    asked, open --the worker is gone, or the task moved on--> (waiting), another worker is chosen
    open --rejected, vetoed, blocked or expired--> disapproval proposed, which parks the task

A question whose worker is gone stays open in the register until its time is over; nothing follows
from it, since the ledger takes an approval for that worker only and a parking for the one asked
about now.

What this module does not know: ballots, who votes, the log. The ledger checks everything again.

Invariants: at most `max_asked` questions are kept open, and at most `max_of_one` of any voter, so
that one who does not answer holds up those tasks alone on which it votes; a task is asked about for
one worker at a time; what votes wait for holds no worker back from other work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

from agents.ledger import Assignment, Disapproval, Ledger, Task, TaskId, voters_of
from agents.names import peer_meant
from agents.scheduling.scheduler import Scheduler
from agents.scheduling.workers import AgentView, WorkerView
from consensus.ballots import Proposal, Status
from keys import PeerId

MAX_ASKED: Final = 256
MAX_OF_ONE: Final = 32  # a voter keeps 64 questions in mind
PASSED_OVER: Final = 1_000  # waiting tasks of a skill whose voters are busy, in one look
OPEN_AGAIN_MS: Final = 1_000
_BEST: Final = {Status.APPROVED: 0, Status.OPEN: 1}
AGENT_GONE_MS: Final = 5_000  # a peer that is only suspected shows no agents for a moment


@dataclass(slots=True)
class _Asked:
    """One task that the voters are asked about."""

    assignment: Assignment
    skill: str
    question: Proposal
    open_at_ms: int  # when to put it to the vote, at the earliest
    is_opening: bool = False
    alone_since_ms: int | None = None


@dataclass(slots=True)
class VotePlan:
    """What is to be done now."""

    assignments: list[Assignment] = field(default_factory=list)
    disapprovals: list[Disapproval] = field(default_factory=list)
    questions: list[Proposal] = field(default_factory=list)


class Votes:
    """See the module. One leader's; `clear` it with every term."""

    def __init__(
        self,
        ledger: Ledger,
        scheduler: Scheduler,
        max_asked: int = MAX_ASKED,
        max_of_one: int = MAX_OF_ONE,
    ) -> None:
        self._ledger = ledger
        self._scheduler = scheduler
        self._max_asked = max_asked
        self._max_of_one = max_of_one
        self._asked: dict[TaskId, _Asked] = {}

    def clear(self) -> None:
        self._asked.clear()

    def asked(self, task_id: TaskId) -> tuple[str, PeerId] | None:
        """The id of the question on a task, and the worker that it is about."""
        found = self._asked.get(task_id)
        return None if found is None else (found.question.proposal_id, found.assignment.peer)

    def opened(self, proposal_id: str, now_ms: int) -> None:
        """An attempt to open it is over, whatever came of it."""
        for asked in self._asked.values():
            if asked.question.proposal_id == proposal_id:
                asked.is_opening = False
                asked.open_at_ms = now_ms + OPEN_AGAIN_MS

    def plan(self, now_ms: int, workers: Mapping[PeerId, WorkerView]) -> VotePlan:
        """Look over what is asked, and ask more where there is room."""
        plan = VotePlan()
        if not self._asked and not self._ledger.counts_to_vote():
            return plan
        for task_id, asked in list(self._asked.items()):
            if not self._is_current(asked, workers, now_ms):
                del self._asked[task_id]
        self._ask_more(now_ms, workers)
        for asked in self._asked.values():
            self._go_on(asked, plan, workers, now_ms)
        return plan

    def check_invariants(self) -> None:
        assert len(self._asked) <= self._max_asked
        assert max(self._load().values(), default=0) <= self._max_of_one
        for task_id, asked in self._asked.items():
            assert asked.assignment.task_id == task_id

    def _is_current(self, asked: _Asked, workers: Mapping[PeerId, WorkerView], now_ms: int) -> bool:
        task_id, peer = asked.assignment.task_id, asked.assignment.peer
        if self._ledger.question_id(task_id, peer) != asked.question.proposal_id:
            return False
        worker = workers.get(peer)
        if worker is None or not worker.alive:
            return False
        if _agent_for(worker, asked.skill, asked.assignment.agent) is not None:
            asked.alone_since_ms = None
            return True
        if asked.alone_since_ms is None:
            asked.alone_since_ms = now_ms
        return now_ms - asked.alone_since_ms < AGENT_GONE_MS

    def _ask_more(self, now_ms: int, workers: Mapping[PeerId, WorkerView]) -> None:
        room = self._max_asked - len(self._asked)
        if room <= 0:
            return
        load = self._load()
        view = _ToVote(self._ledger, self._asked, self._busy(load))
        living = tuple(workers.values())
        for planned in self._scheduler.plan(now_ms, view, living)[:room]:
            skill = self._ledger.skill_of(planned.task_id)
            assert skill is not None
            assignment = self._asked_before(planned, skill, living) or planned
            question = self._ledger.question(planned.task_id, assignment.peer)
            assert question is not None
            voters = [each.peer_id for each in question.electors]
            if self._busy(load).isdisjoint(voters):
                load.update(voters)
                self._asked[planned.task_id] = _Asked(assignment, skill, question, now_ms)

    def _load(self) -> Counter[str]:
        """How many questions are put to each voter."""
        asked = self._asked.values()
        return Counter(each.peer_id for one in asked for each in one.question.electors)

    def _busy(self, load: Mapping[str, int]) -> set[str]:
        return {voter for voter, count in load.items() if count >= self._max_of_one}

    def _asked_before(
        self, planned: Assignment, skill: str, workers: Sequence[WorkerView]
    ) -> Assignment | None:
        """A worker about whom somebody has asked already: approved, or still open, or over."""
        found: dict[Status, Assignment] = {}
        for worker in workers:
            agent = _agent_for(worker, skill, planned.agent) if worker.alive else None
            status = self._ledger.vote_on(planned.task_id, worker.peer) if agent else None
            if agent is not None and status is not None:
                item = Assignment(planned.task_id, worker.peer, agent.name, worker.incarnation)
                found.setdefault(status, item)
        best = min(found, key=lambda status: _BEST.get(status, 2), default=None)
        return None if best is None else found[best]

    def _go_on(
        self, asked: _Asked, plan: VotePlan, workers: Mapping[PeerId, WorkerView], now_ms: int
    ) -> None:
        task_id, peer = asked.assignment.task_id, asked.assignment.peer
        match self._ledger.vote_on(task_id, peer):
            case None:
                if not asked.is_opening and now_ms >= asked.open_at_ms:
                    asked.is_opening = True
                    plan.questions.append(asked.question)
            case Status.OPEN:
                pass
            case Status.APPROVED:
                worker = workers[peer]
                agent = _agent_for(worker, asked.skill, asked.assignment.agent)
                if agent is not None:
                    item = Assignment(task_id, peer, agent.name, worker.incarnation)
                    plan.assignments.append(item)
            case _:
                plan.disapprovals.append(Disapproval(task_id, peer))


class _ToVote:
    """The ledger as the scheduler sees it, of tasks that nobody is asked about yet, and whose
    voters can be asked."""

    def __init__(self, ledger: Ledger, asked: Mapping[TaskId, _Asked], busy: Set[str]) -> None:
        self._ledger = ledger
        self._asked = asked
        self._busy = busy
        self._held: dict[PeerId, dict[str, int]] = {}
        for each in asked.values():
            held = self._held.setdefault(each.assignment.peer, {})
            held[each.assignment.agent] = held.get(each.assignment.agent, 0) + 1

    def pending_counts(self) -> Mapping[str, int]:
        return self._ledger.counts_to_vote()

    def waiting(self, skill: str) -> Iterator[Task]:
        passed_over = 0
        for task in self._ledger.waiting_to_vote(skill):
            if task.task_id in self._asked:
                continue
            if self._busy.isdisjoint(voters_of(task)):
                yield task
            elif (passed_over := passed_over + 1) >= PASSED_OVER:
                return

    def held_by(self, peer: PeerId) -> Mapping[str, int]:
        """With what it is asked about: it spreads questions over workers, as if they were work."""
        held = dict(self._ledger.held_by(peer))
        for agent, count in self._held.get(peer, {}).items():
            held[agent] = held.get(agent, 0) + count
        return held


def _agent_for(worker: WorkerView, skill: str, wanted: str) -> AgentView | None:
    """The agent of that name if it offers the skill, or else any that does."""
    skill, meant = peer_meant(skill)
    if meant not in (None, worker.peer):
        return None
    able = [each for each in worker.agents if skill in each.skills and each.capacity > 0]
    named = (each for each in able if each.name == wanted)
    return next(named, able[0] if able else None)
