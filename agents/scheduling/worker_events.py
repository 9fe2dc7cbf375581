"""What happens to a worker's core, and what it wants done.

Plain data. What this module does not know: which event leads to which effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from agents.ledger import ErrorText, LeaseRef, TaskId, Token, Work
from agents.scheduling.reports import Report, ReportAnswer
from keys import PeerId


@dataclass(frozen=True, slots=True)
class AgentsChanged:
    """The agents of this node and how many executions each takes at once."""

    capacities: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class WorkTold:
    """From the leader, for this incarnation of this peer or for another."""

    incarnation: int
    work: tuple[Work, ...]


@dataclass(frozen=True, slots=True)
class LeasesRevoked:
    leases: tuple[LeaseRef, ...]


@dataclass(frozen=True, slots=True)
class ExecutionFinished:
    task_id: TaskId
    token: Token
    result: bytes


@dataclass(frozen=True, slots=True)
class ExecutionFailed:
    task_id: TaskId
    token: Token
    error: ErrorText
    retryable: bool


@dataclass(frozen=True, slots=True)
class ExecutionStopped:
    """An execution that was cancelled is really over; only now is its place free."""

    task_id: TaskId
    token: Token


@dataclass(frozen=True, slots=True)
class ReportsAnswered:
    answers: tuple[ReportAnswer, ...]


@dataclass(frozen=True, slots=True)
class RenewalAnswered:
    round: int
    renewed: tuple[LeaseRef, ...]
    lost: tuple[LeaseRef, ...]


@dataclass(frozen=True, slots=True)
class LeaderChanged:
    """Who leads now, or None while nobody does."""

    leader: PeerId | None


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """Give back what was not started, finish the rest, take nothing new."""


@dataclass(frozen=True, slots=True)
class WorkerTick:
    """Time passed."""


WorkerEvent = (
    AgentsChanged
    | WorkTold
    | LeasesRevoked
    | ExecutionFinished
    | ExecutionFailed
    | ExecutionStopped
    | ReportsAnswered
    | RenewalAnswered
    | LeaderChanged
    | DrainRequested
    | WorkerTick
)


class CancelReason(StrEnum):
    """Why an execution must stop."""

    LEASE_LOST = "lease_lost"  # not renewed in time, or the ledger says that it is over
    REVOKED = "revoked"  # cancelled, or given to another
    TIMEOUT = "timeout"  # ran longer than its submitter allows
    SUPERSEDED = "superseded"  # the same task was assigned here anew


@dataclass(frozen=True, slots=True)
class Start:
    """Run it, and answer with one of the Execution events."""

    work: Work


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop it, and answer with ExecutionStopped once it has."""

    task_id: TaskId
    token: Token
    reason: CancelReason


@dataclass(frozen=True, slots=True)
class AcknowledgeWork:
    leases: tuple[LeaseRef, ...]


@dataclass(frozen=True, slots=True)
class SendReports:
    reports: tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class SendRenewal:
    """`round` comes back in the answer."""

    round: int
    incarnation: int
    leases: tuple[LeaseRef, ...]


@dataclass(frozen=True, slots=True)
class Drained:
    """Nothing is held any more."""


WorkerEffect = Start | Cancel | AcknowledgeWork | SendReports | SendRenewal | Drained
