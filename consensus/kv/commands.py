"""Commands as bytes: msgpack arrays `[version, kind, ...]`, encoded once by whoever proposes.

    REGISTER     [1, 1, client, ttl_ms]
    KEEP_ALIVE   [1, 2, client, number]
    END_SESSION  [1, 3, client, number]
    EXPIRE       [1, 4, [[what, name, mark], ...]]      decided by a leader, judged again
    BATCH        [1, 5, session, [[kind, ...], ...]]    operations as below, each without session
    PUT          [1, 16, session, key, value, ttl_ms | nil]
    DELETE       [1, 17, session, key, version | nil]
    COMPARE_SET  [1, 18, session, key, nil | version | value, value, ttl_ms | nil]
    ACQUIRE      [1, 19, session, name, holder, lease_ms, tied]
    RENEW        [1, 20, session, name, token, lease_ms]
    RELEASE      [1, 21, session, name, token]
    COMPLETE     [1, 22, session, name, token, value]

`session` is nil or `[client, number, sequence, acknowledged]`; texts are str, values bin, `what` is
"key", "lock" or "session". The log keeps these bytes for ever: numbers are never reused, and a
change of shape is a new kind.

What this module does not know: what an operation means, and whether its arguments are allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from functools import partial
from typing import Any, Final, NamedTuple

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types

from consensus.kv.model import (
    MAX_EXPIRIES,
    MAX_INDEX,
    MAX_OPS,
    ClientId,
    Expiry,
    Refusal,
    SessionRef,
)

VERSION: Final = 1


class Kind(IntEnum):
    """What a command or an operation does. From 16 on: what may stand in a batch."""

    REGISTER = 1
    KEEP_ALIVE = 2
    END_SESSION = 3
    EXPIRE = 4
    BATCH = 5
    PUT = 16
    DELETE = 17
    COMPARE_SET = 18
    ACQUIRE = 19
    RENEW = 20
    RELEASE = 21
    COMPLETE = 22


_KINDS: Final = {int(kind): kind for kind in Kind}
FIRST_OPERATION: Final = 16
_BATCH: Final = Kind.BATCH  # to look a member up in its enum costs more than a comparison
_EXPIRE: Final = Kind.EXPIRE

Operation = tuple[Any, ...]  # kind and its arguments, as it is sent


class Request(NamedTuple):
    """A decoded command. Operations and arguments are raw: each is judged when it is applied.

    `session` and `ops` are those of a request; `args` those of the other kinds.
    """

    kind: Kind
    session: SessionRef | None
    ops: Sequence[Any]
    args: Sequence[Any]


_Fields = tuple[Kind, SessionRef | None, Sequence[Any], Sequence[Any]]
_request_of: Callable[[_Fields], Request] = partial(tuple.__new__, Request)  # no call in Python


# -- operations -------------------------------------------------------------------------------


def put(key: str, value: bytes, *, ttl_ms: int | None = None) -> Operation:
    """Set a key, and let it run out `ttl_ms` of ledger time after it is applied, or never."""
    return (Kind.PUT, key, value, ttl_ms)


def delete(key: str, *, version: int | None = None) -> Operation:
    """Remove a key, if it still has this version when one is given."""
    return (Kind.DELETE, key, version)


def compare_set(
    key: str, expected: int | bytes | None, value: bytes, *, ttl_ms: int | None = None
) -> Operation:
    """Set a key if it has this version (int) or this value (bytes), or if it is absent (None)."""
    return (Kind.COMPARE_SET, key, expected, value, ttl_ms)


def acquire(name: str, holder: str, lease_ms: int, *, tied: bool = False) -> Operation:
    """Take a free lock. `tied`: it is released with the session that this request is made in."""
    return (Kind.ACQUIRE, name, holder, lease_ms, tied)


def renew(name: str, token: int, lease_ms: int) -> Operation:
    """Hold a lock until `lease_ms` from when this is applied; never for less than so far."""
    return (Kind.RENEW, name, token, lease_ms)


def release(name: str, token: int) -> Operation:
    """Give a lock back."""
    return (Kind.RELEASE, name, token)


def complete(name: str, token: int, value: bytes) -> Operation:
    """Set the key of the lock's name, if the lock is held under this token and the key absent."""
    return (Kind.COMPLETE, name, token, value)


# -- commands ---------------------------------------------------------------------------------


def encode(op: Operation, session: SessionRef | None = None) -> bytes:
    """One operation. Without a session a retry may run it a second time."""
    return _pack((VERSION, op[0], session, *op[1:]))


def encode_batch(ops: Iterable[Operation], session: SessionRef | None = None) -> bytes:
    """Up to MAX_OPS operations that run in order; each succeeds or fails for itself."""
    return _pack((VERSION, Kind.BATCH, session, list(ops)))


