"""Calls, notices and acknowledged messages between the agents of different nodes."""

from agents.calling.caller import Wishes
from agents.calling.calling import Calling
from agents.calling.messages import PRIORITIES

__all__ = ["PRIORITIES", "Calling", "Wishes"]
