"""What nodes say to each other about tasks: methods, and how their payloads look.

Requests go to the leader and are answered `[tag, value]`; notices go either way. Everything is
idempotent, so every asker may simply ask again.

    tasks.submit    [[spec, ...]]                   -> [[task_id, refusal], ...]
    tasks.voted     [[spec, vote], ...]             -> the same; `voted` has the vote
    tasks.cancel    [task_id, ...]                  -> [[task_id, refusal], ...]
    tasks.retry     [task_id, ...]                  -> [[task_id, refusal], ...]
    tasks.wait      [[task_id, ...], wait_ms]       -> [[task_id, view or nil], ...]
    tasks.list      [state, job, limit]             -> {counts, jobs, tasks}
    tasks.view      task_id                         -> view or nil
    tasks.work      leader to worker                [incarnation, [work, ...]]
    tasks.taken     worker to leader                [[task_id, token], ...]
    tasks.revoked   leader to worker                [[task_id, token], ...]
    tasks.report    worker to leader                [report, ...]
    tasks.heard     leader to worker                [[task_id, token, refusal], ...]
    tasks.renew     worker to leader                [round, incarnation, [[task_id, token], ...]]
    tasks.renewed   leader to worker                [round, renewed, lost]

What this module does not know: who leads, what the ledger makes of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from agents.ledger import LeaseRef, TaskId, Token, parse_lease_ref
from p2p import PayloadError, decode_payload, encode_payload

SUBMIT = "tasks.submit"
SUBMIT_VOTED = "tasks.voted"
CANCEL = "tasks.cancel"
RETRY = "tasks.retry"
WAIT = "tasks.wait"
LIST = "tasks.list"
VIEW = "tasks.view"
WORK = "tasks.work"
TAKEN = "tasks.taken"
REVOKED = "tasks.revoked"
REPORT = "tasks.report"
HEARD = "tasks.heard"
RENEW = "tasks.renew"
RENEWED = "tasks.renewed"


class Tag(StrEnum):
    """How the leader answers, or who is asked instead."""

    OK = "ok"
    NOT_LEADER = "not_leader"  # value: who leads, or nil
    BUSY = "busy"
    UNDECIDED = "undecided"  # value: whether it certainly did not happen


def answer(tag: Tag, value: Any) -> bytes:
    return encode_payload([tag.value, value])


def read_answer(payload: bytes) -> tuple[Tag, Any]:
    """Return tag and value; what cannot be read is an undecided answer."""
    fields = read_list(payload, 2)
    try:
        return Tag(fields[0]), fields[1]
    except (ValueError, IndexError):
        return Tag.UNDECIDED, False


def read_list(payload: bytes, length: int | None = None) -> list[Any]:
    """Return the list in a payload, or an empty one for anything else."""
    try:
        value = decode_payload(payload)
    except PayloadError:
        return []
    if not isinstance(value, list) or (length is not None and len(value) != length):
        return []
    return value


def read_leases(raw: Any) -> tuple[LeaseRef, ...]:
    """Return the well-formed leases of a list."""
    if not isinstance(raw, list):
        return ()
    found = (parse_lease_ref(item) for item in raw)
    return tuple(ref for ref in found if ref is not None)


def read_ids(raw: Any) -> tuple[TaskId, ...]:
    if not isinstance(raw, list):
        return ()
    return tuple(TaskId(item) for item in raw if isinstance(item, str))


def lease_list(leases: Iterable[LeaseRef]) -> list[tuple[TaskId, Token]]:
    return [tuple(ref) for ref in leases]  # type: ignore[misc]
