"""The state of the store, and the few ways in which it changes.

Every change of a key, lock or session goes through a function here, which keeps sums, order, feed
and deadlines in step. `check` compares them with the state from scratch.

Invariants: `total_bytes` and `expiring_keys` add up; the ordered keys are the keys; nothing carries
an index above `index`; limits hold; a lock that is tied to a session is among that session's.
What this module does not know: bytes on the wire, when a change is allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Final

from consensus.kv.deadlines import Deadlines
from consensus.kv.feed import Feed
from consensus.kv.locks import Lock, LockTable
from consensus.kv.model import (
    MAX_OPS,
    MAX_REMEMBERED,
    WINDOW,
    Cause,
    ClientId,
    Entry,
    Expiry,
    Limits,
    Token,
    What,
)
from consensus.kv.sessions import Session, SessionTable
from consensus.kv.sorted_keys import SortedKeys

_PUT: Final = Cause.PUT  # to look a member up in its enum costs more than the rest of a change
# What `Entry` does, without a call in Python: there is one for each write.
_entry_of: Callable[[tuple[bytes, int, int, int | None]], Entry] = partial(tuple.__new__, Entry)


def key_bytes(key: str) -> int:
    """How long a key is as UTF-8."""
    return len(key) if key.isascii() else len(key.encode())


class KvState:
    """Plain data and its indexes; `rules` decides, this keeps the books."""

    def __init__(self, limits: Limits, feed: Feed) -> None:
        self.limits = limits
        self.index = 0
        self.time_ms = 0
        self.entries: dict[str, Entry] = {}
        self.keys = SortedKeys()
        self.total_bytes = 0
        self.expiring_keys = 0
        self.locks = LockTable()
        self.sessions = SessionTable()
        self.deadlines = Deadlines(self.deadline_of, self._living)
        self.feed = feed

    # -- keys ----------------------------------------------------------------------------------

    def set_entry(
        self, key: str, value: bytes, created: int, expires_ms: int | None, old: Entry | None
    ) -> None:
        """Set a key that is `old` now at the present index. The caller has checked that it fits."""
        self.place(key, _entry_of((value, self.index, created, expires_ms)), old)
        self.feed.add(self.index, _PUT, key, value)

    def place(self, key: str, entry: Entry, old: Entry | None) -> None:
        """Put an entry where `old` is now."""
        if old is None:
            self.keys.add(key)
            self.total_bytes += key_bytes(key) + len(entry.value)
        else:
            self.total_bytes += len(entry.value) - len(old.value)
            self.expiring_keys -= old.expires_ms is not None
        self.entries[key] = entry
        if entry.expires_ms is not None:
            self.expiring_keys += 1
            self.deadlines.add(What.KEY, key, entry.version, entry.expires_ms)

    def remove_entry(self, key: str, entry: Entry, cause: Cause) -> None:
        del self.entries[key]
        self.keys.remove(key)
        self.total_bytes -= key_bytes(key) + len(entry.value)
        self.expiring_keys -= entry.expires_ms is not None
        self.feed.add(self.index, cause, key, None)

    # -- locks ---------------------------------------------------------------------------------

    def hold(self, name: str, token: Token, holder: str, deadline_ms: int) -> Lock:
        """A free lock is held from now on, tied to no session yet."""
        lock = Lock(name, token, holder, deadline_ms, None)
        self.locks.take(lock)
        self.deadlines.add(What.LOCK, name, token, deadline_ms)
        return lock

    def tie(self, lock: Lock, session: Session) -> None:
        lock.client = session.client
        session.locks[lock.name] = None

    def free(self, lock: Lock) -> None:
        if lock.client is not None:
            del self.sessions.by_client[lock.client].locks[lock.name]
        self.locks.give_back(lock)

    # -- sessions ------------------------------------------------------------------------------

    def open_session(self, client: ClientId, ttl_ms: int) -> Session:
        """A new session; the one unused for the longest time makes room."""
        if len(self.sessions) >= self.limits.max_sessions:
            self._evict(self.sessions.oldest())
        session = Session(client, self.index, ttl_ms)
        self.sessions.add(session)
        self.sessions.use(session, self.index, self.time_ms)
        self.deadlines.add(What.SESSION, client, session.number, session.deadline_ms)
        return session

    def end_session(self, session: Session) -> None:
        """End it by decision: its locks are free, in the order of their names."""
        for name in sorted(session.locks):
            self.free(self.locks.held[name])
        self.sessions.remove(session)

    def _evict(self, session: Session) -> None:
        # Its client was promised its locks until their deadlines, so they stay held until then.
        for name in session.locks:
            self.locks.held[name].client = None
        self.sessions.remove(session)

    # -- deadlines -----------------------------------------------------------------------------

    def deadline_of(self, expiry: Expiry) -> int | None:
        """The present deadline of what this means, None if that is gone or has none."""
        if expiry.what is What.KEY:
            entry = self.entries.get(expiry.name)
            current = entry is not None and entry.version == expiry.mark
            return entry.expires_ms if entry is not None and current else None
        if expiry.what is What.LOCK:
            lock = self.locks.held.get(expiry.name)
            return lock.deadline_ms if lock is not None and lock.token == expiry.mark else None
        session = self.sessions.get(expiry.name, expiry.mark)
        return None if session is None else session.deadline_ms

    def _living(self) -> int:
        return self.expiring_keys + len(self.locks.held) + len(self.sessions)


def check(state: KvState) -> None:
    """Assert every invariant; linear in all that there is."""
    state.keys.check()
    state.feed.check(state.index)
    _check_entries(state)
    _check_locks(state)
    _check_sessions(state)
    earliest = state.deadlines.earliest()
    for expiry, deadline_ms in _deadlines(state):
        assert state.deadline_of(expiry) == deadline_ms
        assert earliest[expiry] <= deadline_ms


def _check_entries(state: KvState) -> None:
    entries, limits = state.entries, state.limits
    assert list(state.keys) == sorted(entries)
    assert state.total_bytes == sum(key_bytes(k) + len(e.value) for k, e in entries.items())
    assert state.expiring_keys == sum(e.expires_ms is not None for e in entries.values())
    assert all(0 < e.created_index <= e.version <= state.index for e in entries.values())
    assert len(entries) <= limits.max_keys
    assert state.total_bytes <= limits.max_total_bytes


def _check_locks(state: KvState) -> None:
    locks = state.locks
    assert not locks.held.keys() & locks.free.keys()
    assert len(locks) <= state.limits.max_locks
    for name, lock in locks.held.items():
        assert name == lock.name
        assert 0 < lock.token <= state.index
        assert lock.client is None or name in state.sessions.by_client[lock.client].locks
    assert all(0 < token <= state.index for token in locks.free.values())


def _check_sessions(state: KvState) -> None:
    sessions = list(state.sessions.by_client.values())
    assert len(sessions) <= state.limits.max_sessions
    used = [session.last_used_index for session in sessions]
    assert all(a < b for a, b in pairwise(used))
    for session in sessions:
        assert 0 < session.number <= session.last_used_index <= state.index
        assert session.remembered == sum(len(r.results) for r in session.replies.values())
        assert session.remembered <= MAX_REMEMBERED + MAX_OPS
        assert all(0 < sequence - session.acknowledged <= WINDOW for sequence in session.replies)
        assert all(r.log_index <= session.last_used_index for r in session.replies.values())
        for name in session.locks:
            assert state.locks.held[name].client == session.client


def _deadlines(state: KvState) -> list[tuple[Expiry, int]]:
    found = [
        (Expiry(What.KEY, key, entry.version), entry.expires_ms)
        for key, entry in state.entries.items()
        if entry.expires_ms is not None
    ]
    for name, lock in state.locks.held.items():
        found.append((Expiry(What.LOCK, name, lock.token), lock.deadline_ms))
    for client, session in state.sessions.by_client.items():
        found.append((Expiry(What.SESSION, client, session.number), session.deadline_ms))
    return found
