"""Clients of the store, each with one request at a time, and what they saw.

Some have sessions and ask again until they know; some give up and never know. Whoever leads also
ends what has run out. Everything is recorded, and judged when the run is over:

  9  what clients saw of keys is linearizable
 10  what they saw of locks is, too: one holder at a time, tokens that grow

What this module does not know: faults, how commands are decided.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from consensus.kv.commands import (
    Operation as StoreOperation,
)
from consensus.kv.commands import (
    acquire,
    compare_set,
    delete,
    encode,
    encode_expire,
    encode_register,
    put,
    release,
    renew,
)
from consensus.kv.model import ClientId, Refusal, Reply, SessionRef, What
from consensus.sim.cluster import Cluster
from consensus.sim.histories import REFUSED, UNKNOWN, Done, Outcome, Recorder
from consensus.sim.invariants import InvariantBroken
from consensus.sim.linearizable import Verdict, check
from consensus.sim.machine import store_command
from consensus.sim.models import (
    Acquire,
    Cas,
    Delete,
    Expire,
    KeyValue,
    KeyValueOp,
    LeaseLedger,
    LeaseOp,
    Look,
    Read,
    Release,
    Renew,
    Write,
)
from consensus.sim.schedule import Call
from consensus.sim.voter import Voter

KEYS = ("a", "b", "c")
LOCKS = ("x", "y")
LEASE_MS = 700
SESSION_MS = 4_000
TRIES = 6
PATIENCE_MS = 1_500
AGAIN_MS = 150
MAX_STATES = 20_000

AnyOp = KeyValueOp | LeaseOp

_NO = {Refusal.VALUE_MISMATCH, Refusal.NOT_FOUND, Refusal.EXISTS, Refusal.STALE_TOKEN,
       Refusal.NOT_HELD}  # fmt: skip


@dataclass(slots=True)
class _Client:
    name: ClientId
    has_sessions: bool
    session: int | None = None
    sequence: int = 0
    acknowledged: int = 0
    is_busy: bool = False
    seen: dict[str, bytes | None] = field(default_factory=dict)  # by key
    tokens: dict[str, int] = field(default_factory=dict)  # by lock


@dataclass(slots=True)
class _Request:
    """One operation of one client, over all its attempts."""

    client: _Client
    op: AnyOp | None  # None: a session is wanted
    record: int
    rng: random.Random
    tries: int = 0
    attempt: int = 0  # the one that counts
    is_unsure: bool = False  # an attempt before this one may have happened


class Clients:
    """All clients of a run."""

    def __init__(
        self, cluster: Cluster, count: int, generator: Callable[[str], random.Random]
    ) -> None:
        self._cluster = cluster
        self._generator = generator
        rng = generator("clients")
        self._clients = [
            _Client(ClientId(f"{number:032x}"), rng.random() < 0.7) for number in range(count)
        ]
        self.keys: Recorder[KeyValueOp] = Recorder()
        self.leases: Recorder[LeaseOp] = Recorder()

    def call(self, call: Call) -> None:
        """One of them wants something, if it is not busy."""
        rng = self._generator(f"call/{call.number}")
        if call.what == "expire":
            self._expire(rng)
            return
        client = self._clients[call.client]
        if client.is_busy:
            return
        client.is_busy = True
        if client.has_sessions and client.session is None:
            self._try(_Request(client, None, -1, rng))
            return
        op = self._draw(call, client, rng)
        now_ms = self._cluster.timeline.now_ms
        if isinstance(op, KeyValueOp):
            record = self.keys.invoke(client.name[-2:], op, now_ms)
        else:
            record = self.leases.invoke(client.name[-2:], op, now_ms)
        client.sequence += 1
        self._try(_Request(client, op, record, rng))

    def judge(self) -> None:
        """9 and 10, over the whole run."""
        for number, judgement in (
            (9, check(self.keys.history(), KeyValue(), MAX_STATES)),
            (10, check(self.leases.history(), LeaseLedger(), MAX_STATES)),
        ):
            if judgement.verdict is Verdict.VIOLATION:
                raise InvariantBroken(number, str(judgement))
            if judgement.verdict is Verdict.UNDECIDED:
                self._cluster.marks.hit("history undecided")

    # -- what they want ------------------------------------------------------------------------

    def _draw(self, call: Call, client: _Client, rng: random.Random) -> AnyOp:
        key, lock = rng.choice(KEYS), rng.choice(LOCKS)
        value = b"%d" % call.number
        match call.what:
            case "read":
                return Read(key)
            case "write":
                return Write(key, value)
            case "delete":
                return Delete(key)
            case "cas":
                return Cas(key, client.seen.get(key), value)
            case "look":
                return Look(lock)
        token = client.tokens.get(lock)
        if token is None:
            return Acquire(lock)
        return rng.choice((Renew, Release))(lock, token)

    def _expire(self, rng: random.Random) -> None:
        """A leader proposes to end what has run out."""
        leaders = self._cluster.leaders
        if not leaders:
            return
        leader = rng.choice(leaders)
        time_ms = self._ledger_ms(leader)
        items = leader.machine.store.expired(time_ms, 10)
        if not items:
            return
        now_ms = self._cluster.timeline.now_ms
        records = [
            self.leases.invoke("ledger", Expire(item.name, item.mark), now_ms)
            if item.what is What.LOCK
            else None
            for item in items
        ]

        def settle(outcome: Outcome) -> None:
            now_ms = self._cluster.timeline.now_ms
            for number, record in enumerate(records):
                if record is None:
                    continue
                fate = outcome
                if isinstance(outcome, Done) and isinstance(outcome.value, Reply):
                    result = outcome.value.results[number]
                    self._cluster.marks.hit("lease expired" if result.accepted else "lease lived")
                    fate = REFUSED if result.refusal is Refusal.NOT_DUE else Done(result.accepted)
                self.leases.settle(record, fate, now_ms)

        command = store_command(time_ms, encode_expire(items))
        self._cluster.desk.propose(leader, [command], settle)

    def _ledger_ms(self, leader: Voter) -> int:
        """Leaders' readings differ a little."""
        return self._cluster.timeline.now_ms + 100 + len(leader.name) * int(leader.name[1:]) % 90

    # -- attempts ------------------------------------------------------------------------------

    def _try(self, request: _Request) -> None:
        """Ask whoever believes to lead, now and then anyone."""
        request.tries += 1
        request.attempt += 1
        attempt, rng = request.attempt, request.rng
        targets = self._cluster.leaders
        if not targets or rng.random() < 0.1:
            targets = self._cluster.up
        if not targets:
            self._settle(request, attempt, REFUSED)
            return
        target = rng.choice(targets)
        self._cluster.timeline.after(PATIENCE_MS, lambda: self._settle(request, attempt, UNKNOWN))
        op = request.op
        if isinstance(op, Read | Look):
            self._cluster.desk.read(
                target,
                lambda voter: self._settle(request, attempt, Done(_state_of(voter, op))),
                lambda outcome: self._settle(request, attempt, outcome),
            )
            return
        command = store_command(self._ledger_ms(target), self._command(request.client, op))
        self._cluster.desk.propose(
            target, [command], lambda outcome: self._settle(request, attempt, outcome)
        )

    @staticmethod
    def _command(client: _Client, op: AnyOp | None) -> bytes:
        if op is None:
            return encode_register(client.name, SESSION_MS)
        session = None
        if client.session is not None:
            session = SessionRef(client.name, client.session, client.sequence, client.acknowledged)
        return encode(_operation(client, op), session)

    def _settle(self, request: _Request, attempt: int, outcome: Outcome) -> None:
        """An attempt ended; only the latest one counts."""
        if attempt != request.attempt:
            return
        request.attempt += 1
        client = request.client
        if isinstance(outcome, Done):
            self._answered(request, outcome)
            return
        if outcome is UNKNOWN:
            request.is_unsure = True
        is_safe = client.session is not None or isinstance(request.op, Read | Look | None)
        may_repeat = is_safe or not request.is_unsure
        if may_repeat and request.tries < TRIES:
            if request.is_unsure:
                self._cluster.marks.hit("request repeated")
            delay_ms = request.rng.randrange(AGAIN_MS)
            self._cluster.timeline.after(delay_ms, lambda: self._try(request))
        else:
            self._end(request, UNKNOWN if request.is_unsure else REFUSED)

    def _answered(self, request: _Request, outcome: Done) -> None:
        client, op, value = request.client, request.op, outcome.value
        if isinstance(op, Read | Look):
            if isinstance(op, Read):
                client.seen[op.key] = value if isinstance(value, bytes) else None
            self._end(request, outcome)
            return
        assert isinstance(value, Reply)
        if value.refusal is not None:
            if value.refusal is Refusal.SESSION_GONE:
                self._cluster.marks.hit("session gone")
                client.session = None
            self._end(request, UNKNOWN if request.is_unsure else REFUSED)
            return
        result = value.results[0]
        if op is None:
            client.session, client.sequence, client.acknowledged = result.token, 0, 0
            client.is_busy = False
            return
        if isinstance(op, Acquire):
            held = result.token if result.accepted else None
            if held is not None:
                client.tokens[op.task] = held
            self._end(request, Done(held))
        elif isinstance(op, Write | Delete):
            self._end(request, Done(None))
        else:
            assert result.accepted or result.refusal in _NO, result.refusal
            self._end(request, Done(result.accepted))

    def _end(self, request: _Request, outcome: Outcome) -> None:
        client, op = request.client, request.op
        client.is_busy = False
        if op is None:
            return
        # What is not known is not wanted any more: it never happens from now on, or it has.
        client.acknowledged = client.sequence
        if isinstance(op, Renew | Release) and outcome != Done(value=True):
            client.tokens.pop(op.task, None)
        if isinstance(op, Release):
            client.tokens.pop(op.task, None)
        recorder = self.keys if isinstance(op, KeyValueOp) else self.leases
        recorder.settle(request.record, outcome, self._cluster.timeline.now_ms)


def _operation(client: _Client, op: AnyOp) -> StoreOperation:
    match op:
        case Write(key, value) if isinstance(value, bytes):
            return put(key, value)
        case Delete(key):
            return delete(key)
        case Cas(key, expected, value) if isinstance(value, bytes):
            assert expected is None or isinstance(expected, bytes)
            return compare_set(key, expected, value)
        case Acquire(task):
            return acquire(task, client.name, LEASE_MS)
        case Renew(task, token):
            return renew(task, token, LEASE_MS)
        case Release(task, token):
            return release(task, token)
    raise AssertionError(op)


def _state_of(voter: Voter, op: Read | Look) -> bytes | tuple[int | None, None] | None:
    store = voter.machine.store
    if isinstance(op, Read):
        entry = store.get(op.key)
        return None if entry is None else entry.value
    lock = store.lock(op.task)
    return (None if lock is None or lock.holder is None else lock.token, None)
