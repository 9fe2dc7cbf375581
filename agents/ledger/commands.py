"""Ledger commands as bytes: msgpack arrays `[version, kind, ledger_time_ms, items]`.

One command carries many items, so that a log entry, a disk write and a round trip are paid per
batch. `ledger_time_ms` is the proposing leader's reading of ledger time; applying takes the larger
of it and the time so far. `items` by kind:

    SUBMITTED     [task_id, skill, payload, submitter, key, max_attempts, timeout_ms, priority,
                   lease_ms, policy, job]
    ASSIGNED      [task_id, peer, agent, incarnation]       the entry's log index is the token
    RENEWED       [peer, incarnation, [[task_id, token], ...]]
    COMPLETED     [task_id, token, peer, result]
    FAILED        [task_id, token, peer, [type, message, traceback], retryable]
    LEASES_ENDED  [peer, incarnation, reason]
    EXPIRED       [task_id, token]
    RELEASED      [task_id, token, peer, reason]
    CANCELLED     task_id
    RETRIED       task_id
    FORGOTTEN     task_id
    SUBMITTED_FOR_VOTE  [[task_id, ... as in SUBMITTED], terms]
    DISAPPROVED   [task_id, peer]

The log keeps these bytes for ever: numbers are never reused, and a change of shape is a new kind.

What this module does not know: what an item means, and whether it is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types

from agents.ledger.model import (
    MAX_TIME_MS,
    Assignment,
    Completion,
    Disapproval,
    Failure,
    LeaseRef,
    PeerEnd,
    Refusal,
    Release,
    Renewal,
    TaskId,
    TaskSpec,
    VotedSpec,
)

VERSION: Final = 1
MAX_ITEMS: Final = 65_536


class Kind(IntEnum):
    """What a command does."""

    SUBMITTED = 1
    ASSIGNED = 2
    RENEWED = 3
    COMPLETED = 4
    FAILED = 5
    LEASES_ENDED = 6
    EXPIRED = 7
    RELEASED = 8
    CANCELLED = 9
    RETRIED = 10
    FORGOTTEN = 11
    SUBMITTED_FOR_VOTE = 12
    DISAPPROVED = 13


class Command(NamedTuple):
    """A decoded command. Its items are still raw: each is judged alone when it is applied."""

    kind: Kind
    time_ms: int
    items: Sequence[Any]


_KINDS: Final = {int(kind): kind for kind in Kind}


def encode(kind: Kind, time_ms: int, items: Iterable[Any]) -> bytes:
    """The bytes to propose; the typed functions below are this with a kind."""
    packed: bytes = msgpack.packb([VERSION, int(kind), time_ms, list(items)], use_bin_type=True)
    return packed


def encode_submitted(time_ms: int, tasks: Iterable[TaskSpec]) -> bytes:
    return encode(Kind.SUBMITTED, time_ms, tasks)


def encode_assigned(time_ms: int, assignments: Iterable[Assignment]) -> bytes:
    return encode(Kind.ASSIGNED, time_ms, assignments)


def encode_renewed(time_ms: int, renewals: Iterable[Renewal]) -> bytes:
    return encode(Kind.RENEWED, time_ms, renewals)


def encode_completed(time_ms: int, completions: Iterable[Completion]) -> bytes:
    return encode(Kind.COMPLETED, time_ms, completions)


def encode_failed(time_ms: int, failures: Iterable[Failure]) -> bytes:
    return encode(Kind.FAILED, time_ms, failures)


def encode_leases_ended(time_ms: int, ends: Iterable[PeerEnd]) -> bytes:
    return encode(Kind.LEASES_ENDED, time_ms, ends)


def encode_expired(time_ms: int, leases: Iterable[LeaseRef]) -> bytes:
    return encode(Kind.EXPIRED, time_ms, leases)


def encode_released(time_ms: int, releases: Iterable[Release]) -> bytes:
    return encode(Kind.RELEASED, time_ms, releases)


def encode_cancelled(time_ms: int, task_ids: Iterable[TaskId]) -> bytes:
    return encode(Kind.CANCELLED, time_ms, task_ids)


def encode_retried(time_ms: int, task_ids: Iterable[TaskId]) -> bytes:
    return encode(Kind.RETRIED, time_ms, task_ids)


def encode_forgotten(time_ms: int, task_ids: Iterable[TaskId]) -> bytes:
    return encode(Kind.FORGOTTEN, time_ms, task_ids)


def encode_submitted_for_vote(time_ms: int, tasks: Iterable[VotedSpec]) -> bytes:
    return encode(Kind.SUBMITTED_FOR_VOTE, time_ms, tasks)


def encode_disapproved(time_ms: int, ends: Iterable[Disapproval]) -> bytes:
    return encode(Kind.DISAPPROVED, time_ms, ends)


def decode(data: bytes) -> Command | Refusal:
    """The command, or why it is none. Never raises."""
    try:
        row = msgpack.unpackb(data, raw=False, use_list=True, max_map_len=0, max_ext_len=0)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
        return Refusal.MALFORMED
    if not isinstance(row, list) or len(row) < 2 or type(row[0]) is not int:
        return Refusal.MALFORMED
    if row[0] != VERSION:
        return Refusal.UNKNOWN_VERSION
    kind = _KINDS.get(row[1]) if type(row[1]) is int else None
    if kind is None:
        return Refusal.UNKNOWN_KIND if type(row[1]) is int else Refusal.MALFORMED
    if len(row) != 4 or type(row[2]) is not int or not 0 <= row[2] <= MAX_TIME_MS:
        return Refusal.MALFORMED
    if not isinstance(row[3], list) or len(row[3]) > MAX_ITEMS:
        return Refusal.MALFORMED
    return Command(kind, row[2], row[3])
