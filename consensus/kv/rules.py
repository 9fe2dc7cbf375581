"""What each operation demands and does. Every rule is total: bad arguments are a refusal.

Time plays no part in these rules but to set deadlines: what has run out goes on as before until its
expiry is decided, so that every replica agrees on when it ended (L3).

Invariants: a refused operation changes nothing.
What this module does not know: commands, sessions beyond their locks, the log.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from consensus.kv.commands import Kind, is_count
from consensus.kv.locks import Lock
from consensus.kv.model import (
    MAX_DURATION_MS,
    MAX_HOLDER_BYTES,
    MAX_KEY_BYTES,
    MAX_VALUE_BYTES,
    MIN_LEASE_MS,
    Cause,
    Entry,
    Refusal,
    Result,
    Token,
)
from consensus.kv.sessions import Session
from consensus.kv.state import KvState, key_bytes

Rule = Callable[[KvState, Session | None, list[Any]], Result]

_MALFORMED: Final = Result(Refusal.MALFORMED)
_SHORT_NAME: Final = MAX_KEY_BYTES // 4  # characters that fit whatever they are
# What `Result` does, without a call in Python: there is one for each write.
_result_of: Callable[[tuple[Refusal | None, int, int, int]], Result] = partial(
    tuple.__new__, Result
)


def run(state: KvState, session: Session | None, raw: Any) -> Result:
    """Run one operation at the state's index; `raw` is `[kind, ...]` as it was decoded."""
    if type(raw) is not list or not raw or type(raw[0]) is not int:
        return _MALFORMED
    return RULES[raw[0]](state, session, raw)  # decoding refused kinds that are not in here


# -- keys -------------------------------------------------------------------------------------


def _put(state: KvState, session: Session | None, raw: list[Any]) -> Result:
    if len(raw) != 4:
        return _MALFORMED
    _, key, value, ttl_ms = raw
    refusal = _refusal_of_write(key, value, ttl_ms)
    return Result(refusal) if refusal else _write(state, key, value, ttl_ms)


def _delete(state: KvState, session: Session | None, raw: list[Any]) -> Result:
    if len(raw) != 3:
        return _MALFORMED
    _, key, version = raw
    refusal = _refusal_of_name(key)
    if refusal or not (version is None or is_count(version)):
        return Result(refusal or Refusal.MALFORMED)
    entry = state.entries.get(key)
    if entry is None:
        return Result(Refusal.NOT_FOUND)
    if version is not None and version != entry.version:
        return _refused(Refusal.VERSION_MISMATCH, entry)
    state.remove_entry(key, entry, Cause.DELETED)
    return Result(None)


def _compare_set(state: KvState, session: Session | None, raw: list[Any]) -> Result:
    if len(raw) != 5:
        return _MALFORMED
    _, key, expected, value, ttl_ms = raw
    refusal = _refusal_of_write(key, value, ttl_ms)
    if refusal:
        return Result(refusal)
    if not (expected is None or type(expected) is bytes or is_count(expected)):
        return _MALFORMED
    entry = state.entries.get(key)
    if entry is None:
        return _write(state, key, value, ttl_ms) if expected is None else Result(Refusal.NOT_FOUND)
    if expected is None:
        return _refused(Refusal.EXISTS, entry)
    if type(expected) is bytes:
        if entry.value != expected:
            return _refused(Refusal.VALUE_MISMATCH, entry)
    elif entry.version != expected:
        return _refused(Refusal.VERSION_MISMATCH, entry)
    return _write(state, key, value, ttl_ms)


def _write(state: KvState, key: str, value: bytes, ttl_ms: int | None) -> Result:
    old, limits = state.entries.get(key), state.limits
    if old is None:
        grows, created = key_bytes(key) + len(value), state.index
        if len(state.entries) >= limits.max_keys:
            return Result(Refusal.TOO_MANY_KEYS)
    else:
        grows, created = len(value) - len(old.value), old.created_index
    if grows > 0 and state.total_bytes + grows > limits.max_total_bytes:
        return Result(Refusal.STORE_FULL) if old is None else _refused(Refusal.STORE_FULL, old)
    expires_ms = None if ttl_ms is None else state.time_ms + ttl_ms
    state.set_entry(key, value, created, expires_ms, old)
    return _result_of((None, state.index, 0, expires_ms or 0))


# -- locks ------------------------------------------------------------------------------------


