"""What goes into the core and what comes out of it.

Events are past tense or wishes; effects say what must be durable before what is sent:
`store` batches become durable in the order they are taken; `send` may leave at once; `send_stored`
leaves only when every batch up to `after` is durable. A crash between any two effects is survivable
(the simulator does exactly that).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consensus.raft.messages import Message
from consensus.raft.types import (
    Entry,
    HaltReason,
    HardState,
    NodeId,
    RefusalReason,
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
class Unreachable:
    """A hint from the transport: the connection to this peer is gone."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class StorageFailed:
    """Writing failed. NO_SPACE is survivable, IO_ERROR stops the node."""

    fault: StorageFault


Event = Tick | Received | Propose | Transfer | Stored | Applied | Unreachable | StorageFailed


@dataclass(frozen=True, slots=True)
class StoreBatch:
    """One unit of durability: first cut the log, then append, then replace the hard state."""

    batch: int
    hard: HardState | None  # None: unchanged
    truncate_from: int | None  # drop this index and everything behind it
    entries: tuple[Entry, ...]
    commit: int  # a hint for the next start


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


Result = Accepted | Refused | TransferEnded


@dataclass(frozen=True, slots=True)
class Effects:
    """Everything since the last take, coalesced."""

    store: StoreBatch | None = None
    send: tuple[Message, ...] = ()
    send_stored: tuple[Message, ...] = ()
    after: int = 0  # the batch that `send_stored` waits for
    apply: tuple[Entry, ...] = ()  # committed, durable here, next in order
    results: tuple[Result, ...] = ()
    halt: HaltReason | None = None