def encode_register(client: ClientId, ttl_ms: int) -> bytes:
    """Open a session. For a client that has one it gives that one's number."""
    return _pack((VERSION, Kind.REGISTER, client, ttl_ms))


def encode_keep_alive(client: ClientId, number: int) -> bytes:
    return _pack((VERSION, Kind.KEEP_ALIVE, client, number))


def encode_end_session(client: ClientId, number: int) -> bytes:
    """End a session and release the locks that are tied to it."""
    return _pack((VERSION, Kind.END_SESSION, client, number))


def encode_expire(items: Iterable[Expiry]) -> bytes:
    """End up to MAX_EXPIRIES things, for a leader, from what `KvStore.expired` gave."""
    return _pack((VERSION, Kind.EXPIRE, [(str(i.what), i.name, i.mark) for i in items]))


def encode_put(
    key: str, value: bytes, *, ttl_ms: int | None = None, session: SessionRef | None = None
) -> bytes:
    return encode(put(key, value, ttl_ms=ttl_ms), session)


def encode_delete(
    key: str, *, version: int | None = None, session: SessionRef | None = None
) -> bytes:
    return encode(delete(key, version=version), session)


def encode_compare_set(
    key: str,
    expected: int | bytes | None,
    value: bytes,
    *,
    ttl_ms: int | None = None,
    session: SessionRef | None = None,
) -> bytes:
    return encode(compare_set(key, expected, value, ttl_ms=ttl_ms), session)


def encode_acquire(
    name: str, holder: str, lease_ms: int, *, tied: bool = False, session: SessionRef | None = None
) -> bytes:
    return encode(acquire(name, holder, lease_ms, tied=tied), session)


def encode_renew(
    name: str, token: int, lease_ms: int, *, session: SessionRef | None = None
) -> bytes:
    return encode(renew(name, token, lease_ms), session)


def encode_release(name: str, token: int, *, session: SessionRef | None = None) -> bytes:
    return encode(release(name, token), session)


def encode_complete(
    name: str, token: int, value: bytes, *, session: SessionRef | None = None
) -> bytes:
    return encode(complete(name, token, value), session)


# -- decoding ---------------------------------------------------------------------------------


def decode(data: bytes) -> Request | Refusal:
    """The command, or why it is none. Never raises."""
    try:
        row = msgpack.unpackb(data, raw=False, use_list=True, max_map_len=0, max_ext_len=0)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
        return Refusal.MALFORMED
    if type(row) is not list or len(row) < 2 or type(row[0]) is not int:
        return Refusal.MALFORMED
    if row[0] != VERSION:
        return Refusal.UNKNOWN_VERSION
    number = row[1]
    if type(number) is not int:
        return Refusal.MALFORMED
    kind = _KINDS.get(number)
    if kind is None:
        return Refusal.UNKNOWN_KIND
    if number >= FIRST_OPERATION:
        if len(row) < 3:
            return Refusal.MALFORMED
        session = row[2]
        del row[:2]
        row[0] = number  # what is left is the operation
        return _request(kind, session, (row,))
    if kind is _BATCH:
        return _batch(row)
    if kind is _EXPIRE and not _is_items(row[2:]):
        return Refusal.MALFORMED
    return Request(kind, None, (), row[2:])


def _batch(row: list[Any]) -> Request | Refusal:
    if len(row) != 4 or type(row[3]) is not list or not 0 < len(row[3]) <= MAX_OPS:
        return Refusal.MALFORMED
    for op in row[3]:
        # All are looked at before any runs: a node that lacks one of them must run none.
        if type(op) is list and op and type(op[0]) is int:
            kind = _KINDS.get(op[0])
            if kind is None:
                return Refusal.UNKNOWN_KIND
            if kind < FIRST_OPERATION:
                return Refusal.MALFORMED
    return _request(_BATCH, row[2], row[3])


def _request(kind: Kind, session: Any, ops: Sequence[Any]) -> Request | Refusal:
    if session is not None:
        if type(session) is not list or len(session) != 4:
            return Refusal.MALFORMED
        session = SessionRef._make(session)
        if type(session.client) is not str or not all(map(is_count, session[1:])):
            return Refusal.MALFORMED
    return _request_of((kind, session, ops, ()))


def _is_items(args: list[Any]) -> bool:
    return len(args) == 1 and type(args[0]) is list and len(args[0]) <= MAX_EXPIRIES


def is_count(raw: Any) -> bool:
    return type(raw) is int and 0 <= raw <= MAX_INDEX


def _pack(row: Sequence[Any]) -> bytes:
    packed: bytes = msgpack.packb(row, use_bin_type=True)
    return packed
