"""What a store should do, said again in the plainest way: dicts, linear scans, no indexes.

It is given operations as they were made, not their bytes, and shares no code with the store but
its vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from consensus.kv import (
    Expiry,
    Kind,
    Limits,
    Operation,
    Refusal,
    Reply,
    Result,
    SessionRef,
    What,
)

WINDOW = 64


@dataclass
class Row:
    value: bytes
    version: int
    created: int
    expires: int | None


@dataclass
class Held:
    token: int
    holder: str
    deadline: int
    tie: str | None


@dataclass
class Sess:
    number: int
    ttl: int
    deadline: int
    used: int
    acked: int = 0
    replies: dict[int, Reply] = field(default_factory=dict)


class Model:
    """`index` and `now` are set by `begin`; then one of the other methods is the command."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.index = 0
        self.now = 0
        self.rows: dict[str, Row] = {}
        self.held: dict[str, Held] = {}
        self.free: list[tuple[str, int]] = []  # the longest free first
        self.sessions: dict[str, Sess] = {}
        self.changes: list[tuple[int, str, str, bytes | None]] = []

    def begin(self, index: int, now: int) -> None:
        self.index = index
        self.now = max(self.now, now)

    # -- commands ------------------------------------------------------------------------------

    def register(self, client: str, ttl: int) -> Reply:
        if client not in self.sessions:
            if len(self.sessions) == self.limits.max_sessions:
                oldest = min(self.sessions, key=lambda c: self.sessions[c].used)
                for lock in self.held.values():
                    if lock.tie == oldest:
                        lock.tie = None
                del self.sessions[oldest]
            self.sessions[client] = Sess(self.index, ttl, 0, 0)
        session = self._used(client)
        return self._one(Result(None, 0, session.number, session.deadline))

    def keep_alive(self, client: str, number: int) -> Reply:
        if not self._known(client, number):
            return Reply(self.index, Refusal.SESSION_GONE)
        return self._one(Result(None, 0, number, self._used(client).deadline))

    def end_session(self, client: str, number: int) -> Reply:
        if not self._known(client, number):
            return Reply(self.index, Refusal.SESSION_GONE)
        self._end(client)
        return self._one(Result(None, 0, number))

    def expire(self, items: list[Expiry]) -> Reply:
        return Reply(self.index, None, tuple(self._expire(item) for item in items))

    def request(self, ref: SessionRef | None, ops: list[Operation]) -> Reply:
        if ref is None:
            return Reply(self.index, None, tuple(self._run(op, None) for op in ops))
        if not self._known(ref.client, ref.number):
            return Reply(self.index, Refusal.SESSION_GONE)
        if ref.sequence <= ref.acknowledged:
            return Reply(self.index, Refusal.SEQUENCE_INVALID)
        session = self._used(ref.client)
        session.acked = max(session.acked, ref.acknowledged)
        session.replies = {s: r for s, r in session.replies.items() if s > session.acked}
        if ref.sequence <= session.acked:
            return Reply(self.index, Refusal.SEQUENCE_OLD)
        if ref.sequence not in session.replies:
            if ref.sequence > session.acked + WINDOW:
                return Reply(self.index, Refusal.WINDOW_FULL)
            results = tuple(self._run(op, ref.client) for op in ops)
            session.replies[ref.sequence] = Reply(self.index, None, results)
        return session.replies[ref.sequence]

    # -- reading -------------------------------------------------------------------------------

    def expired(self, now: int) -> list[Expiry]:
        due = [(r.expires, What.KEY, k, r.version) for k, r in self.rows.items() if r.expires]
        due += [(h.deadline, What.LOCK, n, h.token) for n, h in self.held.items()]
        due += [(s.deadline, What.SESSION, c, s.number) for c, s in self.sessions.items()]
        return [Expiry(*item[1:]) for item in sorted(due) if item[0] <= now]

    # -- operations ----------------------------------------------------------------------------

    def _run(self, op: Operation, client: str | None) -> Result:
        kind, *args = op
        method: Any = getattr(self, "_" + Kind(kind).name.lower())
        result: Result = method(client, *args)
        return result

    def _put(self, client: Any, key: str, value: bytes, ttl: int | None) -> Result:
        size = sum(len(k.encode()) + len(r.value) for k, r in self.rows.items() if k != key)
        old = self.rows.get(key)
        has = Result(Refusal.STORE_FULL)
        if old is None:
            if len(self.rows) == self.limits.max_keys:
                return Result(Refusal.TOO_MANY_KEYS)
        else:
            has = Result(Refusal.STORE_FULL, old.version, 0, old.expires or 0)
        grows = old is None or len(value) > len(old.value)
        if grows and size + len(key.encode()) + len(value) > self.limits.max_total_bytes:
            return has
        expires = None if ttl is None else self.now + ttl
        self.rows[key] = Row(value, self.index, old.created if old else self.index, expires)
        self.changes.append((self.index, "put", key, value))
        return Result(None, self.index, 0, expires or 0)

    def _delete(self, client: Any, key: str, version: int | None) -> Result:
        row = self.rows.get(key)
        if row is None:
            return Result(Refusal.NOT_FOUND)
        if version not in (None, row.version):
            return Result(Refusal.VERSION_MISMATCH, row.version, 0, row.expires or 0)
        self._drop(key, "deleted")
        return Result(None)

    def _compare_set(
        self, client: Any, key: str, expected: Any, value: bytes, ttl: int | None
    ) -> Result:
        row = self.rows.get(key)
        refusal = None
        if row is None:
            refusal = None if expected is None else Refusal.NOT_FOUND
        elif expected is None:
            refusal = Refusal.EXISTS
        elif isinstance(expected, bytes):
            refusal = None if row.value == expected else Refusal.VALUE_MISMATCH
        elif row.version != expected:
            refusal = Refusal.VERSION_MISMATCH
        if refusal is None:
            return self._put(client, key, value, ttl)
        return Result(refusal, row.version, 0, row.expires or 0) if row else Result(refusal)

    def _acquire(
        self, client: str | None, name: str, holder: str, lease: int, tied: bool
    ) -> Result:
        if name in self.held:
            lock = self.held[name]
            return Result(Refusal.HELD, 0, lock.token, lock.deadline)
        if tied and client is None:
            return Result(Refusal.SESSION_REQUIRED)
        if self._highest(name) == self.index:
            return Result(Refusal.TAKEN_IN_THIS_COMMAND, 0, self.index)
        if name in dict(self.free):
            self.free = [pair for pair in self.free if pair[0] != name]
        elif len(self.held) + len(self.free) == self.limits.max_locks:
            if not self.free or self.free[0][1] == self.index:
                return Result(Refusal.TOO_MANY_LOCKS)
            self.free.pop(0)
        self.held[name] = Held(self.index, holder, self.now + lease, client if tied else None)
        return Result(None, 0, self.index, self.now + lease)

    def _renew(self, client: Any, name: str, token: int, lease: int) -> Result:
        refused = self._not_held(name, token)
        if refused:
            return refused
        lock = self.held[name]
        lock.deadline = max(lock.deadline, self.now + lease)
        return Result(None, 0, token, lock.deadline)

    def _release(self, client: Any, name: str, token: int) -> Result:
        refused = self._not_held(name, token)
        if not refused:
            self._free(name)
        return refused or Result(None, 0, token)

    def _complete(self, client: Any, name: str, token: int, value: bytes) -> Result:
        refused = self._not_held(name, token)
        if refused:
            return refused
        if name in self.rows:
            return Result(Refusal.COMPLETED, self.rows[name].version, token)
        result = self._put(client, name, value, None)
        return Result(result.refusal, result.version, token, self.held[name].deadline)

    # -- within --------------------------------------------------------------------------------

    def _expire(self, item: Expiry) -> Result:
        what, name, mark = item
        found: list[int] = []
        if what == What.KEY and name in self.rows and self.rows[name].version == mark:
            found = [self.rows[name].expires or 0]
        if what == What.LOCK and name in self.held and self.held[name].token == mark:
            found = [self.held[name].deadline]
        if what == What.SESSION and self._known(name, mark):
            found = [self.sessions[name].deadline]
        if not found or not found[0]:
            return Result(Refusal.NOT_FOUND)
        if found[0] > self.now:
            return Result(Refusal.NOT_DUE, 0, 0, found[0])
        if what == What.KEY:
            self._drop(name, "expired")
        elif what == What.LOCK:
            self._free(name)
        else:
            self._end(name)
        return Result(None)

    def _drop(self, key: str, cause: str) -> None:
        del self.rows[key]
        self.changes.append((self.index, cause, key, None))

    def _highest(self, name: str) -> int:
        return self.held[name].token if name in self.held else dict(self.free).get(name, 0)

    def _not_held(self, name: str, token: int) -> Result | None:
        if name in self.held and self.held[name].token == token:
            return None
        highest = self._highest(name)
        stale = token < highest
        return Result(Refusal.STALE_TOKEN if stale else Refusal.NOT_HELD, 0, highest)

    def _free(self, name: str) -> None:
        self.free.append((name, self.held.pop(name).token))

    def _known(self, client: str, number: int) -> bool:
        return client in self.sessions and self.sessions[client].number == number

    def _used(self, client: str) -> Sess:
        session = self.sessions[client]
        session.used = self.index
        session.deadline = self.now + session.ttl
        return session

    def _end(self, client: str) -> None:
        for name in sorted(n for n, lock in self.held.items() if lock.tie == client):
            self._free(name)
        del self.sessions[client]

    def _one(self, result: Result) -> Reply:
        return Reply(self.index, None, (result,))
