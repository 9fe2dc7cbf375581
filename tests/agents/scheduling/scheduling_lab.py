"""Short names for scheduling tests, and a leader whose log decides at once."""

from __future__ import annotations

import random
from collections.abc import Sequence

from agents.ledger import (
    Completion,
    LeaseRef,
    Ledger,
    TaskId,
    TaskSpec,
    Token,
    Work,
    encode_submitted,
)
from agents.scheduling import (
    AgentView,
    Elected,
    EntryApplied,
    LeaderCore,
    LeaderEffect,
    LeaderEvent,
    LeaderSettings,
    ProposalDecided,
    Propose,
    Scheduler,
    SchedulerSettings,
    WorkersChanged,
    WorkerView,
)
from keys import PeerId

ANNA, BEN, CARA = PeerId("anna"), PeerId("ben"), PeerId("cara")


def task_id(number: int) -> TaskId:
    return TaskId(f"{number:032x}")


def spec(number: int, **changes: object) -> TaskSpec:
    return TaskSpec(task_id(number), "ocr", b"page", CARA)._replace(**changes)  # type: ignore[arg-type]


def ref(number: int, token: int) -> LeaseRef:
    return LeaseRef(task_id(number), Token(token))


def agent(name: str = "reader", skills: Sequence[str] = ("ocr",), capacity: int = 2) -> AgentView:
    return AgentView(name, frozenset(skills), capacity)


def worker(peer: PeerId, *agents: AgentView, **changes: object) -> WorkerView:
    values: dict[str, object] = {"incarnation": 1, "agents": agents or (agent(),)}
    return WorkerView(peer, **(values | changes))  # type: ignore[arg-type]


def work(number: int, token: int = 10, **changes: object) -> Work:
    base = Work(
        task_id(number),
        Token(token),
        "reader",
        "ocr",
        b"page",
        5000,
        8000,
        8000,
        1,
        CARA,
        None,
        None,
    )
    return base._replace(**changes)  # type: ignore[arg-type]


def completion(number: int, token: int, peer: PeerId = ANNA) -> Completion:
    return Completion(task_id(number), Token(token), peer, b"text")


def scheduler(seed: int = 1, **settings: object) -> Scheduler:
    return Scheduler(SchedulerSettings(**settings), random.Random(seed))  # type: ignore[arg-type]


def filled(specs: Sequence[TaskSpec]) -> Ledger:
    ledger = Ledger()
    ledger.apply(1, encode_submitted(0, specs))
    return ledger


class LeaderLab:
    """One leader core over one ledger. `step` applies proposals only if `decide` is on."""

    def __init__(self, **settings: object) -> None:
        self.ledger = Ledger()
        self.scheduler = scheduler()
        self.core = LeaderCore(LeaderSettings(**settings), self.ledger, self.scheduler)  # type: ignore[arg-type]
        self.now_ms = 1000
        self.index = 0
        self.decide = True
        self.proposed: list[Propose] = []  # not decided yet

    def step(self, *events: LeaderEvent) -> list[LeaderEffect]:
        """All effects until nothing more is proposed, without the proposals themselves."""
        told: list[LeaderEffect] = []
        waiting = list(events)
        while waiting:
            effects = self.core.step(*waiting, now_ms=self.now_ms)
            self.core.check_invariants()
            proposals = [effect for effect in effects if isinstance(effect, Propose)]
            told += [effect for effect in effects if not isinstance(effect, Propose)]
            self.proposed += proposals
            waiting = self._decided() if self.decide else []
        return told

    def settle(self) -> list[LeaderEffect]:
        """Decide everything that was proposed, and what follows from it."""
        self.decide = True
        return self.step(*self._decided())

    def lead(self, *workers: WorkerView) -> list[LeaderEffect]:
        return self.step(WorkersChanged(workers), Elected())

    def _decided(self) -> list[LeaderEvent]:
        events: list[LeaderEvent] = []
        for proposal in self.proposed:
            self.index += 1
            outcome = self.ledger.apply(self.index, proposal.command)
            self.ledger.check_invariants()
            events += [EntryApplied(outcome), ProposalDecided(proposal.proposal, outcome)]
        self.proposed = []
        return events
