"""Handlers and how they run: what an agent offers, seen from the node that hosts it."""

from agents.hosting.channel import Channel, Pipe
from agents.hosting.context import Context, TaskGrant
from agents.hosting.deadline import handler_deadline_ms
from agents.hosting.demand import Demand, demand_of
from agents.hosting.handler import Handler, Kind, Terms
from agents.hosting.offer import Offer
from agents.hosting.values import as_type, explain, from_bytes, to_bytes

__all__ = [
    "Channel",
    "Context",
    "Demand",
    "Handler",
    "Kind",
    "Offer",
    "Pipe",
    "TaskGrant",
    "Terms",
    "as_type",
    "demand_of",
    "explain",
    "from_bytes",
    "handler_deadline_ms",
    "to_bytes",
]
