"""What nodes say to each other about the store: methods, and how their payloads look.

Every answer is `[tag, value]` as in `agents.tasking.wire`; everything may be asked again.

    kv.write   of the leader   [command]                    -> [log index, refusal, [result, ...]]
    kv.read    of the leader   [what, false, [argument...]] -> [index, age ms, ledger time, found]
               of any member   [what, true, [argument...]]  -> the same, of its own state
    kv.watch   of the leader   [prefix, since, wait ms]     -> [through, [change, ...]]
                                                               or [nil, first index that is known]

A command is one of `consensus/kv/commands.py`, a result `[refusal, version, token, deadline ms]`.
What is read: `index` [] -> nil; `get` [key] -> entry or nil; `list` [prefix, after, limit] ->
[[[key, entry], ...], whether there is more]; `lock` [name, token, wait ms] -> nil or
[token, holder or nil, deadline ms or nil], as soon as nobody holds it under that token any more. An
entry is `[value, version, created index, expiry in ledger time or nil]`, a change
`[log index, cause, key, value or nil]`. The age is nil where the member cannot know it.

What this module does not know: who leads, what the store makes of it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, NamedTuple

from consensus.kv import Cause, Change, Entry, Refusal, Reply, Result

WRITE: Final = "kv.write"
READ: Final = "kv.read"
WATCH: Final = "kv.watch"

RESERVED: Final = "conclave/"  # keys that the network keeps for itself
MAX_WAIT_MS: Final = 10_000
MAX_KEY_BYTES: Final = 512  # as the store's, which has the last word; names of locks, too
MAX_VALUE_BYTES: Final = 256 * 1024
MAX_ANSWER_BYTES: Final = 900_000  # a command's changes fit in any case: its entry is smaller


class What(StrEnum):
    """What is read."""

    INDEX = "index"
    GET = "get"
    LIST = "list"
    LOCK = "lock"


class Found(NamedTuple):
    """An answer to a read.

    Attributes:
        as_of: log index of the last entry that the state holds.
        age_ms: the state is no older than this; None where nobody knows.
        time_ms: ledger time when it was read.
    """

    as_of: int
    age_ms: int | None
    time_ms: int
    value: Any


def reply_row(reply: Reply) -> list[Any]:
    return [reply.log_index, reply.refusal, [list(result) for result in reply.results]]


def read_reply(raw: Any) -> Reply | None:
    """Return the reply in an answer, or None for anything else."""
    try:
        index, refusal, rows = raw
        results = tuple(_result_of(*row) for row in rows)
        if type(index) is not int:
            return None
        return Reply(index, None if refusal is None else Refusal(refusal), results)
    except (TypeError, ValueError):
        return None


def _result_of(refusal: Any, version: Any, token: Any, deadline_ms: Any) -> Result:
    if not all(type(number) is int for number in (version, token, deadline_ms)):
        raise ValueError("a result holds numbers")
    return Result(None if refusal is None else Refusal(refusal), version, token, deadline_ms)


def read_found(raw: Any) -> Found | None:
    """Return the answer to a read, or None for anything else."""
    if not (isinstance(raw, list) and len(raw) == 4):
        return None
    index, age_ms, time_ms, value = raw
    if type(index) is not int or type(time_ms) is not int:
        return None
    if age_ms is not None and type(age_ms) is not int:
        return None
    return Found(index, age_ms, time_ms, value)


def read_entry(raw: Any) -> Entry | None:
    """Return the entry in an answer, or None for anything else."""
    if not (isinstance(raw, list) and len(raw) == 4 and type(raw[0]) is bytes):
        return None
    expires_ms = raw[3]
    numbers = raw[1:3] if expires_ms is None else raw[1:]
    if not all(type(number) is int for number in numbers):
        return None
    return Entry(*raw)


def read_change(raw: Any) -> Change | None:
    """Return the change in an answer, or None for anything else."""
    if not (isinstance(raw, list) and len(raw) == 4):
        return None
    index, cause, key, value = raw
    if type(index) is not int or type(key) is not str:
        return None
    if value is not None and type(value) is not bytes:
        return None
    try:
        return Change(index, Cause(cause), key, value)
    except ValueError:
        return None
