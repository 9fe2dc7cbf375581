"""Who votes, kept in order without a person: proposals only. See `agents/DESIGN.md`."""

from agents.autopilot.autopilot import Autopilot, handover_target
from agents.autopilot.view import (
    VOTER_COUNTS,
    AutopilotSettings,
    Change,
    ChangeKind,
    MemberView,
    View,
    quorum_of,
)
from agents.autopilot.wishes import Phase

__all__ = [
    "VOTER_COUNTS",
    "Autopilot",
    "AutopilotSettings",
    "Change",
    "ChangeKind",
    "MemberView",
    "Phase",
    "View",
    "handover_target",
    "quorum_of",
]
