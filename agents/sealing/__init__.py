"""Sealing on a node: messages, tasks, publications and streams that only their readers open."""

from agents.sealing.operations import sealing_operations
from agents.sealing.programs import SealingNet, Unsealed
from agents.sealing.service import Sealing
from agents.sealing.streams import SealedPipe, SealedStreams
from agents.sealing.tasks import OpenedWork, SealedTasks, hidden
from agents.sealing.topics import SealedReader, SealedTopics

__all__ = [
    "OpenedWork",
    "SealedPipe",
    "SealedReader",
    "SealedStreams",
    "SealedTasks",
    "SealedTopics",
    "Sealing",
    "SealingNet",
    "Unsealed",
    "hidden",
    "sealing_operations",
]
