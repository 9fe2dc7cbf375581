"""Who is alive among the admitted peers. A pure core; it hints, it never decides who may vote."""

from p2p.membership.core import Membership
from p2p.membership.events import (
    Admitted,
    Changed,
    Drop,
    DropReason,
    Expelled,
    HeartbeatReceived,
    LeaveReceived,
    LinkLost,
    MembershipEffect,
    MembershipEvent,
    MemberState,
    Reason,
    Reintroduce,
    ReintroductionFailed,
    SendHeartbeat,
    Tick,
)
from p2p.membership.heartbeat import Heartbeat
from p2p.membership.member import Member, MembershipSettings

__all__ = [
    "Admitted",
    "Changed",
    "Drop",
    "DropReason",
    "Expelled",
    "Heartbeat",
    "HeartbeatReceived",
    "LeaveReceived",
    "LinkLost",
    "Member",
    "MemberState",
    "Membership",
    "MembershipEffect",
    "MembershipEvent",
    "MembershipSettings",
    "Reason",
    "Reintroduce",
    "ReintroductionFailed",
    "SendHeartbeat",
    "Tick",
]
