"""Calls, notices and acknowledged messages between the agents of different nodes."""

from agents.calling.caller import NEXT_MAY_DO, Course, Wishes, as_asked, nobody_was_asked
from agents.calling.calling import PROVIDER_WAIT_S, Calling
from agents.calling.choosers import outcome_of
from agents.calling.messages import NORMAL, PRIORITIES, read_message

__all__ = [
    "NEXT_MAY_DO",
    "NORMAL",
    "PRIORITIES",
    "PROVIDER_WAIT_S",
    "Calling",
    "Course",
    "Wishes",
    "as_asked",
    "nobody_was_asked",
    "outcome_of",
    "read_message",
]
