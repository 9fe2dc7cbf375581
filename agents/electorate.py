"""Who votes and who listens, as far as one node knows: a core without I/O.

It begins with the signed roster; after that only decisions of the voters change it. Each is known
by the index of its log entry, and a later one replaces an earlier one, whoever says it: a member
reads it off its own log, everybody else is told by one.

What this module does not know: where words come from, who leads.

Invariant: the index never goes back.
"""

from __future__ import annotations

from collections.abc import Iterable

from consensus import Membership, MembershipInvalid
from keys import PeerId


class Electorate:
    """What is known now."""

    def __init__(self) -> None:
        self.index = -1
        self.membership = Membership()

    def begin(self, voters: Iterable[PeerId]) -> None:
        """There is a roster."""
        if self.index < 0:
            self.index, self.membership = 0, Membership(tuple(sorted(voters)))

    def learn(self, index: int, membership: Membership) -> bool:
        """Take a decision of the voters; whether it is news."""
        if index <= self.index or not membership.voters:
            return False
        self.index, self.membership = index, membership
        return True

    @property
    def is_known(self) -> bool:
        return self.index >= 0

    @property
    def voters(self) -> tuple[PeerId, ...]:
        return tuple(PeerId(name) for name in self.membership.voters)

    @property
    def learners(self) -> tuple[PeerId, ...]:
        return tuple(PeerId(name) for name in self.membership.learners)

    def is_voter(self, peer_id: PeerId) -> bool:
        return peer_id in self.membership.voters

    def has_majority(self, present: Iterable[PeerId]) -> bool:
        """Whether these could decide."""
        return self.membership.has_quorum(set(present))

    def to_wire(self) -> list[object]:
        """As plain data for another node."""
        return [self.index, self.membership.encode()]

    def learn_from_wire(self, value: object) -> bool:
        """Take another node's word; whether it was news. What is no such word changes nothing."""
        if not (isinstance(value, list) and len(value) == 2):
            return False
        index, data = value
        if type(index) is not int or not isinstance(data, bytes):
            return False
        try:
            return self.learn(index, Membership.decode(data))
        except MembershipInvalid:
            return False
