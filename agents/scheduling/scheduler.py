"""Which agent should do which waiting task: a plan, made by the leader alone.

Tasks are taken by priority and submission. For each, the agent with the lowest cost is chosen:

    cost = utilisation + reported load + failures + slowness + generality + a little noise

An agent that is not well costs more than any other, so it gets what nobody else has room for.

A heap per skill holds the agents with room. Placing a task raises the cost of one agent, and that
agent can stand in several heaps; since costs only rise within a plan, an entry that comes up with
an old cost is put back with its present one. So a plan costs O(log agents) per task.

Invariants: no agent gets more than capacity + prefetch; no task is placed twice in one plan; a task
goes back to the peer that just failed it only where no other peer offers the skill.
What this module does not know: the log (a plan is a proposal that may lose), time but as an
argument, how peers are told.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agents.choosing import FULL
from agents.ledger import BAD_ENDS, Assignment, Task
from agents.names import peer_meant
from agents.scheduling.history import History, Observation
from agents.scheduling.workers import AgentView, WorkerView
from keys import PeerId


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """The weights are the cost of the worst case of each kind; a full agent's utilisation is 1."""

    prefetch: int = 2  # beyond capacity, so that no agent idles for a round of consensus
    batch: int = 256
    load_weight: float = 0.5
    failure_weight: float = 1.0
    slowness_weight: float = 0.25
    generality_weight: float = 0.1  # specialists first: it keeps the generalists free
    degraded_weight: float = 100.0  # more than everything else together
    noise: float = 0.01
    failure_half_life_ms: int = 60_000
    released_pause_ms: int = 1000  # an agent that gave a task back is left alone so long


class LedgerView(Protocol):
    """What a plan needs to know of the ledger."""

    def pending_counts(self) -> Mapping[str, int]: ...
    def waiting(self, skill: str) -> Iterator[Task]: ...
    def held_by(self, peer: PeerId) -> Mapping[str, int]: ...


@dataclass(slots=True, eq=False)
class _Slot:
    """One agent during one plan."""

    worker: WorkerView
    agent: AgentView
    held: int
    room: int
    order: int  # unique within the plan, so that the heaps never compare slots
    noise: float

    @property
    def utilisation(self) -> float:
        return self.held / self.agent.capacity

    @property
    def reported_load(self) -> float:
        """Whatever is busier, the agent or its machine: either slows a task down."""
        return max(self.worker.reported_load / 255, self.agent.load / FULL)


@dataclass(slots=True)
class _Skill:
    """The agents that offer one skill during one plan; `peers` counts also those without room."""

    peers: set[PeerId] = field(default_factory=set)
    slots: list[_Slot] = field(default_factory=list)
    heap: list[tuple[float, int, int, float, _Slot]] = field(default_factory=list)

    def choose(self, avoid: PeerId | None) -> _Slot | None:
        """The cheapest slot with room. Its place in the heap is put right when it comes up."""
        if avoid is not None and not self.peers - {avoid}:
            avoid = None
        aside = []
        chosen = None
        while self.heap:
            entry = heapq.heappop(self.heap)
            _, order, held, rest, slot = entry
            if slot.held >= slot.room:
                continue
            if slot.held != held:
                heapq.heappush(self.heap, (rest + slot.utilisation, order, slot.held, rest, slot))
                continue
            aside.append(entry)
            if slot.worker.peer != avoid:
                chosen = slot
                break
        for entry in aside:
            heapq.heappush(self.heap, entry)
        return chosen


