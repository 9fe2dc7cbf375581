"""Requests of peers and clients as items for the log, and verdicts back as answers.

What a request says of itself is checked here against who sent it: a report counts only for leases
of its sender. What this module does not know: queues, the ledger's contents, time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agents.ledger import (
    Kind,
    Refusal,
    Renewal,
    TaskId,
    TaskSpec,
    Token,
    Verdict,
    VotedSpec,
    parse_renewal,
    parse_spec,
    parse_task_id,
    parse_voted,
    refusal_of_spec,
)
from agents.scheduling.intake import Pledge
from agents.scheduling.leader_events import (
    AnswerRenewal,
    AnswerReports,
    AnswerRequest,
    CancelReceived,
    Failing,
    FailRequest,
    LeaderEffect,
    RenewalReceived,
    ReportsReceived,
    RetryReceived,
    SubmissionReceived,
    VotedSubmissionReceived,
)
from agents.scheduling.reports import (
    Report,
    ReportAnswer,
    kind_of,
    report_from_wire,
    report_to_wire,
)
from keys import PeerId

Request = (
    SubmissionReceived
    | VotedSubmissionReceived
    | CancelReceived
    | RetryReceived
    | ReportsReceived
    | RenewalReceived
)
_Item = tuple[Kind, Any] | Verdict


def items_of(request: Request) -> list[_Item]:
    """One item per task or report; what is refused at once comes as its verdict."""
    match request:
        case SubmissionReceived(_, tasks):
            return [_submission(spec) for spec in tasks]
        case VotedSubmissionReceived(_, voted):
            return [_voted_submission(item) for item in voted]
        case CancelReceived(_, task_ids):
            return [_operation(Kind.CANCELLED, task_id) for task_id in task_ids]
        case RetryReceived(_, task_ids):
            return [_operation(Kind.RETRIED, task_id) for task_id in task_ids]
        case ReportsReceived(peer, reports):
            return [_report(peer, report) for report in reports]
        case RenewalReceived(peer, incarnation, _, leases):
            renewal = parse_renewal(Renewal(peer, incarnation, leases))
            return [] if renewal is None or not leases else [(Kind.RENEWED, renewal)]


def effects_of(settled: Iterable[Pledge]) -> list[LeaderEffect]:
    """The answers to requests that are settled."""
    effects: list[LeaderEffect] = []
    for pledge in settled:
        if pledge.failed:
            effects += refusal_of(pledge.origin, Failing.UNDECIDED, definite=pledge.definite)
        else:
            verdicts = tuple(verdict for verdict in pledge.verdicts if verdict is not None)
            effects.append(_answer(pledge.origin, verdicts))
    return effects


def refusal_of(request: Request, reason: Failing, *, definite: bool = True) -> list[LeaderEffect]:
    """A client is told; a worker asks again by itself."""
    if isinstance(request, ReportsReceived | RenewalReceived):
        return []
    return [FailRequest(request.request, reason, definite)]


def _answer(request: Request, verdicts: tuple[Verdict, ...]) -> LeaderEffect:
    match request:
        case ReportsReceived(peer, reports):
            answers = (
                ReportAnswer(report.task_id, report.token, verdict.refusal)
                for report, verdict in zip(reports, verdicts, strict=True)
            )
            return AnswerReports(peer, tuple(answers))
        case RenewalReceived(peer, _, number, leases):
            pairs = list(zip(leases, verdicts, strict=False))
            renewed = tuple(ref for ref, verdict in pairs if verdict.refusal is None)
            lost = tuple(ref for ref, verdict in pairs if verdict.refusal is not None)
            return AnswerRenewal(peer, number, renewed, lost)
        case _:
            return AnswerRequest(request.request, verdicts)


def _submission(spec: TaskSpec) -> _Item:
    if parse_spec(spec) is None:
        return _refused(TaskId(""), Refusal.MALFORMED)
    refusal = refusal_of_spec(spec)
    return (Kind.SUBMITTED, spec) if refusal is None else _refused(spec.task_id, refusal)


def _voted_submission(item: VotedSpec) -> _Item:
    if parse_voted(item) is None:
        return _refused(TaskId(""), Refusal.MALFORMED)
    refusal = refusal_of_spec(*item)
    if refusal is not None:
        return _refused(item.spec.task_id, refusal)
    return (Kind.SUBMITTED_FOR_VOTE, item)


def _operation(kind: Kind, task_id: TaskId) -> _Item:
    if parse_task_id(task_id) is None:
        return _refused(TaskId(""), Refusal.MALFORMED)
    return (kind, task_id)


def _report(peer: PeerId, report: Report) -> _Item:
    if report_from_wire(report_to_wire(report)) is None:
        return _refused(report.task_id, Refusal.MALFORMED)
    if report.peer != peer:
        return _refused(report.task_id, Refusal.NOT_HOLDER)
    return (kind_of(report), report)


def _refused(task_id: TaskId, refusal: Refusal) -> Verdict:
    return Verdict(task_id, Token(0), None, None, refusal)
