"""What happens to a leader's scheduling core, and what it wants done.

Plain data. What this module does not know: which event leads to which effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agents.ledger import LeaseRef, Outcome, TaskId, TaskSpec, Verdict, VotedSpec, Work
from agents.scheduling.reports import Report, ReportAnswer
from agents.scheduling.workers import WorkerView
from consensus.ballots import Proposal
from keys import PeerId


@dataclass(frozen=True, slots=True)
class Elected:
    """This node leads, and has applied everything up to its own term's first entry."""


@dataclass(frozen=True, slots=True)
class Deposed:
    """This node no longer leads."""


@dataclass(frozen=True, slots=True)
class WorkersChanged:
    """All workers as they are now; send it to followers too, so that a new leader knows them."""

    workers: tuple[WorkerView, ...]


@dataclass(frozen=True, slots=True)
class PeerDied:
    """Membership is sure; everything of this incarnation and before is gone."""

    peer: PeerId
    incarnation: int


@dataclass(frozen=True, slots=True)
class EntryApplied:
    """The ledger applied an entry, whoever proposed it."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ProposalDecided:
    """A proposal of this core was applied with this outcome."""

    proposal: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ProposalFailed:
    """It was not (`definite`), or nobody knows."""

    proposal: int
    definite: bool


@dataclass(frozen=True, slots=True)
class SubmissionReceived:
    """`request` is the caller's own number; the answer carries it."""

    request: int
    tasks: tuple[TaskSpec, ...]


@dataclass(frozen=True, slots=True)
class VotedSubmissionReceived:
    """Tasks that are voted on, with their terms."""

    request: int
    tasks: tuple[VotedSpec, ...]


@dataclass(frozen=True, slots=True)
class DecisionMoved:
    """The register of decisions opened or closed something."""


@dataclass(frozen=True, slots=True)
class QuestionOpened:
    """An attempt at `OpenQuestion` is over; the register says what came of it."""

    proposal_id: str


@dataclass(frozen=True, slots=True)
class CancelReceived:
    request: int
    task_ids: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class RetryReceived:
    request: int
    task_ids: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class ReportsReceived:
    """From an authenticated peer."""

    peer: PeerId
    reports: tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class RenewalReceived:
    """From an authenticated peer; `round` is its own number."""

    peer: PeerId
    incarnation: int
    round: int
    leases: tuple[LeaseRef, ...]


@dataclass(frozen=True, slots=True)
class WorkAcknowledged:
    """The peer has what it was told."""

    peer: PeerId
    leases: tuple[LeaseRef, ...]


@dataclass(frozen=True, slots=True)
class LeaderTick:
    """Time passed."""


LeaderEvent = (
    Elected
    | Deposed
    | WorkersChanged
    | PeerDied
    | EntryApplied
    | ProposalDecided
    | ProposalFailed
    | SubmissionReceived
    | VotedSubmissionReceived
    | DecisionMoved
    | QuestionOpened
    | CancelReceived
    | RetryReceived
    | ReportsReceived
    | RenewalReceived
    | WorkAcknowledged
    | LeaderTick
)


@dataclass(frozen=True, slots=True)
class Propose:
    """Propose to the log, and answer with ProposalDecided or ProposalFailed."""

    proposal: int
    command: bytes


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """Have the log open it and collect its ballots; answer with QuestionOpened."""

    question: Proposal


@dataclass(frozen=True, slots=True)
class TellWork:
    """Leases that are decided and applied; the peer may start. Told again until acknowledged."""

    peer: PeerId
    incarnation: int
    work: tuple[Work, ...]


@dataclass(frozen=True, slots=True)
class TellRevoked:
    """These leases are over; a courtesy, since the token would be refused anyway."""

    peer: PeerId
    leases: tuple[LeaseRef, ...]


@dataclass(frozen=True, slots=True)
class AnswerReports:
    peer: PeerId
    answers: tuple[ReportAnswer, ...]


@dataclass(frozen=True, slots=True)
class AnswerRenewal:
    """The ledger extended `renewed`; `lost` are over."""

    peer: PeerId
    round: int
    renewed: tuple[LeaseRef, ...]
    lost: tuple[LeaseRef, ...]


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """In the order of the request's items."""

    request: int
    verdicts: tuple[Verdict, ...]


class Failing(StrEnum):
    """Why a request has no verdicts."""

    NOT_LEADER = "not_leader"
    OVERLOADED = "overloaded"
    UNDECIDED = "undecided"  # leadership was lost, or the log refused, while it was under way


@dataclass(frozen=True, slots=True)
class FailRequest:
    """`definite`: nothing of it happened. Otherwise some may have; asking again is safe."""

    request: int
    reason: Failing
    definite: bool


LeaderEffect = (
    Propose
    | OpenQuestion
    | TellWork
    | TellRevoked
    | AnswerReports
    | AnswerRenewal
    | AnswerRequest
    | FailRequest
)
