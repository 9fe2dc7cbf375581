"""Changes the members, as operators do who keep the rules: a lost disk never comes back under its
name, and nobody is asked to decide with those who are gone.

    add learner   a new node listens            promote   a learner votes
    demote        a voter listens               remove    a member is no member; its node goes on
    replace       a learner for a voter         wipe      a disk is lost, a new node comes for it

What this module does not know: when, whether a change is accepted.

Invariant: whatever membership comes into force, its living voters are a quorum.
"""

from __future__ import annotations

import random
from collections.abc import Collection

from consensus.raft import Membership, NodeId
from consensus.sim.cluster import Cluster
from consensus.sim.histories import REFUSED, UNKNOWN, Outcome
from consensus.sim.voter import Voter

MAX_VOTERS = 7
ASKED_FOR_MS = 20_000  # how long a wish may come true, late messages included


class Governor:
    """Asks leaders for changes."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._asked: list[tuple[int, Membership]] = []

    def govern(self, kind: str, rng: random.Random) -> None:
        """One change, if one of this kind is possible."""
        leaders = self._cluster.leaders
        if kind == "wipe":
            self._wipe(rng)
        elif leaders:
            leader = rng.choice(leaders)
            membership = leader.status().membership
            voters, learners = set(membership.voters), set(membership.learners)
            self._draw(kind, rng, voters, learners)
            if (voters, learners) != (set(membership.voters), set(membership.learners)):
                self._ask(leader, voters, learners)

    def may_lose(self, voter: Voter) -> bool:
        """Whether all would go on without this one, whatever comes into force."""
        return self._cluster.survives((voter.name,), self._possible())

    def may_go_on(self) -> bool:
        """Whether those who are left can decide."""
        return self._cluster.survives((), self._possible())

    def _draw(
        self, kind: str, rng: random.Random, voters: set[NodeId], learners: set[NodeId]
    ) -> None:
        """Change the two groups in place."""
        living = self._cluster.voters
        ready = sorted(name for name in learners if name in living)
        gone = sorted(name for name in voters if name not in living)
        leaving = rng.choice(gone) if gone else rng.choice(sorted(voters))
        match kind:
            case "add learner":
                outside = sorted(living.keys() - voters - learners)
                if outside and rng.random() < 0.3:
                    learners.add(rng.choice(outside))  # one that was removed comes back
                elif (newcomer := self._cluster.newcomer()) is not None:
                    learners.add(newcomer.name)
            case "promote" if ready:
                _move(rng.choice(ready), learners, voters)
            case "demote" if len(voters) > 1:
                _move(leaving, voters, learners)
            case "remove":
                everybody = [*sorted(learners), leaving]
                name = rng.choice(everybody)
                learners.discard(name)
                if len(voters) > 1:
                    voters.discard(name)
            case "replace" if ready:
                _move(rng.choice(ready), learners, voters)
                voters.discard(leaving)
            case "reshuffle":
                members = sorted({*voters, *ready})
                rng.shuffle(members)
                count = rng.randrange(1, len(members) + 1)
                voters.clear()
                voters.update(members[:count])
                learners.difference_update(voters)
                learners.update(members[count:])
            case _:
                pass

    def _ask(self, leader: Voter, voters: Collection[NodeId], learners: Collection[NodeId]) -> None:
        target = Membership(tuple(sorted(voters)))
        if len(voters) > MAX_VOTERS or not self._cluster.survives((), (target,)):
            return
        now_ms = self._cluster.timeline.now_ms
        self._asked.append((now_ms + ASKED_FOR_MS, target))
        marks = self._cluster.marks

        def settle(outcome: Outcome) -> None:
            if outcome is REFUSED:
                marks.hit("change refused")
            elif outcome is UNKNOWN:
                marks.hit("change with unknown outcome")
            else:
                marks.hit("change in force")

        self._cluster.desk.change(leader, sorted(voters), sorted(learners), settle)

    def _wipe(self, rng: random.Random) -> None:
        voter = rng.choice(tuple(self._cluster.voters.values()))
        if not self.may_lose(voter):
            return
        self._cluster.wipe(voter)
        newcomer = self._cluster.newcomer()
        leaders = self._cluster.leaders
        if newcomer is not None and leaders:
            leader = rng.choice(leaders)
            membership = leader.status().membership
            learners = {*membership.learners, newcomer.name} - {voter.name}
            self._ask(leader, membership.voters, learners)

    def _possible(self) -> list[Membership]:
        now_ms = self._cluster.timeline.now_ms
        self._asked = [item for item in self._asked if item[0] > now_ms]
        return [*self._cluster.memberships(), *(target for _, target in self._asked)]


def _move(name: NodeId, source: set[NodeId], target: set[NodeId]) -> None:
    source.discard(name)
    target.add(name)
