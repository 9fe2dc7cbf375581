"""A network of leaders, workers and one client in virtual time, with faults drawn from a seed.

The log is simulated as Raft promises it: entries are decided in one order, every replica applies
them, a proposal of a leader that was deposed may still be decided. Everything else is the real
cores. Messages between nodes are delayed and lost; workers crash, come back with a higher
incarnation, or are declared dead although they live.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from scheduling_lab import agent, spec, worker

from agents.ledger import ErrorText, Ledger, State, TaskId, Token
from agents.scheduling import (
    AcknowledgeWork,
    AgentsChanged,
    AnswerRenewal,
    AnswerReports,
    AnswerRequest,
    Cancel,
    Deposed,
    Elected,
    EntryApplied,
    ExecutionFailed,
    ExecutionFinished,
    ExecutionStopped,
    FailRequest,
    LeaderChanged,
    LeaderCore,
    LeaderEffect,
    LeaderEvent,
    LeaderSettings,
    LeaderTick,
    LeasesRevoked,
    PeerDied,
    ProposalDecided,
    ProposalFailed,
    Propose,
    RenewalAnswered,
    RenewalReceived,
    ReportsAnswered,
    ReportsReceived,
    Scheduler,
    SchedulerSettings,
    SendRenewal,
    SendReports,
    Start,
    SubmissionReceived,
    TellRevoked,
    TellWork,
    WorkAcknowledged,
    WorkerCore,
    WorkerEffect,
    WorkerEvent,
    WorkersChanged,
    WorkerSettings,
    WorkerTick,
    WorkerView,
    WorkTold,
)
from keys import PeerId

CAPACITY = 3
LEASE_MS = 1500


@dataclass
class Machine:
    """One worker machine; its core is gone while it is down."""

    peer: PeerId
    incarnation: int = 0
    core: WorkerCore | None = None
    running: set[tuple[TaskId, Token]] = field(default_factory=set)
    believed_dead: bool = False


class World:
    """`run` plays faults, then heals and lets everything come to an end."""

    def __init__(self, seed: int, tasks: int = 250) -> None:
        self.rng = random.Random(seed)
        self.now_ms = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = 0
        self.faults = True
        self.index = 0
        self.replicas = [self._replica() for _ in range(3)]
        self.leader: int | None = None
        self.machines = [Machine(PeerId(f"machine-{number}")) for number in range(4)]
        self.specs = [spec(number, lease_ms=LEASE_MS, max_attempts=1000) for number in range(tasks)]
        self.unanswered = dict(enumerate(self.specs))
        self.starts: Counter[tuple[TaskId, Token]] = Counter()
        self.done: Counter[TaskId] = Counter()

    def _replica(self) -> LeaderCore:
        ledger = Ledger()
        planner = Scheduler(SchedulerSettings(), random.Random(self.rng.random()))
        core = LeaderCore(LeaderSettings(retell_ms=300), ledger, planner)
        core.ledger_under_test = ledger  # type: ignore[attr-defined]
        return core

    @staticmethod
    def ledger_of(core: LeaderCore) -> Ledger:
        ledger: Ledger = core.ledger_under_test  # type: ignore[attr-defined]
        return ledger

    # The clock

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._heap, (self.now_ms + delay_ms, self._serial, action))

    def message(self, action: Callable[[], None]) -> None:
        if not self.faults or self.rng.random() > 0.08:
            self.after(self.rng.randint(1, 40) if self.faults else 1, action)

    def run(self, faulty_ms: int, limit_ms: int) -> None:
        for machine in self.machines:
            self.boot(machine)
        self.elect()
        for _ in range(faulty_ms // 400):
            self.after(self.rng.randint(0, faulty_ms), self.fault)
        self.after(faulty_ms, self.heal)
        self.tick()
        while self._heap and self.now_ms < limit_ms and not self.finished():
            self.now_ms, _, action = heapq.heappop(self._heap)
            action()
            self.check()

    def finished(self) -> bool:
        counts = self.ledger_of(self.replicas[0]).counts()
        return not self.faults and counts[State.DONE] == len(self.specs)

    def tick(self) -> None:
        self.after(20, self.tick)
        for number in range(3):
            self.lead(number, LeaderTick())
        for machine in self.machines:
            self.work(machine, WorkerTick())
        if self.now_ms % 100 == 0 and self.leader is not None:
            for number in sorted(self.unanswered)[:20]:
                self.lead(self.leader, SubmissionReceived(number, (self.unanswered[number],)))

    # Faults

    def fault(self) -> None:
        match self.rng.choice(["depose", "crash", "crash", "suspect"]):
            case "depose":
                self.depose()
                self.after(self.rng.randint(10, 800), self.elect)
            case "crash":
                self.crash(self.rng.choice(self.machines))
            case "suspect":
                self.suspect(self.rng.choice(self.machines))

    def heal(self) -> None:
        self.faults = False
        for machine in self.machines:
            machine.believed_dead = False
        self.elect()
        self.fleet()

    def depose(self) -> None:
        if self.leader is not None:
            old, self.leader = self.leader, None
            self.lead(old, Deposed())
            for machine in self.machines:
                self.work(machine, LeaderChanged(None))

    def elect(self) -> None:
        if self.leader is None:
            self.leader = self.rng.randrange(3)
            self.lead(self.leader, Elected())
            for machine in self.machines:
                self.work(machine, LeaderChanged(PeerId(f"replica-{self.leader}")))

    def boot(self, machine: Machine) -> None:
        machine.incarnation += 1
        machine.core = WorkerCore(WorkerSettings(), machine.peer, machine.incarnation)
        machine.believed_dead = False
        leader = None if self.leader is None else PeerId(f"replica-{self.leader}")
        self.work(machine, AgentsChanged({"reader": CAPACITY}), LeaderChanged(leader))
        self.fleet()

    def crash(self, machine: Machine) -> None:
        if machine.core is None:
            return
        machine.core = None
        machine.running.clear()
        incarnation = machine.incarnation
        if self.rng.random() < 0.7:
            self.after(300, lambda: self.died(machine, incarnation))
        # Away for long, it may have nobody to declare it dead: then its leases must expire.
        down_ms = self.rng.choice([self.rng.randint(50, 1500), 6000])
        self.after(down_ms, lambda: self.boot(machine))

    def suspect(self, machine: Machine) -> None:
        """Everyone believes it dead for a while; it lives and works on."""
        machine.believed_dead = True
        self.died(machine, machine.incarnation)

        def hear_again() -> None:
            machine.believed_dead = False
            self.fleet()

        self.after(600, hear_again)

    def died(self, machine: Machine, incarnation: int) -> None:
        for number in range(3):
            self.lead(number, PeerDied(machine.peer, incarnation))
        self.fleet()

    def fleet(self) -> None:
        views: tuple[WorkerView, ...] = tuple(
            worker(each.peer, agent(capacity=CAPACITY), incarnation=each.incarnation)
            for each in self.machines
            if each.core is not None and not each.believed_dead
        )
        for number in range(3):
            self.lead(number, WorkersChanged(views))

    # Leaders and the log

    def lead(self, number: int, *events: LeaderEvent) -> None:
        for effect in self.replicas[number].step(*events, now_ms=self.now_ms):
            self.on_leader_effect(number, effect)

    def on_leader_effect(self, number: int, effect: LeaderEffect) -> None:
        match effect:
            case Propose():
                self.after(self.rng.randint(2, 15), lambda: self.decide(number, effect))
            case TellWork(peer, incarnation, work):
                self.message(lambda: self.to(peer, WorkTold(incarnation, work)))
            case TellRevoked(peer, leases):
                self.message(lambda: self.to(peer, LeasesRevoked(leases)))
            case AnswerReports(peer, answers):
                self.message(lambda: self.to(peer, ReportsAnswered(answers)))
            case AnswerRenewal(peer, round_, renewed, lost):
                self.message(lambda: self.to(peer, RenewalAnswered(round_, renewed, lost)))
            case AnswerRequest(request, verdicts):
                assert all(verdict.accepted for verdict in verdicts)
                self.unanswered.pop(request, None)
            case FailRequest():
                pass  # the client asks again

    def decide(self, proposer: int, proposal: Propose) -> None:
        leads = proposer == self.leader
        if not leads and self.rng.random() < 0.5:
            self.lead(proposer, ProposalFailed(proposal.proposal, definite=False))
            return
        self.index += 1
        for number, core in enumerate(self.replicas):
            outcome = self.ledger_of(core).apply(self.index, proposal.command)
            events: list[LeaderEvent] = [EntryApplied(outcome)]
            if number == proposer:
                decided = ProposalDecided(proposal.proposal, outcome)
                unknown = ProposalFailed(proposal.proposal, definite=False)
                events.append(decided if leads else unknown)
            if number == 0:
                for verdict in getattr(outcome, "verdicts", ()):
                    self.done[verdict.task_id] += verdict.changed and verdict.after is State.DONE
            self.lead(number, *events)

    # Workers

    def to(self, peer: PeerId, event: WorkerEvent) -> None:
        self.work(next(machine for machine in self.machines if machine.peer == peer), event)

    def work(self, machine: Machine, *events: WorkerEvent) -> None:
        if machine.core is not None:
            for effect in machine.core.step(*events, now_ms=self.now_ms):
                self.on_worker_effect(machine, effect)

    def on_worker_effect(self, machine: Machine, effect: WorkerEffect) -> None:
        peer, incarnation = machine.peer, machine.incarnation
        match effect:
            case Start(work):
                self.start(machine, work.task_id, work.token)
            case Cancel(task_id, token):
                machine.running.discard((task_id, token))
                self.later(machine, 5, ExecutionStopped(task_id, token))
            case AcknowledgeWork(leases):
                self.message(lambda: self.to_leader(WorkAcknowledged(peer, leases)))
            case SendReports(reports):
                self.message(lambda: self.to_leader(ReportsReceived(peer, reports)))
            case SendRenewal(round_, _, leases):
                renewal = RenewalReceived(peer, incarnation, round_, leases)
                self.message(lambda: self.to_leader(renewal))

    def to_leader(self, event: LeaderEvent) -> None:
        if self.leader is not None:
            self.lead(self.leader, event)

    def start(self, machine: Machine, task_id: TaskId, token: Token) -> None:
        self.starts[task_id, token] += 1
        machine.running.add((task_id, token))
        incarnation = machine.incarnation

        def end() -> None:
            if machine.incarnation != incarnation or (task_id, token) not in machine.running:
                return
            machine.running.discard((task_id, token))
            if self.faults and self.rng.random() < 0.1:
                error = ErrorText("ValueError", "unlucky")
                self.work(machine, ExecutionFailed(task_id, token, error, True))
            else:
                self.work(machine, ExecutionFinished(task_id, token, b"text"))

        self.after(self.rng.randint(5, 900), end)

    def later(self, machine: Machine, delay_ms: int, event: WorkerEvent) -> None:
        incarnation = machine.incarnation

        def deliver() -> None:
            if machine.incarnation == incarnation:
                self.work(machine, event)

        self.after(delay_ms, deliver)

    # What must always hold

    def check(self) -> None:
        for core in self.replicas:
            core.check_invariants()
        for machine in self.machines:
            assert len(machine.running) <= CAPACITY
            if machine.core is not None:
                machine.core.check_invariants()
