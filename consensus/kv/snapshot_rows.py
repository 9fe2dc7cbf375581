"""The records of a snapshot: how each part of the state is written as a row, and read back.

Reading is total: a row that no store could have written gives None, so nothing of the kind gets in.

Invariants: reading what was written gives an equal part.
What this module does not know: the order of rows, checksums, what other rows say.
"""

from __future__ import annotations

from typing import Any, Final

from consensus.kv.commands import is_count
from consensus.kv.locks import Lock
from consensus.kv.model import (
    MAX_DURATION_MS,
    MAX_HOLDER_BYTES,
    MAX_KEY_BYTES,
    MAX_OPS,
    MAX_TIME_MS,
    MAX_VALUE_BYTES,
    MIN_SESSION_MS,
    WINDOW,
    ClientId,
    Entry,
    Refusal,
    Reply,
    Result,
    Token,
)
from consensus.kv.sessions import Session
from consensus.kv.state import key_bytes

MAX_DEADLINE_MS: Final = MAX_TIME_MS + MAX_DURATION_MS
_REFUSALS: Final = {str(refusal): refusal for refusal in Refusal}
_HEX: Final = frozenset("0123456789abcdef")


def is_name(raw: Any, max_bytes: int = MAX_KEY_BYTES) -> bool:
    return type(raw) is str and 0 < key_bytes(raw) <= max_bytes


def is_client(raw: Any) -> bool:
    return type(raw) is str and len(raw) == 32 and _HEX.issuperset(raw)


def is_deadline(raw: Any) -> bool:
    return type(raw) is int and 0 < raw <= MAX_DEADLINE_MS


def is_index(raw: Any, newest: int) -> bool:
    return type(raw) is int and 0 < raw <= newest


# -- rows ---------------------------------------------------------------------------------------


def row_of_entry(key: str, entry: Entry) -> tuple[Any, ...]:
    return (key, *entry)


def row_of_lock(lock: Lock) -> tuple[Any, ...]:
    return (lock.name, lock.token, lock.holder, lock.deadline_ms, lock.client)


def row_of_session(session: Session) -> tuple[Any, ...]:
    replies = [
        (sequence, reply.log_index, [_row_of_result(result) for result in reply.results])
        for sequence, reply in sorted(session.replies.items())
    ]
    return (
        session.client,
        session.number,
        session.ttl_ms,
        session.deadline_ms,
        session.last_used_index,
        session.acknowledged,
        replies,
    )


def _row_of_result(result: Result) -> tuple[Any, ...]:
    refusal = None if result.refusal is None else str(result.refusal)
    return (refusal, result.version, result.token, result.deadline_ms)


# -- and back -----------------------------------------------------------------------------------


def parse_entry(raw: list[Any], newest: int) -> tuple[str, Entry] | None:
    if len(raw) != 5:
        return None
    key, value, version, created, expires_ms = raw
    well_formed = (
        is_name(key)
        and type(value) is bytes
        and len(value) <= MAX_VALUE_BYTES
        and is_index(version, newest)
        and is_index(created, version)
        and (expires_ms is None or is_deadline(expires_ms))
    )
    return (key, Entry(value, version, created, expires_ms)) if well_formed else None


def parse_lock(raw: list[Any], newest: int) -> Lock | None:
    if len(raw) != 5:
        return None
    name, token, holder, deadline_ms, client = raw
    well_formed = (
        is_name(name)
        and is_index(token, newest)
        and is_name(holder, MAX_HOLDER_BYTES)
        and is_deadline(deadline_ms)
        and (client is None or is_client(client))
    )
    return Lock(name, Token(token), holder, deadline_ms, client) if well_formed else None


def parse_free(raw: list[Any], newest: int) -> tuple[str, Token] | None:
    if len(raw) != 2 or not is_name(raw[0]) or not is_index(raw[1], newest):
        return None
    return raw[0], Token(raw[1])


def parse_session(raw: list[Any], newest: int) -> Session | None:
    if len(raw) != 7:
        return None
    client, number, ttl_ms, deadline_ms, last_used, acknowledged, replies = raw
    well_formed = (
        is_client(client)
        and is_index(last_used, newest)
        and is_index(number, last_used)
        and type(ttl_ms) is int
        and MIN_SESSION_MS <= ttl_ms <= MAX_DURATION_MS
        and is_deadline(deadline_ms)
        and is_count(acknowledged)
        and type(replies) is list
        and len(replies) <= WINDOW
    )
    if not well_formed:
        return None
    session = Session(ClientId(client), number, ttl_ms)
    session.deadline_ms, session.last_used_index = deadline_ms, last_used
    session.acknowledged = acknowledged
    newest_sequence = acknowledged
    for row in replies:
        if not _take_reply(session, newest_sequence, row):
            return None
        newest_sequence = row[0]
    return session


def _take_reply(session: Session, after: int, raw: Any) -> bool:
    if type(raw) is not list or len(raw) != 3 or type(raw[0]) is not int:
        return False
    sequence, log_index, rows = raw
    if not after < sequence <= session.acknowledged + WINDOW:
        return False
    if not is_index(log_index, session.last_used_index) or type(rows) is not list:
        return False
    results = [_parse_result(row) for row in rows]
    known = tuple(result for result in results if result is not None)
    if not 0 < len(known) == len(results) <= MAX_OPS:
        return False
    session.remember(sequence, Reply(log_index, None, known))
    return True


def _parse_result(raw: Any) -> Result | None:
    if type(raw) is not list or len(raw) != 4 or not all(map(is_count, raw[1:])):
        return None
    refusal = None
    if raw[0] is not None:
        refusal = _REFUSALS.get(raw[0]) if type(raw[0]) is str else None
        if refusal is None:
            return None
    return Result(refusal, *raw[1:])
