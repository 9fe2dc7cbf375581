"""Who is alive among the admitted peers. A pure core in `swim`; it hints, it never decides who may
vote."""

from p2p.membership.heartbeat import Heartbeat
from p2p.membership.member import Member, MemberState

__all__ = [
    "Heartbeat",
    "Member",
    "MemberState",
]
