"""What users write: agents, calls, tasks.

    from agents import Agent, connect

Everything is imported when it is first used, so that `conclave --version` answers at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.agent import Agent
    from agents.clusters import (
        Cluster,
        ClusterChange,
        ClusterMember,
        ClusterSeat,
        ClusterState,
    )
    from agents.connecting import connect
    from agents.deciding import Question, votes
    from agents.errors import (
        AgentsError,
        BadAgent,
        BadSettings,
        ChannelClosed,
        CircuitOpen,
        CompareFailed,
        DecisionError,
        DecisionUnknown,
        GiveUp,
        InvalidArguments,
        KeyInvalid,
        LockHeld,
        LockLost,
        NodeNotUp,
        NoProvider,
        NoQuorum,
        NoSealingKey,
        OutcomeUnknown,
        QuestionRefused,
        StoreError,
        StoreFull,
        TaskCancelled,
        TaskError,
        TaskFailed,
        TaskParked,
        TaskTimeout,
        TaskUnknown,
        TooFewMembers,
        ValueTooLarge,
        VoteRefused,
    )
    from agents.hosting import Channel, Context
    from agents.keeping.api import Kv, KvChange, KvEntry, KvListing
    from agents.keeping.locks import Leadership, Lock
    from agents.messaging import Delivery
    from agents.net import Net
    from agents.net_deciding import QuorumDecision
    from agents.node import Node
    from agents.publishing import Message
    from agents.reduction import map_reduce
    from agents.sealing import Unsealed
    from agents.task import Decision, Task, Tasks
    from consensus.ballots import Choice
    from consensus.kv import Fence, FencedFile, StaleToken, fenced_update

_HOMES = {
    "Agent": "agents.agent",
    "AgentsError": "agents.errors",
    "BadAgent": "agents.errors",
    "BadSettings": "agents.errors",
    "Channel": "agents.hosting",
    "ChannelClosed": "agents.errors",
    "Choice": "consensus.ballots",
    "CircuitOpen": "agents.errors",
    "Cluster": "agents.clusters",
    "ClusterChange": "agents.clusters",
    "ClusterMember": "agents.clusters",
    "ClusterSeat": "agents.clusters",
    "ClusterState": "agents.clusters",
    "CompareFailed": "agents.errors",
    "Context": "agents.hosting",
    "Decision": "agents.task",
    "DecisionError": "agents.errors",
    "DecisionUnknown": "agents.errors",
    "Delivery": "agents.messaging",
    "Fence": "consensus.kv",
    "FencedFile": "consensus.kv",
    "GiveUp": "agents.errors",
    "InvalidArguments": "agents.errors",
    "KeyInvalid": "agents.errors",
    "Kv": "agents.keeping.api",
    "KvChange": "agents.keeping.api",
    "KvEntry": "agents.keeping.api",
    "KvListing": "agents.keeping.api",
    "Leadership": "agents.keeping.locks",
    "Lock": "agents.keeping.locks",
    "LockHeld": "agents.errors",
    "LockLost": "agents.errors",
    "Message": "agents.publishing",
    "Net": "agents.net",
    "NoProvider": "agents.errors",
    "NoQuorum": "agents.errors",
    "NoSealingKey": "agents.errors",
    "Node": "agents.node",
    "NodeNotUp": "agents.errors",
    "OutcomeUnknown": "agents.errors",
    "StaleToken": "consensus.kv",
    "StoreError": "agents.errors",
    "StoreFull": "agents.errors",
    "Question": "agents.deciding",
    "QuestionRefused": "agents.errors",
    "QuorumDecision": "agents.net_deciding",
    "Task": "agents.task",
    "TaskCancelled": "agents.errors",
    "TaskError": "agents.errors",
    "TaskFailed": "agents.errors",
    "TaskParked": "agents.errors",
    "TaskTimeout": "agents.errors",
    "TaskUnknown": "agents.errors",
    "Tasks": "agents.task",
    "TooFewMembers": "agents.errors",
    "Unsealed": "agents.sealing",
    "ValueTooLarge": "agents.errors",
    "VoteRefused": "agents.errors",
    "connect": "agents.connecting",
    "fenced_update": "consensus.kv",
    "map_reduce": "agents.reduction",
    "votes": "agents.deciding",
}

__all__ = [
    "Agent",
    "AgentsError",
    "BadAgent",
    "BadSettings",
    "Channel",
    "ChannelClosed",
    "Choice",
    "CircuitOpen",
    "Cluster",
    "ClusterChange",
    "ClusterMember",
    "ClusterSeat",
    "ClusterState",
    "CompareFailed",
    "Context",
    "Decision",
    "DecisionError",
    "DecisionUnknown",
    "Delivery",
    "Fence",
    "FencedFile",
    "GiveUp",
    "InvalidArguments",
    "KeyInvalid",
    "Kv",
    "KvChange",
    "KvEntry",
    "KvListing",
    "Leadership",
    "Lock",
    "LockHeld",
    "LockLost",
    "Message",
    "Net",
    "NoProvider",
    "NoQuorum",
    "NoSealingKey",
    "Node",
    "NodeNotUp",
    "OutcomeUnknown",
    "Question",
    "QuestionRefused",
    "QuorumDecision",
    "StaleToken",
    "StoreError",
    "StoreFull",
    "Task",
    "TaskCancelled",
    "TaskError",
    "TaskFailed",
    "TaskParked",
    "TaskTimeout",
    "TaskUnknown",
    "Tasks",
    "TooFewMembers",
    "Unsealed",
    "ValueTooLarge",
    "VoteRefused",
    "connect",
    "fenced_update",
    "map_reduce",
    "votes",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'agents' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
