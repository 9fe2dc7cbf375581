"""A whole store as bytes, and back: what a replica needs that no longer gets the log.

One stream of msgpack values, which may be cut into chunks anywhere:

    ["conclave kv", version, index, time_ms, [max_keys, max_total_bytes, max_sessions, max_locks]]
    [KEY, key, value, version, created, expires_ms | nil]                       by key
    [SESSION, client, number, ttl_ms, deadline_ms, last_used, acknowledged,
              [[sequence, log_index, [[refusal | nil, version, token, deadline_ms], ...]], ...]]
                                                                                by last use
    [HELD, name, token, holder, deadline_ms, client | nil]                      by name
    [FREE, name, token]                                        in the order they became free
    [END]
    32 bytes of BLAKE2b over everything before, as one msgpack bin, always 34 bytes long

The order of sessions and of free locks decides what is forgotten first, so it is state; all else is
sorted. Sums, order of keys and deadlines follow and are built anew; the feed is not in here.

Invariants: equal stores give equal chunks, whether they came from a log or from a snapshot; what is
read is checked in full before anyone sees it; memory for what was read grows only with bytes that
arrived, whatever lengths they claim.
What this module does not know: files, the network, who asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types

from consensus.kv import framed
from consensus.kv.commands import is_count
from consensus.kv.errors import SnapshotFault, SnapshotInvalid, StoreChanged
from consensus.kv.feed import Feed
from consensus.kv.framed import FrameFault, FrameLimits, FrameReader, chunks_of
from consensus.kv.model import MAX_OPS, MAX_TIME_MS, MAX_VALUE_BYTES, Limits, What
from consensus.kv.snapshot_rows import (
    parse_entry,
    parse_free,
    parse_lock,
    parse_session,
    row_of_entry,
    row_of_lock,
    row_of_session,
)
from consensus.kv.state import KvState

MAGIC: Final = "conclave kv"
VERSION: Final = 1
LIMITS: Final = FrameLimits(
    record_bytes=1024 * 1024,  # a large value, or a session that remembers its most, and room
    text_bytes=4096,
    value_bytes=MAX_VALUE_BYTES,
    items=MAX_OPS,
)


class Tag(IntEnum):
    """What a record holds. Numbers are stored and sent: never reuse one. They only grow."""

    KEY = 1
    SESSION = 2
    HELD = 3
    FREE = 4
    END = 5


def write(state: KvState) -> Iterator[bytes]:
    """Chunks of CHUNK_BYTES, the last one shorter, each made when it is asked for.

    Raises:
        StoreChanged: a command was applied between two of them.
    """
    index = state.index

    def check() -> None:
        if state.index != index:
            raise StoreChanged(index, state.index)

    yield from chunks_of(_records(state), check)


def digest_of(state: KvState) -> bytes:
    """The digest at the end of the snapshot."""
    return framed.digest_of(_records(state))


def read(chunks: Iterable[bytes], limits: Limits, feed: Feed) -> KvState:
    """The state that these chunks are a snapshot of, with this feed, which begins anew.

    Raises:
        SnapshotInvalid: they are none of a store with these limits; the feed is what it was.
    """
    reader = FrameReader(_Builder(KvState(limits, feed)), LIMITS, _refused)
    for chunk in chunks:
        reader.feed(chunk)
    state = reader.finish()
    feed.restart(state.index)
    return state


class _Builder:
    """Records into a state, each judged when it comes and the whole at the end."""

    def __init__(self, state: KvState) -> None:
        self._state = state
        self._tag: int | None = None  # None: the header is still to come
        self._last_key = ""
        self._last_held = ""
        self._last_used = 0

    def take(self, record: Any) -> None:
        if self._tag is None:
            self._take_header(record)
            return
        if self._tag == Tag.END:
            raise SnapshotInvalid(SnapshotFault.TRAILING)
        if not isinstance(record, list) or not record or type(record[0]) is not int:
            raise _malformed("a record without a tag")
        tag, fields = record[0], record[1:]
        if tag < self._tag:
            raise _malformed("records out of order")
        self._tag = tag
        match tag:
            case Tag.KEY:
                self._take_entry(fields)
            case Tag.SESSION:
                self._take_session(fields)
            case Tag.HELD:
                self._take_held(fields)
            case Tag.FREE:
                self._take_free(fields)
            case Tag.END if not fields:
                pass
            case _:
                raise _malformed(f"a record of kind {tag}")

    def check_ended(self) -> None:
        if self._tag != Tag.END:
            raise SnapshotInvalid(SnapshotFault.TRUNCATED)

    def finish(self) -> KvState:
        state, limits = self._state, self._state.limits
        fits = (
            len(state.entries) <= limits.max_keys
            and state.total_bytes <= limits.max_total_bytes
            and len(state.sessions) <= limits.max_sessions
            and len(state.locks) <= limits.max_locks
        )
        if not fits:
            raise _inconsistent("more than its limits allow")
        return state

    def _take_header(self, record: Any) -> None:
        if not isinstance(record, list) or not record or record[0] != MAGIC:
            raise SnapshotInvalid(SnapshotFault.FOREIGN)
        if len(record) < 2 or type(record[1]) is not int or record[1] != VERSION:
            raise SnapshotInvalid(SnapshotFault.VERSION)
        if len(record) != 5 or not is_count(record[2]) or not is_count(record[3]):
            raise _malformed("the header")
        if record[3] > MAX_TIME_MS or not isinstance(record[4], list):
            raise _malformed("the header")
        own = list(self._state.limits.as_row())
        if record[4] != own:
            raise SnapshotInvalid(SnapshotFault.LIMITS, f"{record[4]}, here {own}")
        self._state.index, self._state.time_ms = record[2], record[3]
        self._tag = 0

    def _take_entry(self, fields: list[Any]) -> None:
        parsed = parse_entry(fields, self._state.index)
        if parsed is None:
            raise _malformed("a key")
        key, entry = parsed
        if key <= self._last_key:
            raise _inconsistent(f"key {key!r} is not behind the one before")
        self._last_key = key
        self._state.place(key, entry, None)

    def _take_session(self, fields: list[Any]) -> None:
        state = self._state
        session = parse_session(fields, state.index)
        if session is None:
            raise _malformed("a session")
        known = session.client in state.sessions.by_client
        if known or session.last_used_index <= self._last_used:
            raise _inconsistent(f"session of {session.client}: twice, or not by last use")
        self._last_used = session.last_used_index
        state.sessions.add(session)
        state.deadlines.add(What.SESSION, session.client, session.number, session.deadline_ms)

    def _take_held(self, fields: list[Any]) -> None:
        state = self._state
        parsed = parse_lock(fields, state.index)
        if parsed is None:
            raise _malformed("a lock that is held")
        session = None if parsed.client is None else state.sessions.by_client.get(parsed.client)
        if parsed.name <= self._last_held or (session is None) != (parsed.client is None):
            raise _inconsistent(f"lock {parsed.name!r}: out of order, or tied to no session")
        self._last_held = parsed.name
        lock = state.hold(parsed.name, parsed.token, parsed.holder, parsed.deadline_ms)
        if session is not None:
            state.tie(lock, session)

    def _take_free(self, fields: list[Any]) -> None:
        locks = self._state.locks
        parsed = parse_free(fields, self._state.index)
        if parsed is None:
            raise _malformed("a free lock")
        name, token = parsed
        if name in locks.held or name in locks.free:
            raise _inconsistent(f"lock {name!r} is in here twice")
        locks.free[name] = token


def _records(state: KvState) -> Iterator[bytes]:
    pack = msgpack.Packer(use_bin_type=True).pack
    yield pack([MAGIC, VERSION, state.index, state.time_ms, state.limits.as_row()])
    for key in state.keys:
        yield pack([Tag.KEY, *row_of_entry(key, state.entries[key])])
    for session in state.sessions.by_client.values():
        yield pack([Tag.SESSION, *row_of_session(session)])
    for name in sorted(state.locks.held):
        yield pack([Tag.HELD, *row_of_lock(state.locks.held[name])])
    for name, token in state.locks.free.items():
        yield pack([Tag.FREE, name, token])
    yield pack([Tag.END])


def _refused(fault: FrameFault) -> SnapshotInvalid:
    if fault is FrameFault.TRUNCATED:
        return SnapshotInvalid(SnapshotFault.TRUNCATED)
    if fault is FrameFault.CHECKSUM:
        return SnapshotInvalid(SnapshotFault.CHECKSUM)
    return _malformed("no msgpack" if fault is FrameFault.UNREADABLE else "a record too large")


def _malformed(detail: str) -> SnapshotInvalid:
    return SnapshotInvalid(SnapshotFault.MALFORMED, detail)


def _inconsistent(detail: str) -> SnapshotInvalid:
    return SnapshotInvalid(SnapshotFault.INCONSISTENT, detail)
