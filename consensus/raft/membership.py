"""Who votes, who only listens, and what a majority of them is, also while voters change.

A change of voters goes through a *joint* membership (paper section 6, etcd's raft): from the moment
it is committed until the next one is, every decision needs a majority of the new voters and one of
the outgoing ones. A membership is in force on a node once that node knows that it is committed.

What this module does not know: when a membership is proposed or committed; messages.

Invariants: names are sorted and unique; a learner is no voter; nobody who is being demoted
(`learners_next`) is still a voter of the new majority.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from consensus.errors import MembershipInvalid

NodeId = str
MAX_MEMBERS = 64


@dataclass(frozen=True, slots=True)
class Membership:
    """Voters, voters on their way out, and those who only receive the log."""

    voters: tuple[NodeId, ...] = ()
    outgoing: tuple[NodeId, ...] = ()  # not empty: joint, both majorities are needed
    learners: tuple[NodeId, ...] = ()
    learners_next: tuple[NodeId, ...] = ()  # outgoing voters that stay as learners

    @property
    def is_joint(self) -> bool:
        return bool(self.outgoing)

    @property
    def deciders(self) -> tuple[NodeId, ...]:
        """Everybody whose copy or vote counts anywhere."""
        return tuple(sorted({*self.voters, *self.outgoing}))

    @property
    def members(self) -> tuple[NodeId, ...]:
        """Everybody who receives the log."""
        return tuple(sorted({*self.voters, *self.outgoing, *self.learners}))

    def has_quorum(self, ids: Collection[NodeId]) -> bool:
        """Whether these are a majority of the voters, and of the outgoing ones if there are any."""
        return all(
            sum(voter in ids for voter in group) > len(group) // 2
            for group in (self.voters, self.outgoing)
            if group
        ) and bool(self.voters)

    def agreed(self, match: Mapping[NodeId, int]) -> int:
        """The highest index that a quorum has, given how far each one is."""
        return min(
            (
                sorted((match.get(voter, 0) for voter in group), reverse=True)[len(group) // 2]
                for group in (self.voters, self.outgoing)
                if group
            ),
            default=0,
        )

    def towards(self, voters: Iterable[NodeId], learners: Iterable[NodeId]) -> Membership:
        """The next step to these voters and learners: joint when the voters change.

        Raises:
            MembershipInvalid: nobody would vote, a name is in both groups, or nothing changes.
        """
        target = Membership(tuple(sorted(voters)), (), tuple(sorted(learners)))
        target.check()
        if self.is_joint:
            raise MembershipInvalid("another change is under way")
        if target == self:
            raise MembershipInvalid("it is the present one")
        if target.voters == self.voters:
            return target
        demoted = tuple(name for name in target.learners if name in self.voters)
        staying = tuple(name for name in target.learners if name not in self.voters)
        joint = Membership(target.voters, self.voters, staying, demoted)
        joint.check()
        return joint

    def left(self) -> Membership:
        """What follows a joint membership."""
        assert self.is_joint
        learners = tuple(sorted({*self.learners, *self.learners_next}))
        return Membership(self.voters, (), learners)

    def check(self) -> None:
        """
        Raises:
            MembershipInvalid.
        """
        groups = (self.voters, self.outgoing, self.learners, self.learners_next)
        if not self.voters:
            raise MembershipInvalid("nobody would vote")
        if any(list(group) != sorted(set(group)) for group in groups):
            raise MembershipInvalid("a name appears twice or out of order")
        if not all(_is_name(name) for group in groups for name in group):
            raise MembershipInvalid("a name is empty or no text")
        if {*self.voters, *self.outgoing} & set(self.learners):
            raise MembershipInvalid("a voter is also a learner")
        if not set(self.learners_next) <= set(self.outgoing) - set(self.voters):
            raise MembershipInvalid("only an outgoing voter becomes a learner by leaving")
        if len(self.members) > MAX_MEMBERS:
            raise MembershipInvalid(f"more than {MAX_MEMBERS} members")

    def encode(self) -> bytes:
        """As the data of an entry: equal memberships give equal bytes."""
        groups = (self.voters, self.outgoing, self.learners, self.learners_next)
        return json.dumps([1, *groups], separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def decode(cls, data: bytes) -> Membership:
        """
        Raises:
            MembershipInvalid: these bytes are no membership.
        """
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError):
            raise MembershipInvalid("no JSON") from None
        shaped = isinstance(fields, list) and len(fields) == 5 and fields[0] == 1
        if not shaped or not all(isinstance(group, list) for group in fields[1:]):
            raise MembershipInvalid("not four groups of names")
        if not all(isinstance(name, str) for group in fields[1:] for name in group):
            raise MembershipInvalid("a name is no text")
        membership = cls(*(tuple(group) for group in fields[1:]))
        membership.check()
        return membership


def _is_name(name: object) -> bool:
    """Text that can be encoded: half a surrogate pair cannot."""
    return isinstance(name, str) and name != "" and name.encode(errors="ignore").decode() == name
