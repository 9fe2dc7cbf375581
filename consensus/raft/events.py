"""What goes into the core and what comes out of it.

Events are past tense or wishes; effects say what must be durable before what is sent:
`store` batches become durable in the order they are taken; `send` may leave at once; `send_stored`
leaves only when every batch up to `after` is durable. A crash between any two effects is survivable
(the simulator does exactly that).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from consensus.raft.membership import NodeId
from consensus.raft.messages import Message
from consensus.raft.types import (
    Entry,
    EntryKind,
    HaltReason,
    HardState,
    RefusalReason,
    SnapshotMeta,
    Status,
    StorageFault,
)


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has moved; fire what is due."""


@dataclass(frozen=True, slots=True)
class Received:
    """An authenticated, decoded message."""

    message: Message


@dataclass(frozen=True, slots=True)
class Propose:
    """Commands, numbered `first_request`, `first_request + 1`, ... for the results."""

    first_request: int
    data: Sequence[bytes]
    kind: EntryKind = EntryKind.COMMAND


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """Asks for an index such that a state that has applied it is no older than this question."""

    request: int


@dataclass(frozen=True, slots=True)
class ChangeConfig:
    """Asks for these voters and these learners; the core finds the way there."""

    request: int
    voters: tuple[NodeId, ...]
    learners: tuple[NodeId, ...] = ()


@dataclass(frozen=True, slots=True)
class Transfer:
    """Hand leadership to `target`, or to the follower that is furthest along."""

    target: NodeId | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """Every batch up to `batch` is durable."""

    batch: int


@dataclass(frozen=True, slots=True)
class Applied:
    """The state machine has applied everything up to `index`."""

    index: int


@dataclass(frozen=True, slots=True)
class SnapshotMade:
    """A snapshot of the own state machine is durable: the log may be cut behind it."""

    meta: SnapshotMeta


@dataclass(frozen=True, slots=True)
class SnapshotSent:
    """A follower has the whole snapshot that it needed, or the sending failed."""

    peer: NodeId
    ok: bool


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A hint from the transport: the connection to this peer is gone."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class StorageFailed:
    """Writing failed. NO_SPACE is survivable, IO_ERROR stops the node."""

    fault: StorageFault


Event = (
    Tick
    | Received
    | Propose
    | ReadRequest
    | Transfer
    | ChangeConfig
    | Stored
    | Applied
    | SnapshotMade
    | SnapshotSent
    | Unreachable
    | StorageFailed
)


@dataclass(frozen=True, slots=True)
class StoreBatch:
    """One unit of durability, in this order: install, cut, append, hard state, compact.

    The hard state's record has the commit index beside it. It is a hint, but with a MEMBERSHIP
    entry both are always written: who holds an entry that follows a change of the voters must
    know, also after a restart, that the change was committed.
    """

    batch: int
    hard: HardState | None  # None: unchanged
    truncate_from: int | None  # drop this index and everything behind it
    entries: tuple[Entry, ...]
    commit: int
    install: SnapshotMeta | None = None  # the whole log is replaced by this snapshot
    compact_to: int | None = None  # entries up to and including this one are not needed any more


@dataclass(frozen=True, slots=True)
class Accepted:
    """Commands took the indexes `first_index` .. `first_index + count - 1` of this term's log."""

    first_request: int
    count: int
    first_index: int
    term: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Commands that certainly never happen."""

    first_request: int
    count: int
    reason: RefusalReason
    leader: NodeId | None


@dataclass(frozen=True, slots=True)
class TransferEnded:
    """The wish to hand over is done with: TimeoutNow worked (`moved`) or it was given up."""

    target: NodeId | None
    moved: bool


@dataclass(frozen=True, slots=True)
class ReadReady:
    """Serve this read from a state that has applied `index`."""

    request: int
    index: int


Result = Accepted | Refused | TransferEnded


class TraceEvent(NamedTuple):
    """One step of one node, in the vocabulary of etcd's raft traces."""

    name: str
    node: NodeId
    term: int
    vote: NodeId | None
    commit: int
    role: str
    log: int  # entries, counted from the first one ever
    conf: tuple[tuple[NodeId, ...], tuple[NodeId, ...]]
    message: Message | None = None
    properties: tuple[tuple[str, int | str], ...] = ()


@dataclass(frozen=True, slots=True)
class Effects:
    """Everything since the last take, coalesced."""

    store: StoreBatch | None = None
    send: tuple[Message, ...] = ()
    send_stored: tuple[Message, ...] = ()
    after: int = 0  # the batch that `send_stored` waits for
    apply: tuple[Entry, ...] = ()  # committed, durable here, next in order
    results: tuple[Result, ...] = ()
    reads: tuple[ReadReady, ...] = ()
    soft: Status | None = None  # role, term, leader or members have changed
    need_snapshot: tuple[NodeId, ...] = ()  # they lack entries that the log no longer has
    trace: tuple[TraceEvent, ...] = ()
    halt: HaltReason | None = None
