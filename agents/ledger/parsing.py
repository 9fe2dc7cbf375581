"""Decoded arrays into the ledger's items, each judged alone.

A parser returns None for what is not of its shape, so that one bad item of a batch never takes the
good ones with it. `refusal_of_spec` and its siblings judge what is well-formed but not allowed;
a leader calls the same functions before it proposes, so that nothing of that kind fills the log.

What this module does not know: the ledger's contents, the log.
"""

from __future__ import annotations

import re
from typing import Any, Final

from agents.ledger.model import (
    MAX_ATTEMPTS,
    MAX_DURATION_MS,
    MAX_PAYLOAD_BYTES,
    MAX_PRIORITY,
    MAX_RESULT_BYTES,
    MAX_TIME_MS,
    MAX_TRACEBACK_CHARS,
    MIN_LEASE_MS,
    POLICIES,
    Assignment,
    Completion,
    Disapproval,
    ErrorText,
    Failure,
    LeaseRef,
    PeerEnd,
    Refusal,
    Release,
    Renewal,
    TaskSpec,
    VotedSpec,
)
from agents.ledger.voted import refusal_of_terms

_is_task_id = re.compile(r"[0-9a-f]{32}").fullmatch
_SPEC_FIELDS: Final = len(TaskSpec._fields)


def _is_name(value: Any, limit: int) -> bool:
    return type(value) is str and 0 < len(value) <= limit


def _is_optional_name(value: Any, limit: int) -> bool:
    return value is None or _is_name(value, limit)


def _is_id(value: Any) -> bool:
    return type(value) is str and _is_task_id(value) is not None


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_TIME_MS


def _is_row(raw: Any, width: int) -> bool:
    return isinstance(raw, list | tuple) and len(raw) == width


def parse_spec(raw: Any) -> TaskSpec | None:
    if not _is_row(raw, _SPEC_FIELDS):
        return None
    spec = TaskSpec._make(raw)
    well_formed = (
        _is_id(spec.task_id)
        and _is_name(spec.skill, 128)
        and type(spec.payload) is bytes
        and _is_name(spec.submitter, 64)
        and _is_optional_name(spec.key, 256)
        and type(spec.max_attempts) is int
        and type(spec.timeout_ms) is int
        and type(spec.priority) is int
        and type(spec.lease_ms) is int
        and _is_name(spec.policy, 32)
        and _is_optional_name(spec.job, 128)
    )
    return spec if well_formed else None


def parse_voted(raw: Any) -> VotedSpec | None:
    if not _is_row(raw, 2) or type(raw[1]) is not bytes:
        return None
    spec = parse_spec(raw[0])
    return None if spec is None else VotedSpec(spec, raw[1])


def parse_disapproval(raw: Any) -> Disapproval | None:
    if not _is_row(raw, 2) or not _is_id(raw[0]) or not _is_name(raw[1], 64):
        return None
    return Disapproval._make(raw)


def refusal_of_spec(spec: TaskSpec, terms: bytes | None = None) -> Refusal | None:
    """What is wrong with a well-formed submission, or None."""
    if len(spec.payload) > MAX_PAYLOAD_BYTES:
        return Refusal.PAYLOAD_TOO_LARGE
    if terms is not None and (refusal := refusal_of_terms(terms, spec)) is not None:
        return refusal
    if terms is None and spec.policy not in POLICIES:
        return Refusal.UNKNOWN_POLICY
    in_range = (
        1 <= spec.max_attempts <= MAX_ATTEMPTS
        and 1 <= spec.timeout_ms <= MAX_DURATION_MS
        and MIN_LEASE_MS <= spec.lease_ms <= MAX_DURATION_MS
        and -MAX_PRIORITY <= spec.priority <= MAX_PRIORITY
    )
    return None if in_range else Refusal.OUT_OF_RANGE


def parse_task_id(raw: Any) -> str | None:
    return raw if _is_id(raw) else None


def parse_assignment(raw: Any) -> Assignment | None:
    if not _is_row(raw, 4):
        return None
    item = Assignment._make(raw)
    well_formed = (
        _is_id(item.task_id)
        and _is_name(item.peer, 64)
        and _is_name(item.agent, 128)
        and _is_count(item.incarnation)
    )
    return item if well_formed else None


def parse_lease_ref(raw: Any) -> LeaseRef | None:
    if not _is_row(raw, 2) or not _is_id(raw[0]) or not _is_count(raw[1]):
        return None
    return LeaseRef._make(raw)


def parse_renewal(raw: Any) -> Renewal | None:
    if not _is_row(raw, 3) or not _is_name(raw[0], 64) or not _is_count(raw[1]):
        return None
    if not isinstance(raw[2], list | tuple):
        return None
    leases = tuple(ref for ref in map(parse_lease_ref, raw[2]) if ref is not None)
    return Renewal(raw[0], raw[1], leases) if len(leases) == len(raw[2]) else None


def parse_completion(raw: Any) -> Completion | None:
    if not _is_row(raw, 4):
        return None
    item = Completion._make(raw)
    well_formed = (
        _is_id(item.task_id)
        and _is_count(item.token)
        and _is_name(item.peer, 64)
        and type(item.result) is bytes
    )
    return item if well_formed else None


def refusal_of_completion(item: Completion) -> Refusal | None:
    return Refusal.RESULT_TOO_LARGE if len(item.result) > MAX_RESULT_BYTES else None


def parse_error(raw: Any) -> ErrorText | None:
    if not _is_row(raw, 3):
        return None
    kind, message, traceback = raw
    well_formed = (
        _is_name(kind, 256)
        and type(message) is str
        and len(message) <= MAX_TRACEBACK_CHARS
        and type(traceback) is str
        and len(traceback) <= MAX_TRACEBACK_CHARS
    )
    return ErrorText(kind, message, traceback) if well_formed else None


def parse_failure(raw: Any) -> Failure | None:
    if not _is_row(raw, 5):
        return None
    task_id, token, peer, raw_error, retryable = raw
    error = parse_error(raw_error)
    well_formed = (
        error is not None
        and _is_id(task_id)
        and _is_count(token)
        and _is_name(peer, 64)
        and type(retryable) is bool
    )
    return Failure(task_id, token, peer, error, retryable) if well_formed and error else None


def parse_release(raw: Any) -> Release | None:
    if not _is_row(raw, 4):
        return None
    item = Release._make(raw)
    well_formed = (
        _is_id(item.task_id)
        and _is_count(item.token)
        and _is_name(item.peer, 64)
        and _is_name(item.reason, 128)
    )
    return item if well_formed else None


def parse_peer_end(raw: Any) -> PeerEnd | None:
    if not _is_row(raw, 3):
        return None
    item = PeerEnd._make(raw)
    well_formed = (
        _is_name(item.peer, 64) and _is_count(item.incarnation) and _is_name(item.reason, 128)
    )
    return item if well_formed else None
