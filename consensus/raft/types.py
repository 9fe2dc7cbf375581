"""The nouns of Raft: entries, roles, configuration, what a restart finds, what a status shows.

Data only. It does not know how anything is encoded, stored or sent.
Integers only; times are milliseconds of a monotonic clock that the caller owns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import NamedTuple

from consensus.errors import ConfigInvalid
from consensus.raft.membership import Membership, NodeId


class EntryKind(IntEnum):
    """What an entry is for. Numbers are stored and sent: never reuse one."""

    NOOP = 0  # a new leader's first entry: commits what earlier terms left (paper 8)
    COMMAND = 1
    MEMBERSHIP = 2  # who votes and who listens from here on, once committed
    STATE_HASH = 3  # what the state of every replica must hash to at an earlier index


class Entry(NamedTuple):
    """One slot of the log. A named tuple because it is the one object made per command."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    term: int
    kind: EntryKind
    data: bytes


class Role(Enum):
    """Where a node stands in the present term."""

    FOLLOWER = "follower"
    PRECANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class HardState(NamedTuple):
    """The one record that must be durable before anything that depends on it is said (R1)."""

    term: int
    vote: NodeId | None


FRESH = HardState(0, None)
GENESIS_UNKNOWN = Membership()


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """What a snapshot of the state machine stands for: everything up to `index` (R20)."""

    index: int
    term: int
    membership: Membership  # in force at `index`
    membership_index: int  # of the entry that brought it; 0: it was there from the beginning


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a storage found at start.

    `commit` is a hint and may lag (R34). `entries` follow (`base_index`, `base_term`); the state
    machine is at `snapshot`, or at nothing.
    """

    hard: HardState = FRESH
    commit: int = 0
    entries: Sequence[Entry] = ()
    base_index: int = 0
    base_term: int = 0
    snapshot: SnapshotMeta | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """How one node behaves. Equal on all of them except `node_id`, `voters` and `priority_ms`.

    `voters` are those that the cluster began with. A node that comes later has none and learns who
    votes from the log.
    """

    node_id: NodeId
    cluster_id: str
    voters: tuple[NodeId, ...] = ()
    heartbeat_ms: int = 150
    election_timeout_ms: int = 800  # drawn anew in [t, 2t) at each reset
    priority_ms: int = 0  # added to the own campaign delay: 0 campaigns first
    commit_notice_ms: int = 10  # idle followers learn a new commit index this late at most
    max_append_bytes: int = 128 * 1024  # a turn's worth: a leader must not stall over a laggard
    max_entry_bytes: int = 768 * 1024
    max_inflight: int = 64  # append messages on the way to one follower
    max_inflight_bytes: int = 1024 * 1024
    max_uncommitted_bytes: int = 64 * 1024 * 1024
    max_apply_entries: int = 1024  # one page of committed entries
    max_apply_bytes: int = 1024 * 1024
    keep_entries: int = 10_000  # behind a snapshot, for followers that are a little late (R21)
    max_promotion_lag: int = 2_000  # entries that a learner may lack when it becomes a voter
    trace: bool = False  # say every step in `Effects.trace`

    def __post_init__(self) -> None:
        if not self.cluster_id:
            raise ConfigInvalid("cluster_id", "must not be empty")
        if len(set(self.voters)) != len(self.voters):
            raise ConfigInvalid("voters", "names one node twice")
        if self.voters and self.node_id not in self.voters:
            raise ConfigInvalid("voters", f"does not name {self.node_id!r} itself")
        if not 0 < self.heartbeat_ms * 2 <= self.election_timeout_ms:
            raise ConfigInvalid("heartbeat_ms", "must be at most half of election_timeout_ms")
        if self.priority_ms < 0 or self.commit_notice_ms < 0:
            raise ConfigInvalid("priority_ms", "delays must not be negative")
        if self.keep_entries < 0 or self.max_promotion_lag < 0:
            raise ConfigInvalid("keep_entries", "must not be negative")
        for name in (
            "max_append_bytes",
            "max_entry_bytes",
            "max_inflight",
            "max_inflight_bytes",
            "max_uncommitted_bytes",
            "max_apply_entries",
            "max_apply_bytes",
        ):
            if getattr(self, name) < 1:
                raise ConfigInvalid(name, "must be at least 1")

    @property
    def genesis(self) -> Membership:
        """Who voted before the first change."""
        return Membership(tuple(sorted(self.voters)))


@dataclass(frozen=True, slots=True)
class Status:
    """A picture of one node, for people, metrics and tests."""

    node_id: NodeId
    role: Role
    term: int
    leader: NodeId | None
    commit: int
    applied: int
    last_index: int
    voters: tuple[NodeId, ...]
    membership: Membership = GENESIS_UNKNOWN
    membership_index: int = 0
    is_changing: bool = False  # a membership is on its way, or a joint one is in force
    base_index: int = 0  # the log begins behind it
    snapshot_index: int = 0
    fresh_ms: int | None = None  # a follower's state was the leader's at this own time
    match: Mapping[NodeId, int] = field(default_factory=dict)  # leader only
    leader_since_ms: int | None = None
    quorum_ok: bool = False  # a leader heard a quorum, a follower hears its leader
    stored: int = 0  # last index known durable here
    storage_full: bool = False
    halted: HaltReason | None = None


class DropReason(Enum):
    """Why a peer's message had no effect. Counted, never raised."""

    UNKNOWN_SENDER = "sender is no member"  # R32
    WRONG_RECIPIENT = "meant for another node"
    STALE_TERM = "term is over"  # R7
    LEADER_HEARD = "vote asked for while a leader is heard"  # R13
    UNEXPECTED = "no such answer is awaited"
    BAD_ENTRIES = "entries contradict the message"
    BAD_INDEX = "index beyond our log"
    STORAGE_FULL = "our disk is full"  # R24


class HaltReason(Enum):
    """Proof that a promise was broken. The node stops: going on could spread the damage."""

    COMMITTED_CONFLICT = "a leader's entry contradicts one that was committed here"  # R5
    SECOND_LEADER = "another node leads in the term that this node leads"  # R11
    LOST_ENTRIES = "this node's storage lost entries that it had confirmed"  # R23
    IO_ERROR = "the storage failed; a failed write or fsync is never retried"  # R24


class RefusalReason(Enum):
    """Why a proposal was not taken. All of them are definite."""

    NOT_LEADER = "not leader"
    TRANSFERRING = "leadership is being handed over"
    FULL = "too many uncommitted bytes"
    TOO_LARGE = "command too large"
    CHANGE_PENDING = "another change of the members is under way"
    TERM_NOT_COMMITTED = "this leader has not committed anything of its own yet"  # R22
    NOT_CAUGHT_UP = "a new voter must be a learner that has caught up"
    INVALID_CHANGE = "such a membership is not possible"
    NOT_CONFIRMED = "the lead was lost before a quorum confirmed it"


class StorageFault(Enum):
    """How the storage failed."""

    NO_SPACE = "no space"
    IO_ERROR = "i/o error"
