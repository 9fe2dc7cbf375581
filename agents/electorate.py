"""Who votes and who listens, as far as one node knows: a core without I/O.

It begins with the signed roster; after that only decisions of the voters change it. Each is known
by the log it is in and the index of its entry, and a later one replaces an earlier one: a member
reads it off its own log, everybody else believes what voters have signed (`agents.vouching`).

What this module does not know: where words come from, who leads.

Invariant: neither the generation nor, within one, the index goes back.
"""

from __future__ import annotations

from collections.abc import Iterable

from agents.cluster import ID_CHARS, MAX_GENERATION, Cluster
from consensus import Membership, MembershipInvalid
from keys import PeerId
from keys.voters import VoterSet

UNKNOWN = Cluster(-1, "")
MAX_INDEX = 2**62  # what every log can hold


class Electorate:
    """What is known now."""

    def __init__(self) -> None:
        self.cluster = UNKNOWN
        self.index = -1
        self.membership = Membership()

    def begin(self, cluster: Cluster, voters: Iterable[PeerId]) -> None:
        """There is a roster; or this node was told which log to follow, then without voters."""
        if cluster > self.cluster:
            self.cluster = cluster
            self.membership = Membership(tuple(sorted(voters)))
            self.index = 0 if self.membership.voters else -1

    def learn(self, cluster: Cluster, index: int, membership: Membership) -> bool:
        """Take a decision of the voters; whether it is news."""
        if not membership.voters or self.place_of(cluster, index) <= self.place:
            return False
        self.cluster, self.index, self.membership = cluster, index, membership
        return True

    @staticmethod
    def place_of(cluster: Cluster, index: int) -> tuple[int, int]:
        """What decides which of two words is the later one."""
        return (cluster.generation, index)

    @property
    def place(self) -> tuple[int, int]:
        return self.place_of(self.cluster, self.index)

    def known(self) -> VoterSet:
        """As those who prove it to others have it."""
        now = self.membership
        groups = (now.voters, now.outgoing, now.learners, now.learners_next)
        named = (tuple(PeerId(name) for name in group) for group in groups)
        return VoterSet(self.cluster.generation, self.cluster.cluster_id, self.index, *named)

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
        cluster = self.cluster
        return [cluster.generation, cluster.cluster_id, self.index, self.membership.encode()]

    def learn_from_wire(self, value: object, own: Cluster | None = None) -> bool:
        """Take another node's word; whether it was news. What is no such word changes nothing, nor
        does one on a log beside the one that we are a member of: two nodes began again at once."""
        if not (isinstance(value, list) and len(value) == 4):
            return False
        generation, cluster_id, index, data = value
        shaped = type(generation) is int and type(index) is int and isinstance(data, bytes)
        if not shaped or not isinstance(cluster_id, str) or len(cluster_id) != ID_CHARS:
            return False
        cluster = Cluster(generation, cluster_id)
        if generation > MAX_GENERATION or index > MAX_INDEX:
            return False
        if own is not None and generation == own.generation and cluster != own:
            return False
        try:
            return self.learn(cluster, index, Membership.decode(data))
        except MembershipInvalid:
            return False
