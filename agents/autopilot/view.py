"""What the autopilot looks at and what it proposes: plain data.

Times are milliseconds of the clock that `step` is given. Being alive is what failure detection
believes, thus a hint; how far a member's log reaches is what the leader knows from the member.

What this module does not know: when to change anything, how a change is carried out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Final

from agents.errors import BadSettings
from keys import PeerId

VOTER_COUNTS: Final = (1, 3, 5, 7)
CAUGHT_UP_ENTRIES: Final = 1_000  # below what the log itself asks for a promotion


@dataclass(frozen=True, slots=True)
class AutopilotSettings:
    """How many voters are wanted and how patient the autopilot is. Equal on all peers."""

    max_voters: int = 5
    dead_after_ms: int = 60_000  # of being dead, or not meant to vote: then a place is given away
    settle_ms: int = 5_000  # how long one and the same wish must last; how long a newcomer was up
    caught_up_entries: int = CAUGHT_UP_ENTRIES  # what a spare may lack of the log
    caught_up_ms: int = 2_000  # how long it must have lacked no more
    patience_ms: int = 60_000  # with a learner whose log does not grow
    score_margin: int = 100  # by which another peer must be better to be preferred after all

    def __post_init__(self) -> None:
        if self.max_voters not in VOTER_COUNTS:
            counts = ", ".join(map(str, VOTER_COUNTS))
            raise BadSettings(f"voters: {self.max_voters} is not one of {counts}")
        for item in fields(self):
            if getattr(self, item.name) < 0:
                raise BadSettings(f"{item.name}: must not be negative")


@dataclass(frozen=True, slots=True)
class MemberView:
    """One peer of the network, whether it is a member of the log or not."""

    peer: PeerId
    is_alive: bool
    since_ms: int  # alive, or dead, since then
    match_index: int | None = None  # how far its log is known to reach; None: it gets no log
    score: int = 0
    may_vote: bool = True  # by its role and settings
    has_left: bool = False  # for good: it said so, or was revoked


@dataclass(frozen=True, slots=True)
class View:
    """One moment, as the peer `me` sees it."""

    me: PeerId
    leader: PeerId | None
    voters: tuple[PeerId, ...]
    learners: tuple[PeerId, ...]
    last_index: int
    members: tuple[MemberView, ...]
    outgoing: tuple[PeerId, ...] = ()  # not empty: a joint membership is in force
    is_changing: bool = False  # a change is on its way
    has_committed_own: bool = True  # the leader, an entry of its own term


class ChangeKind(StrEnum):
    ADD_LEARNER = "add learner"
    PROMOTE = "promote"  # one learner, or two: the number of voters becomes odd
    REPLACE = "replace"  # a voter by a learner, in one joint change
    REMOVE = "remove"  # a voter that is dead or has left
    DEMOTE = "demote"  # a live voter becomes a learner
    DROP_LEARNER = "drop learner"  # one that is dead or has left


@dataclass(frozen=True, slots=True)
class Change:
    """A proposal for the log: these voters and learners from now on. Equal by what it does."""

    kind: ChangeKind
    entering: tuple[PeerId, ...]
    leaving: tuple[PeerId, ...]
    voters: tuple[PeerId, ...]
    learners: tuple[PeerId, ...]
    why: str = field(compare=False, default="")

    def __str__(self) -> str:
        entering, leaving = ", ".join(self.entering), ", ".join(self.leaving)
        by = " by " if entering and leaving else ""
        why = f" ({self.why})" if self.why else ""
        return f"{self.kind.value} {leaving}{by}{entering}{why}"


def change_of(
    view: View,
    kind: ChangeKind,
    *,
    entering: Iterable[PeerId] = (),
    leaving: Iterable[PeerId] = (),
    keep_as_learner: bool = False,
    why: str = "",
) -> Change:
    """The members after it. `keep_as_learner` says so of a voter that is on its way out."""
    enter, leave = tuple(sorted(entering)), tuple(sorted(leaving))
    voters, learners = set(view.voters), set(view.learners)
    match kind:
        case ChangeKind.ADD_LEARNER:
            learners.update(enter)
        case ChangeKind.DROP_LEARNER:
            learners.difference_update(leave)
        case _:
            learners.difference_update(enter)
            voters = voters - set(leave) | set(enter)
            if keep_as_learner:
                learners.update(leave)
    return Change(kind, enter, leave, tuple(sorted(voters)), tuple(sorted(learners)), why)


def quorum_of(voters: int) -> int:
    """How many of so many decide."""
    return voters // 2 + 1


def largest_odd(count: int) -> int:
    """The largest odd number up to `count`, at least 1."""
    return max(1, count - (count + 1) % 2)
