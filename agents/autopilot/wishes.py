"""Which change would be right now, if any: rules in order, each pure in the situation.

    too many voters        the most dispensable one goes
    an unfit voter         (lost, or unwilling) is replaced by a spare; without any in sight it is
                           let go only where that costs nothing and it did not just die
    too few voters         spares are promoted, so many that the number becomes odd
    too few spares         the best peer outside begins to receive the log
    a lost learner         no longer gets the log

Who is part of the present wish is preferred over one that is only a little better, so that scores
that tremble do not make wishes tremble.

Invariant (`is_safe`): before and after a change, live voters are a quorum; only the operator's wish
for fewer voters may leave the survivors less tolerant of faults than before.
What this module does not know: how long a wish has lasted, whether a change is under way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from agents.autopilot.situation import Situation
from agents.autopilot.view import Change, ChangeKind, change_of
from keys import PeerId


class Phase(StrEnum):
    """What the autopilot is doing."""

    FOLLOWING = "another peer leads"
    UNCONFIRMED = "this leader has not committed anything of its own yet"
    CHANGING = "a change is under way"
    CONTENT = "nothing to do"
    HAND_OVER = "this leader should not vote: another has to lead before it can be let go"
    CATCHING_UP = "spares are catching up"
    KEEPING = "unfit voters are kept, since there is nobody to take their place"
    UNSAFE = "a change is due, but too few voters are alive for it"
    SETTLING = "a change is due, if things stay as they are"
    PROPOSED = "a change was proposed"


@dataclass(frozen=True, slots=True)
class Waiting:
    """No change, and why not."""

    phase: Phase
    about: tuple[PeerId, ...] = ()


CONTENT = Waiting(Phase.CONTENT)


def wish_of(s: Situation, favoured: Collection[PeerId]) -> Change | Waiting:
    """The most urgent change that is safe; else what is waited for first."""
    waiting = CONTENT
    for rule in (_own_role, _too_many, _unfit, _too_few, _learn, _lost_learners):
        outcome = rule(s, favoured)
        if isinstance(outcome, Change):
            return outcome
        if waiting.phase is Phase.CONTENT:
            waiting = outcome
    return waiting


def is_safe(s: Situation, change: Change, *, costs_allowed: bool = False) -> bool:
    """Whether live voters decide before and after, and can lose as many of them as before."""
    before, after = s.margin(s.view.voters), s.margin(change.voters)
    stays = s.view.me in change.voters or s.view.me not in s.view.voters
    return before >= 0 and after >= 0 and stays and (costs_allowed or after >= before)


def _own_role(s: Situation, favoured: Collection[PeerId]) -> Change | Waiting:
    """Only says so: a leader is never let go, so another has to lead first."""
    me = s.view.me
    if me in s.view.voters and not s.may_vote(me):
        return Waiting(Phase.HAND_OVER, (me,))
    return CONTENT


def _too_many(s: Situation, favoured: Collection[PeerId]) -> Change | Waiting:
    if len(s.view.voters) <= s.settings.max_voters or not s.may_vote(s.view.me):
        return CONTENT  # a leader that should go itself lets nobody else go for the number's sake
    others = [peer for peer in s.view.voters if peer != s.view.me]

    def dispensable(peer: PeerId) -> tuple[bool, bool, bool, int, PeerId]:
        margin = s.settings.score_margin if peer in favoured else 0
        return (
            not s.is_lost(peer),
            s.is_live(peer),
            s.may_vote(peer),
            s.score(peer) - margin,
            peer,
        )

    more = f"voters: {len(s.view.voters)}, wanted: {s.settings.max_voters}"
    for peer in sorted(others, key=dispensable):
        change = _let_go(s, peer, more)
        if is_safe(s, change, costs_allowed=True):
            return change
    return Waiting(Phase.UNSAFE)


def _unfit(s: Situation, favoured: Collection[PeerId]) -> Change | Waiting:
    left = tuple(peer for peer in s.lost_voters if s.has_left(peer))
    dead = tuple(peer for peer in s.lost_voters if not s.has_left(peer))
    unfit = (*left, *dead, *s.unwilling_voters)
    if not unfit:
        return CONTENT
    out = unfit[0]
    spare = _best(s, s.spares, favoured)
    if spare is not None:
        change = change_of(
            s.view,
            ChangeKind.REPLACE,
            entering=(spare,),
            leaving=(out,),
            keep_as_learner=s.is_live(out),
            why=_reason(s, out),
        )
        return change if is_safe(s, change) else Waiting(Phase.UNSAFE, unfit)
    if s.promising or s.candidates:
        return Waiting(Phase.CATCHING_UP, s.promising)
    for peer in unfit:
        if s.has_left(peer) or s.is_live(peer):  # never because somebody only died
            change = _let_go(s, peer, _reason(s, peer))
            if is_safe(s, change):
                return change
    return Waiting(Phase.KEEPING, unfit)


def _too_few(s: Situation, favoured: Collection[PeerId]) -> Change | Waiting:
    missing = _missing(s)
    if not missing:
        return CONTENT
    spares = _by_merit(s, s.spares, favoured)
    if len(spares) < missing:
        return Waiting(Phase.CATCHING_UP, s.promising)
    change = change_of(
        s.view,
        ChangeKind.PROMOTE,
        entering=spares[:missing],
        why=f"voters: {len(s.view.voters)}, wanted: {s.wanted}",
    )
    return change if is_safe(s, change) else Waiting(Phase.UNSAFE)


def _learn(s: Situation, favoured: Collection[PeerId]) -> Change | Waiting:
    unfit = len(s.lost_voters) + len(s.unwilling_voters)
    if len(s.promising) >= unfit + _missing(s):
        return CONTENT
    best = _best(s, s.candidates, favoured)
    if best is None:
        return CONTENT
    return change_of(
        s.view, ChangeKind.ADD_LEARNER, entering=(best,), why="it is to become a voter"
    )


def _lost_learners(s: Situation, favoured: Collection[PeerId]) -> Change | Waiting:
    lost = s.lost_learners
    if not lost:
        return CONTENT
    return change_of(s.view, ChangeKind.DROP_LEARNER, leaving=lost[:1], why=_reason(s, lost[0]))


def _missing(s: Situation) -> int:
    """How many voters the next promotion adds: an odd number of voters stays odd."""
    voters = s.view.voters
    if voters == (s.view.me,) and not s.may_vote(s.view.me):
        return 1  # or there would be nobody to hand over to
    return 0 if len(voters) >= s.wanted else 1 + len(voters) % 2


def _let_go(s: Situation, peer: PeerId, why: str) -> Change:
    live = s.is_live(peer)
    kind = ChangeKind.DEMOTE if live else ChangeKind.REMOVE
    return change_of(s.view, kind, leaving=(peer,), keep_as_learner=live, why=why)


def _reason(s: Situation, peer: PeerId) -> str:
    if s.has_left(peer):
        return "it has left"
    return "its role is not to vote" if s.is_live(peer) else "it is dead"


def _by_merit(s: Situation, peers: Iterable[PeerId], favoured: Collection[PeerId]) -> list[PeerId]:
    margin = s.settings.score_margin
    return sorted(peers, key=lambda p: (-s.score(p) - (margin if p in favoured else 0), p))


def _best(s: Situation, peers: Iterable[PeerId], favoured: Collection[PeerId]) -> PeerId | None:
    return next(iter(_by_merit(s, peers, favoured)), None)
