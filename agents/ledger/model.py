"""The task ledger's vocabulary: states, moves, refusals, and what commands are made of.

The items are named tuples because a busy ledger makes several per task: they build from a decoded
array in one call, and msgpack writes them as arrays. `STATE_TABLE` is the whole life of a task;
a pair that is missing from it is an illegal move and changes nothing.

What this module does not know: bytes on the wire, the log, who schedules, time.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple, NewType

from keys import PeerId

TaskId = NewType("TaskId", str)  # 16 random bytes as 32 lowercase hex digits
Token = NewType("Token", int)  # log index of the entry that granted the lease

MAX_PAYLOAD_BYTES: Final = 256 * 1024
MAX_RESULT_BYTES: Final = 256 * 1024
MAX_TRACEBACK_CHARS: Final = 4096
MAX_HISTORY: Final = 16
MAX_ATTEMPTS: Final = 1000
MAX_DURATION_MS: Final = 366 * 24 * 3600 * 1000
MIN_LEASE_MS: Final = 100
MAX_PRIORITY: Final = 100  # priorities go from -100 to 100, higher first
MAX_TIME_MS: Final = 2**53

MAJORITY: Final = "majority"  # the log's own quorum decides who does a task
VOTE: Final = "vote"  # named voters approve each assignment before; it comes with terms
POLICIES: Final = frozenset({MAJORITY})  # of what is submitted without terms


class State(StrEnum):
    """Where a task stands. DONE, FAILED and CANCELLED are final; PARKED waits for a person."""

    PENDING = "pending"
    ASSIGNED = "assigned"
    DONE = "done"
    FAILED = "failed"
    PARKED = "parked"
    CANCELLED = "cancelled"


FINAL_STATES: Final = frozenset({State.DONE, State.FAILED, State.CANCELLED})


class Move(StrEnum):
    """What can happen to a task; a command becomes one of these once its conditions hold."""

    ASSIGN = "assign"  # a lease begins
    RENEW = "renew"  # the lease is longer
    COMPLETE = "complete"  # the holder delivers the result
    REJECT = "reject"  # the holder reports a failure that no retry can mend
    REQUEUE = "requeue"  # the lease ends and attempts are left
    EXHAUST = "exhaust"  # the lease ends and none is left
    CANCEL = "cancel"
    DISAPPROVE = "disapprove"  # a vote on who does it ended without approval
    RETRY = "retry"  # a person gives a parked task its attempts back


STATE_TABLE: Final[dict[tuple[State, Move], State]] = {
    (State.PENDING, Move.ASSIGN): State.ASSIGNED,
    (State.PENDING, Move.CANCEL): State.CANCELLED,
    (State.PENDING, Move.DISAPPROVE): State.PARKED,
    (State.ASSIGNED, Move.RENEW): State.ASSIGNED,
    (State.ASSIGNED, Move.COMPLETE): State.DONE,
    (State.ASSIGNED, Move.REJECT): State.FAILED,
    (State.ASSIGNED, Move.REQUEUE): State.PENDING,
    (State.ASSIGNED, Move.EXHAUST): State.PARKED,
    (State.ASSIGNED, Move.CANCEL): State.CANCELLED,
    (State.PARKED, Move.CANCEL): State.CANCELLED,
    (State.PARKED, Move.RETRY): State.PENDING,
}


class EndedBy(StrEnum):
    """How one attempt at a task ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    PEER_LOST = "peer_lost"
    EXPIRED = "expired"
    RELEASED = "released"
    CANCELLED = "cancelled"


# After these the scheduler would rather try another peer.
BAD_ENDS: Final = frozenset({EndedBy.FAILED, EndedBy.PEER_LOST, EndedBy.EXPIRED})


class Refusal(StrEnum):
    """Why a command, or one item of it, changed nothing. Counted by reason."""

    MALFORMED = "malformed"  # not of the command's shape
    UNKNOWN_VERSION = "unknown_version"  # written by a newer node: this one must be upgraded
    UNKNOWN_KIND = "unknown_kind"  # likewise
    PAYLOAD_TOO_LARGE = "payload_too_large"
    RESULT_TOO_LARGE = "result_too_large"
    OUT_OF_RANGE = "out_of_range"  # attempts, times or priority beyond the limits
    UNKNOWN_POLICY = "unknown_policy"
    BAD_TERMS = "bad_terms"  # who votes on it, and how, is not as it has to be
    DUPLICATE = "duplicate"  # already so: the same submission, or the same report, again
    UNKNOWN_TASK = "unknown_task"
    ILLEGAL_MOVE = "illegal_move"  # the task's state has no such move
    STALE_TOKEN = "stale_token"  # noqa: S105  # no password; the lease is over, or was given to another
    NOT_HOLDER = "not_holder"  # the token is current, but another peer holds it
    NOT_APPROVED = "not_approved"  # no vote has approved this worker for this assignment
    NOT_DISAPPROVED = "not_disapproved"  # no vote on it ended without approval
    NOT_EXPIRED = "not_expired"  # the lease was renewed in the meantime


class TaskSpec(NamedTuple):
    """What a submitter asks for. The same `task_id`, or the same (skill, key), is the same task."""

    task_id: TaskId
    skill: str
    payload: bytes
    submitter: PeerId
    key: str | None = None
    max_attempts: int = 3
    timeout_ms: int = 60_000  # per execution, watched by the worker
    priority: int = 0
    lease_ms: int = 10_000
    policy: str = MAJORITY
    job: str | None = None


class VotedSpec(NamedTuple):
    """A task with the policy `vote` and its terms; `voted` has their form."""

    spec: TaskSpec
    terms: bytes


class Disapproval(NamedTuple):
    """The vote on giving this task to this peer ended without approval."""

    task_id: TaskId
    peer: PeerId


class Assignment(NamedTuple):
    """One task for one agent. The token is the log index at which it is applied."""

    task_id: TaskId
    peer: PeerId
    agent: str
    incarnation: int


class LeaseRef(NamedTuple):
    """Names one lease, for renewal and expiry."""

    task_id: TaskId
    token: Token


class Renewal(NamedTuple):
    """All leases that one worker renews at once."""

    peer: PeerId
    incarnation: int
    leases: tuple[LeaseRef, ...]


class Completion(NamedTuple):
    task_id: TaskId
    token: Token
    peer: PeerId
    result: bytes


class ErrorText(NamedTuple):
    """What a handler raised, in its own words."""

    type: str
    message: str
    traceback: str = ""

    def clipped(self) -> ErrorText:
        """Cut to the ledger's limits; of a traceback the end says most."""
        return ErrorText(
            self.type[:256],
            self.message[:MAX_TRACEBACK_CHARS],
            self.traceback[-MAX_TRACEBACK_CHARS:],
        )


class Failure(NamedTuple):
    task_id: TaskId
    token: Token
    peer: PeerId
    error: ErrorText
    retryable: bool


class Release(NamedTuple):
    """The holder gives a task back without having started it; no attempt is charged."""

    task_id: TaskId
    token: Token
    peer: PeerId
    reason: str


class PeerEnd(NamedTuple):
    """Every lease of `peer` up to and including `incarnation` is over."""

    peer: PeerId
    incarnation: int
    reason: str


class Attempt(NamedTuple):
    """One assignment that is over. Times are ledger time."""

    peer: PeerId
    agent: str
    token: Token
    assigned_ms: int
    ended_ms: int
    ended: EndedBy
    detail: str = ""


class Lease(NamedTuple):
    """Who holds a task. Its deadline moves with renewals and lives on the task."""

    peer: PeerId
    agent: str
    incarnation: int
    token: Token
    assigned_ms: int
