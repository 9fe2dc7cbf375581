"""The ledger once more, as naively as possible: lists, full scans, no indexes.

Written from the rules in `agents/DESIGN.md` and not from the code, so that both can be compared
after every entry. Also the random logs that drive the two.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from ledger_lab import spec, task_id

from agents.ledger import (
    Assignment,
    Completion,
    ErrorText,
    Failure,
    Kind,
    LeaseRef,
    PeerEnd,
    Release,
    Renewal,
    TaskId,
    TaskSpec,
    Token,
    encode,
)
from keys import PeerId

PEERS = [PeerId(name) for name in ("anna", "ben", "cara")]
SKILLS = ["ocr", "sum"]


@dataclass
class ModelTask:
    spec: TaskSpec
    order: int
    state: str = "pending"
    attempts: int = 0
    executions: int = 0
    token: int = 0
    peer: str | None = None
    incarnation: int = 0
    deadline_ms: int = 0
    result: bytes | None = None
    ended: list[tuple[int, str]] = field(default_factory=list)
    completions: int = 0


class Model:
    """`apply` takes typed items, so it shares neither parsing nor bytes with the ledger."""

    def __init__(self) -> None:
        self.time_ms = 0
        self.tasks: list[ModelTask] = []
        self.submitted = 0

    def find(self, wanted: TaskId) -> ModelTask | None:
        return next((task for task in self.tasks if task.spec.task_id == wanted), None)

    def apply(self, index: int, kind: Kind, time_ms: int, items: list[object]) -> list[str]:
        """Whether each item changed or confirmed something: "ok", "dup" or "no"."""
        self.time_ms = max(self.time_ms, time_ms)
        return [word for item in items for word in self._item(index, kind, item)]

    def _item(self, index: int, kind: Kind, item: object) -> list[str]:
        match item:
            case TaskSpec():
                return [self._submit(item)]
            case Assignment():
                return [self._assign(index, item)]
            case Renewal():
                return [self._renew(item.peer, ref) for ref in item.leases]
            case PeerEnd():
                return self._peer_end(item)
            case LeaseRef():
                return [self._expire(item)]
            case Completion() | Failure() | Release():
                return [self._report(item)]
            case str():
                return [self._operate(kind, TaskId(item))]
        raise AssertionError(item)

    def _submit(self, item: TaskSpec) -> str:
        for task in self.tasks:
            same_key = item.key is not None and item.key == task.spec.key
            if task.spec.task_id == item.task_id or (same_key and item.skill == task.spec.skill):
                return "dup"
        self.submitted += 1
        self.tasks.append(ModelTask(item, self.submitted))
        return "ok"

    def _assign(self, index: int, item: Assignment) -> str:
        task = self.find(item.task_id)
        if task is None or task.state != "pending":
            return "no"
        task.state, task.peer, task.incarnation = "assigned", item.peer, item.incarnation
        task.attempts += 1
        task.executions += 1
        assert index > task.token
        task.token = index
        task.deadline_ms = self.time_ms + task.spec.lease_ms
        return "ok"

    def _renew(self, peer: str, ref: LeaseRef) -> str:
        task = self._held(ref.task_id, ref.token)
        if task is None or task.peer != peer:
            return "no"
        task.deadline_ms = max(task.deadline_ms, self.time_ms + task.spec.lease_ms)
        return "ok"

    def _peer_end(self, item: PeerEnd) -> list[str]:
        lost = [
            task
            for task in self.tasks
            if task.state == "assigned"
            and task.peer == item.peer
            and task.incarnation <= item.incarnation
        ]
        for task in lost:
            self._end(task, "peer_lost", self._after_loss(task))
        return ["ok"] * len(lost)

    def _expire(self, ref: LeaseRef) -> str:
        task = self._held(ref.task_id, ref.token)
        if task is None or task.deadline_ms > self.time_ms:
            return "no"
        self._end(task, "expired", self._after_loss(task))
        return "ok"

    def _report(self, item: Completion | Failure | Release) -> str:
        ended = {Completion: "completed", Failure: "failed", Release: "released"}[type(item)]
        task = self._held(item.task_id, item.token)
        if task is None:
            known = self.find(item.task_id)
            again = known is not None and known.state != "assigned" and known.peer == item.peer
            return "dup" if again and known and known.ended[-1:] == [(item.token, ended)] else "no"
        if task.peer != item.peer:
            return "no"
        if isinstance(item, Completion):
            task.result = item.result
            task.completions += 1
            self._end(task, ended, "done")
        elif isinstance(item, Release):
            task.attempts -= 1
            task.executions -= 1
            self._end(task, ended, "pending")
        else:
            self._end(task, ended, self._after_loss(task) if item.retryable else "failed")
        return "ok"

    def _operate(self, kind: Kind, wanted: TaskId) -> str:
        task = self.find(wanted)
        if task is None:
            return "no"
        if kind is Kind.CANCELLED:
            if task.state == "cancelled":
                return "dup"
            if task.state in ("done", "failed"):
                return "no"
            if task.state == "assigned":
                self._end(task, "cancelled", "cancelled")
            task.state = "cancelled"
        elif kind is Kind.RETRIED:
            if task.state != "parked":
                return "no"
            task.state, task.attempts = "pending", 0
        else:
            if task.state not in ("done", "failed", "cancelled"):
                return "no"
            self.tasks.remove(task)
        return "ok"

    def _held(self, wanted: TaskId, token: int) -> ModelTask | None:
        task = self.find(wanted)
        held = task is not None and task.state == "assigned" and task.token == token
        return task if held else None

    def _end(self, task: ModelTask, ended: str, state: str) -> None:
        task.ended.append((task.token, ended))
        task.state = state

    def _after_loss(self, task: ModelTask) -> str:
        return "pending" if task.attempts < task.spec.max_attempts else "parked"


class RandomLog:
    """Typed commands at random, biased towards tokens and tasks that exist."""

    def __init__(self, rng: random.Random, model: Model) -> None:
        self._rng = rng
        self._model = model
        self._time_ms = 0

    def next(self) -> tuple[Kind, int, list[object]]:
        rng = self._rng
        self._time_ms += rng.choice([0, 1, 50, 400])
        kind = rng.choices(list(Kind)[:11], [6, 8, 3, 6, 4, 1, 4, 2, 1, 2, 1])[0]
        time_ms = max(0, self._time_ms - rng.choice([0, 0, 0, 500]))
        return kind, time_ms, [self._draw(kind) for _ in range(rng.choice([1, 1, 2, 5]))]

    def _draw(self, kind: Kind) -> object:
        rng = self._rng
        wanted, token, peer = self._lease()
        incarnation = rng.randint(1, 3)
        match kind:
            case Kind.SUBMITTED:
                return self._spec()
            case Kind.ASSIGNED:
                pending = [task for task in self._model.tasks if task.state == "pending"]
                if pending and rng.random() < 0.8:
                    wanted = rng.choice(pending).spec.task_id
                return Assignment(wanted, peer, rng.choice(["x", "y"]), incarnation)
            case Kind.RENEWED:
                leases = tuple(LeaseRef(*self._lease()[:2]) for _ in range(rng.randint(0, 3)))
                return Renewal(peer, incarnation, leases)
            case Kind.COMPLETED:
                return Completion(wanted, token, peer, rng.randbytes(3))
            case Kind.FAILED:
                return Failure(wanted, token, peer, ErrorText("E", "m"), rng.random() < 0.7)
            case Kind.LEASES_ENDED:
                return PeerEnd(rng.choice(PEERS), incarnation, "peer died")
            case Kind.EXPIRED:
                return LeaseRef(wanted, token)
            case Kind.RELEASED:
                return Release(wanted, token, peer, "draining")
        return wanted

    def _spec(self) -> TaskSpec:
        rng = self._rng
        return spec(
            rng.randint(1, 60),
            skill=rng.choice(SKILLS),
            key=rng.choice([None, None, "k1", "k2", "k3"]),
            max_attempts=rng.randint(1, 3),
            priority=rng.choice([0, 0, 1, -5]),
            lease_ms=rng.choice([100, 1000]),
            job=rng.choice([None, "night"]),
        )

    def _lease(self) -> tuple[TaskId, Token, PeerId]:
        """Usually a lease that is or was; sometimes with another token or peer."""
        rng = self._rng
        tasks = self._model.tasks
        if not tasks:
            return task_id(rng.randint(1, 60)), Token(rng.randint(0, 5)), rng.choice(PEERS)
        task = rng.choice(tasks)
        token = task.token if rng.random() < 0.8 else rng.randint(0, task.token + 2)
        peer = task.peer if task.peer and rng.random() < 0.9 else rng.choice(PEERS)
        return task.spec.task_id, Token(token), PeerId(peer)


def random_log(seed: int, length: int) -> Iterator[tuple[int, bytes]]:
    """(index, command), as a cluster might have committed it; some indexes are skipped."""
    rng = random.Random(seed)
    model = Model()
    log = RandomLog(rng, model)
    index = 0
    for _ in range(length):
        index += rng.choice([1, 1, 1, 2])
        kind, time_ms, items = log.next()
        model.apply(index, kind, time_ms, items)
        yield index, encode(kind, time_ms, items)
