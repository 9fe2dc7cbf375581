"""The way from a program on this machine to the node that runs here."""

from agents.local.attach import AttachedGate, attach
from agents.local.door import LocalDoor
from agents.local.frames import describe_error, rebuild_error
from agents.local.gate import DirectGate, Gate, Operation, Stream

__all__ = [
    "AttachedGate",
    "DirectGate",
    "Gate",
    "LocalDoor",
    "Operation",
    "Stream",
    "attach",
    "describe_error",
    "rebuild_error",
]
