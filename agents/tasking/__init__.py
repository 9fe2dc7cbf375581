"""Tasks on a node: leading, working, asking."""

from agents.tasking.approving import Approvals
from agents.tasking.asking import Asking
from agents.tasking.leading import Leading
from agents.tasking.results import RESTING
from agents.tasking.voted import Polls, VoteWish
from agents.tasking.working import Working

__all__ = ["RESTING", "Approvals", "Asking", "Leading", "Polls", "VoteWish", "Working"]
