"""What a worker tells the leader about leases it holds, as arrays `[tag, *fields]`.

What this module does not know: when reports are sent, and whether the ledger takes them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from agents.ledger import (
    Completion,
    Failure,
    Kind,
    LeaseRef,
    Refusal,
    Release,
    TaskId,
    Token,
    parse_completion,
    parse_failure,
    parse_lease_ref,
    parse_release,
    refusal_of_completion,
)

Report = Completion | Failure | Release


class ReportAnswer(NamedTuple):
    """The ledger's word on one report. None and DUPLICATE say that it counts; anything else that
    it never will. Either way the worker is done with that lease."""

    task_id: TaskId
    token: Token
    refusal: Refusal | None

    @classmethod
    def from_wire(cls, raw: Any) -> ReportAnswer | None:
        """None for what is not an answer; a refusal of a newer node reads as STALE_TOKEN."""
        ref = parse_lease_ref(list(raw[:2])) if isinstance(raw, list | tuple) else None
        if ref is None or len(raw) != 3:
            return None
        if raw[2] is None:
            return cls(ref.task_id, ref.token, None)
        try:
            refusal = Refusal(raw[2])
        except ValueError:
            refusal = Refusal.STALE_TOKEN
        return cls(ref.task_id, ref.token, refusal)


def kind_of(report: Report) -> Kind:
    """The command that carries this report."""
    if isinstance(report, Completion):
        return Kind.COMPLETED
    return Kind.FAILED if isinstance(report, Failure) else Kind.RELEASED


def report_to_wire(report: Report) -> list[Any]:
    return [int(kind_of(report)), *report]


def report_from_wire(raw: Any) -> Report | None:
    """None for what is not a report, or is over the ledger's limits."""
    if not isinstance(raw, list | tuple) or not raw or type(raw[0]) is not int:
        return None
    tag, fields = raw[0], list(raw[1:])
    if tag == Kind.COMPLETED:
        completion = parse_completion(fields)
        fits = completion is not None and refusal_of_completion(completion) is None
        return completion if fits else None
    if tag == Kind.FAILED:
        return parse_failure(fields)
    return parse_release(fields) if tag == Kind.RELEASED else None


def lease_of(report: Report) -> LeaseRef:
    return LeaseRef(report.task_id, report.token)