def _acquire(state: KvState, session: Session | None, raw: list[Any]) -> Result:
    if len(raw) != 5:
        return _MALFORMED
    _, name, holder, lease_ms, tied = raw
    if not (type(holder) is str and 0 < key_bytes(holder) <= MAX_HOLDER_BYTES):
        return _MALFORMED
    if type(tied) is not bool:
        return _MALFORMED
    refusal = _refusal_of_name(name) or _refusal_of_lease(lease_ms)
    if refusal:
        return Result(refusal)
    lock = state.locks.held.get(name)
    if lock is not None:
        return Result(Refusal.HELD, 0, lock.token, lock.deadline_ms)
    if tied and session is None:
        return Result(Refusal.SESSION_REQUIRED)
    if state.locks.token_of(name) == state.index:
        # Its token would be that of the holder before, and tokens must tell them apart.
        return Result(Refusal.TAKEN_IN_THIS_COMMAND, 0, state.index)
    if not state.locks.has_room(name, state.index, state.limits.max_locks):
        return Result(Refusal.TOO_MANY_LOCKS)
    lock = state.hold(name, Token(state.index), holder, state.time_ms + lease_ms)
    if tied and session is not None:
        state.tie(lock, session)
    return Result(None, 0, lock.token, lock.deadline_ms)


def _renew(state: KvState, session: Session | None, raw: list[Any]) -> Result:
    if len(raw) != 4:
        return _MALFORMED
    _, name, token, lease_ms = raw
    refusal = _refusal_of_lease(lease_ms)
    if refusal:
        return Result(refusal)
    lock = _held(state, name, token)
    if isinstance(lock, Result):
        return lock
    # A holder counts on what it was promised before, so a lease never becomes shorter.
    lock.deadline_ms = max(lock.deadline_ms, state.time_ms + lease_ms)
    return Result(None, 0, lock.token, lock.deadline_ms)


def _release(state: KvState, session: Session | None, raw: list[Any]) -> Result:
    if len(raw) != 3:
        return _MALFORMED
    _, name, token = raw
    lock = _held(state, name, token)
    if isinstance(lock, Result):
        return lock
    state.free(lock)
    return Result(None, 0, lock.token)


def _complete(state: KvState, session: Session | None, raw: list[Any]) -> Result:
    if len(raw) != 4:
        return _MALFORMED
    _, name, token, value = raw
    refusal = _refusal_of_write(name, value, None)
    if refusal:
        return Result(refusal)
    lock = _held(state, name, token)
    if isinstance(lock, Result):
        return lock
    entry = state.entries.get(name)
    if entry is not None:
        return Result(Refusal.COMPLETED, entry.version, lock.token)
    written = _write(state, name, value, None)
    return Result(written.refusal, written.version, lock.token, lock.deadline_ms)


def _held(state: KvState, name: Any, token: Any) -> Lock | Result:
    """The lock that is held under this token, or why there is none."""
    refusal = _refusal_of_name(name)
    if refusal or not is_count(token):
        return Result(refusal or Refusal.MALFORMED)
    lock = state.locks.held.get(name)
    if lock is not None and lock.token == token:
        return lock
    highest = state.locks.token_of(name)
    stale = token < highest
    return Result(Refusal.STALE_TOKEN if stale else Refusal.NOT_HELD, 0, highest)


# -- arguments --------------------------------------------------------------------------------


def _refusal_of_write(key: Any, value: Any, ttl_ms: Any) -> Refusal | None:
    if type(value) is not bytes or not (ttl_ms is None or type(ttl_ms) is int):
        return Refusal.MALFORMED
    refusal = _refusal_of_name(key)
    if refusal:
        return refusal
    if len(value) > MAX_VALUE_BYTES:
        return Refusal.VALUE_TOO_LARGE
    in_range = ttl_ms is None or 0 < ttl_ms <= MAX_DURATION_MS
    return None if in_range else Refusal.OUT_OF_RANGE


def _refusal_of_name(name: Any) -> Refusal | None:
    if type(name) is not str:
        return Refusal.MALFORMED
    if 0 < len(name) <= _SHORT_NAME:
        return None
    return None if name and key_bytes(name) <= MAX_KEY_BYTES else Refusal.KEY_INVALID


def _refusal_of_lease(lease_ms: Any) -> Refusal | None:
    if type(lease_ms) is not int:
        return Refusal.MALFORMED
    return None if MIN_LEASE_MS <= lease_ms <= MAX_DURATION_MS else Refusal.OUT_OF_RANGE


def _refused(refusal: Refusal, entry: Entry) -> Result:
    return Result(refusal, entry.version, 0, entry.expires_ms or 0)


RULES: Final[dict[int, Rule]] = {
    int(Kind.PUT): _put,
    int(Kind.DELETE): _delete,
    int(Kind.COMPARE_SET): _compare_set,
    int(Kind.ACQUIRE): _acquire,
    int(Kind.RENEW): _renew,
    int(Kind.RELEASE): _release,
    int(Kind.COMPLETE): _complete,
}
