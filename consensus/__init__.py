"""How many agree: Raft as a pure core, its storage, and the runner that executes its effects.

What this package does not know: how messages travel, what commands mean. It needs the standard
library only.
"""

from consensus.errors import (
    AppliedTimeout,
    ConfigInvalid,
    ConsensusError,
    ForeignStorage,
    HardStateCorrupted,
    LogCorrupted,
    MachineFailed,
    MessageRefused,
    NewerFormat,
    NodeHalted,
    NotLeader,
    OutcomeUnknown,
    ProposalError,
    ProposalsFull,
    ProposalTooLarge,
    Stopped,
    StorageBroken,
    StorageError,
    StorageFull,
    TornTail,
    TransferFailed,
    WrongCluster,
    WrongNode,
)
from consensus.outcomes import Committed
from consensus.raft import Config, Entry, EntryKind, NodeId, Raft, Recovered, Role, Status
from consensus.runner import Link, Runner, StateMachine
from consensus.storage import MemoryStorage, SqliteStorage, Storage

__all__ = [
    "AppliedTimeout",
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
    "SqliteStorage",
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