class Scheduler:
    """Plans, and learns from how attempts end."""

    def __init__(self, settings: SchedulerSettings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._history = History(settings.failure_half_life_ms)
        self._unplaceable: dict[str, int] = {}

    def observe(self, seen: Observation, now_ms: int) -> None:
        """Learn from an attempt that ended."""
        self._history.observe(seen, now_ms)

    def ended(self, peer: PeerId, skill: str) -> tuple[int, int]:
        """How many attempts of a skill a peer has completed, and failed, as far as is known."""
        return self._history.ended(peer, skill)

    def unplaceable(self) -> Mapping[str, int]:
        """Waiting tasks by skill that no live agent offered when `plan` last ran."""
        return dict(self._unplaceable)

    def plan(
        self, now_ms: int, ledger: LedgerView, workers: Sequence[WorkerView]
    ) -> list[Assignment]:
        """Up to `settings.batch` assignments; nothing is remembered of them."""
        waiting = ledger.pending_counts()
        skills = self._skills_of(now_ms, ledger, workers, waiting)
        self._unplaceable = {skill: n for skill, n in waiting.items() if skill not in skills}
        plan: list[Assignment] = []
        for task in _in_order(ledger, skills, 4 * self._settings.batch):
            last = task.last_attempt
            avoid = last.peer if last is not None and last.ended in BAD_ENDS else None
            slot = skills[task.spec.skill].choose(avoid)
            if slot is None:
                continue
            slot.held += 1
            worker = slot.worker
            plan.append(
                Assignment(task.spec.task_id, worker.peer, slot.agent.name, worker.incarnation)
            )
            if len(plan) >= self._settings.batch:
                break
        return plan

    def _skills_of(
        self,
        now_ms: int,
        ledger: LedgerView,
        workers: Sequence[WorkerView],
        waiting: Mapping[str, int],
    ) -> dict[str, _Skill]:
        skills: dict[str, _Skill] = {}
        order = itertools.count()
        meant: dict[str | None, list[tuple[str, str]]] = {}
        for skill in waiting:
            plain, peer_id = peer_meant(skill)
            if peer_id is not None:
                meant.setdefault(peer_id, []).append((skill, plain))
        for worker in workers:
            if not worker.alive:
                continue
            held = ledger.held_by(worker.peer)
            for agent in worker.agents:
                # Sorted: a set's order differs from process to process, and ties use the rng.
                wanted = sorted(agent.skills & waiting.keys()) if agent.capacity > 0 else []
                if agent.capacity > 0 and worker.peer in meant:
                    wanted += sorted(s for s, plain in meant[worker.peer] if plain in agent.skills)
                if not wanted:
                    continue
                slot = self._slot(now_ms, worker, agent, held.get(agent.name, 0), next(order))
                for skill in wanted:
                    offer = skills.setdefault(skill, _Skill())
                    offer.peers.add(worker.peer)
                    if slot.held < slot.room:
                        offer.slots.append(slot)
        for skill, offer in skills.items():
            self._fill_heap(now_ms, skill, offer)
        return skills

    def _slot(
        self, now_ms: int, worker: WorkerView, agent: AgentView, held: int, order: int
    ) -> _Slot:
        room = agent.capacity + self._settings.prefetch
        paused_since_ms = now_ms - self._settings.released_pause_ms
        if self._history.released_since(worker.peer, agent.name, paused_since_ms):
            room = 0
        noise = self._settings.noise * self._rng.random()
        return _Slot(worker, agent, held, room, order, noise)

    def _fill_heap(self, now_ms: int, skill: str, offer: _Skill) -> None:
        settings, history = self._settings, self._history
        durations = [history.duration_ms(slot.worker.peer, skill) for slot in offer.slots]
        known = [duration for duration in durations if duration is not None]
        fastest = min(known, default=0.0)
        for slot, duration in zip(offer.slots, durations, strict=True):
            slowness = 1.0 - fastest / duration if duration else 0.0
            rest = (
                settings.load_weight * slot.reported_load
                + settings.failure_weight * history.failure_rate(slot.worker.peer, skill, now_ms)
                + settings.slowness_weight * slowness
                + settings.generality_weight * (1.0 - 1.0 / len(slot.agent.skills))
                + settings.degraded_weight * slot.agent.is_degraded
                + slot.noise
            )
            offer.heap.append((rest + slot.utilisation, slot.order, slot.held, rest, slot))
        heapq.heapify(offer.heap)


def _in_order(ledger: LedgerView, skills: Mapping[str, _Skill], limit: int) -> Iterator[Task]:
    """Waiting tasks of skills that still have room, over all skills by priority and submission.

    `limit` bounds how many are looked at of one skill, since those that avoid a peer are passed by.
    """
    heads: list[tuple[int, int, str, int, Task, Iterator[Task]]] = []

    def advance(skill: str, seen: int, tasks: Iterator[Task]) -> None:
        task = next(tasks, None) if skills[skill].heap and seen < limit else None
        if task is not None:
            head = (-task.spec.priority, task.sequence, skill, seen + 1, task, tasks)
            heapq.heappush(heads, head)

    for skill in skills:
        advance(skill, 0, ledger.waiting(skill))
    while heads:
        _, _, skill, seen, task, tasks = heapq.heappop(heads)
        yield task
        advance(skill, seen, tasks)
