"""How many agree: Raft as a pure core, its storage, and the runner that executes its effects.

Beside it: `consensus.kv`, a store that the log drives; `consensus.ballots`, signed decisions;
`consensus.sim`, clusters in virtual time; `consensus.node`, one node for tests from outside.

What this package does not know: how messages travel, what commands mean. The log itself needs the
standard library only.
"""

from consensus.errors import (
    AppliedTimeout,
    ChangeRefused,
    ConfigInvalid,
    ConsensusError,
    ForeignStorage,
    HardStateCorrupted,
    LogCorrupted,
    MachineFailed,
    MembershipInvalid,
    MessageRefused,
    NewerFormat,
    NodeHalted,
    NotLeader,
    OutcomeUnknown,
    ProposalError,
    ProposalsFull,
    ProposalTooLarge,
    SnapshotCorrupted,
    SnapshotInvalid,
    StateDiverged,
    Stopped,
    StorageBroken,
    StorageError,
    StorageFull,
    TornTail,
    TransferFailed,
    WrongCluster,
    WrongNode,
)
from consensus.machine import StateMachine
from consensus.outcomes import Committed
from consensus.raft import (
    Config,
    Entry,
    EntryKind,
    Membership,
    NodeId,
    Raft,
    Recovered,
    Role,
    Status,
)
from consensus.runner import Link, Runner
from consensus.storage import MemoryStorage, SqliteStorage, Storage

__all__ = [
    "AppliedTimeout",
    "ChangeRefused",
    "Committed",
    "Config",
    "ConfigInvalid",
    "ConsensusError",
    "Entry",
    "EntryKind",
    "ForeignStorage",
    "HardStateCorrupted",
    "Link",
    "LogCorrupted",
    "MachineFailed",
    "Membership",
    "MembershipInvalid",
    "MemoryStorage",
    "MessageRefused",
    "NewerFormat",
    "NodeHalted",
    "NodeId",
    "NotLeader",
    "OutcomeUnknown",
    "ProposalError",
    "ProposalTooLarge",
    "ProposalsFull",
    "Raft",
    "Recovered",
    "Role",
    "Runner",
    "SnapshotCorrupted",
    "SnapshotInvalid",
    "SqliteStorage",
    "StateDiverged",
    "StateMachine",
    "Status",
    "Stopped",
    "Storage",
    "StorageBroken",
    "StorageError",
    "StorageFull",
    "TornTail",
    "TransferFailed",
    "WrongCluster",
    "WrongNode",
]
