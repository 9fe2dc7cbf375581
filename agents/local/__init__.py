"""The way from a program on this machine to the node that runs here."""

from agents.local.attach import AttachedGate, attach
from agents.local.channel import MAX_ITEM_BYTES, Duplex, GateChannel
from agents.local.door import LocalDoor
from agents.local.frames import describe_error, rebuild_error
from agents.local.gate import DirectGate, Gate, Operation, Stream, Table

__all__ = [
    "MAX_ITEM_BYTES",
    "AttachedGate",
    "DirectGate",
    "Duplex",
    "Gate",
    "GateChannel",
    "LocalDoor",
    "Operation",
    "Stream",
    "Table",
    "attach",
    "describe_error",
    "rebuild_error",
]
