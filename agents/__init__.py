"""What users write: agents, calls, tasks.

    from agents import Agent, connect

Everything is imported when it is first used, so that `conclave --version` answers at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.agent import Agent
    from agents.connecting import connect
    from agents.errors import (
        AgentsError,
        BadAgent,
        BadSettings,
        ChannelClosed,
        CircuitOpen,
        GiveUp,
        InvalidArguments,
        NodeNotUp,
        NoProvider,
        NoQuorum,
        OutcomeUnknown,
        TaskCancelled,
        TaskError,
        TaskFailed,
        TaskParked,
        TaskTimeout,
        TaskUnknown,
    )
    from agents.hosting import Channel, Context
    from agents.messaging import Delivery
    from agents.net import Net
    from agents.node import Node
    from agents.publishing import Message
    from agents.reduction import map_reduce
    from agents.task import Decision, Task, Tasks

_HOMES = {
    "Agent": "agents.agent",
    "AgentsError": "agents.errors",
    "BadAgent": "agents.errors",
    "BadSettings": "agents.errors",
    "Channel": "agents.hosting",
    "ChannelClosed": "agents.errors",
    "CircuitOpen": "agents.errors",
    "Context": "agents.hosting",
    "Decision": "agents.task",
    "Delivery": "agents.messaging",
    "GiveUp": "agents.errors",
    "InvalidArguments": "agents.errors",
    "Message": "agents.publishing",
    "Net": "agents.net",
    "NoProvider": "agents.errors",
    "NoQuorum": "agents.errors",
    "Node": "agents.node",
    "NodeNotUp": "agents.errors",
    "OutcomeUnknown": "agents.errors",
    "Task": "agents.task",
    "TaskCancelled": "agents.errors",
    "TaskError": "agents.errors",
    "TaskFailed": "agents.errors",
    "TaskParked": "agents.errors",
    "TaskTimeout": "agents.errors",
    "TaskUnknown": "agents.errors",
    "Tasks": "agents.task",
    "connect": "agents.connecting",
    "map_reduce": "agents.reduction",
}

__all__ = [
    "Agent",
    "AgentsError",
    "BadAgent",
    "BadSettings",
    "Channel",
    "ChannelClosed",
    "CircuitOpen",
    "Context",
    "Decision",
    "Delivery",
    "GiveUp",
    "InvalidArguments",
    "Message",
    "Net",
    "NoProvider",
    "NoQuorum",
    "Node",
    "NodeNotUp",
    "OutcomeUnknown",
    "Task",
    "TaskCancelled",
    "TaskError",
    "TaskFailed",
    "TaskParked",
    "TaskTimeout",
    "TaskUnknown",
    "Tasks",
    "connect",
    "map_reduce",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'agents' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
