"""What follows from a view and from what was seen before: who lives, is lost, is caught up.

`Observations` remembers, step by step, how far the members' logs have come and since when a peer
should not vote. It also corrects the failure detector: who is said to be dead while its log goes on
growing is not lost.

Invariants: this peer itself is always live; a lost voter is never live.
What this module does not know: what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable

from agents.autopilot.view import (
    AutopilotSettings,
    MemberView,
    View,
    largest_odd,
    quorum_of,
)
from keys import PeerId


class Observations:
    """What was seen of the members while this peer led."""

    def __init__(self) -> None:
        self._match: dict[PeerId, int] = {}
        self._seen_ms: dict[PeerId, int] = {}  # first seen as a member, or grown since
        self._grown_ms: dict[PeerId, int] = {}
        self._level_since_ms: dict[PeerId, int] = {}
        self._unwilling_since_ms: dict[PeerId, int] = {}

    def look(self, view: View, settings: AutopilotSettings, now_ms: int) -> None:
        """Once per step, whatever else is done in it."""
        for member in view.members:
            if member.may_vote:
                self._unwilling_since_ms.pop(member.peer, None)
            else:
                self._unwilling_since_ms.setdefault(member.peer, now_ms)
        present = {m.peer: m.match_index for m in view.members if m.match_index is not None}
        for peer in [peer for peer in self._match if peer not in present]:
            for known in self._of_logs():
                known.pop(peer, None)
        for peer, match in present.items():
            if match > self._match.get(peer, match):
                self._grown_ms[peer] = self._seen_ms[peer] = now_ms
            self._match[peer] = match
            self._seen_ms.setdefault(peer, now_ms)
            if view.last_index - match <= settings.caught_up_entries:
                self._level_since_ms.setdefault(peer, now_ms)
            else:
                self._level_since_ms.pop(peer, None)

    def clear(self) -> None:
        for known in (*self._of_logs(), self._unwilling_since_ms):
            known.clear()

    def unwilling_for_ms(self, peer: PeerId, now_ms: int) -> int:
        return now_ms - self._unwilling_since_ms.get(peer, now_ms)

    def level_for_ms(self, peer: PeerId, now_ms: int) -> int | None:
        """For how long the member has had nearly the whole log; None: it has not."""
        since_ms = self._level_since_ms.get(peer)
        return None if since_ms is None else now_ms - since_ms

    def has_grown_within(self, peer: PeerId, duration_ms: int, now_ms: int) -> bool:
        grown_ms = self._grown_ms.get(peer)
        return grown_ms is not None and now_ms - grown_ms < duration_ms

    def stands_still_for_ms(self, peer: PeerId, now_ms: int) -> int:
        """Since it grew, or was first seen as a member."""
        return now_ms - self._seen_ms.get(peer, now_ms)

    def _of_logs(self) -> tuple[dict[PeerId, int], ...]:
        return self._match, self._seen_ms, self._grown_ms, self._level_since_ms


class Situation:
    """One step's questions and answers. Groups come in the order of names."""

    def __init__(
        self, view: View, settings: AutopilotSettings, seen: Observations, now_ms: int
    ) -> None:
        self.view = view
        self.settings = settings
        self._seen = seen
        self._now_ms = now_ms
        self._members = {member.peer: member for member in view.members}

    # One peer

    def score(self, peer: PeerId) -> int:
        member = self._members.get(peer)
        return 0 if member is None else member.score

    def may_vote(self, peer: PeerId) -> bool:
        member = self._members.get(peer)
        if member is None:
            return peer == self.view.me
        return member.may_vote and not member.has_left

    def has_left(self, peer: PeerId) -> bool:
        member = self._members.get(peer)
        return member is not None and member.has_left

    def is_live(self, peer: PeerId) -> bool:
        member = self._members.get(peer)
        return peer == self.view.me or (member is not None and _is_up(member))

    def is_lost(self, peer: PeerId) -> bool:
        """Gone for good, or dead for so long that its place may be given away. Of a peer that
        nobody told us about we know neither."""
        member = self._members.get(peer)
        if member is None or peer == self.view.me or _is_up(member):
            return False
        wait_ms = self.settings.dead_after_ms
        return member.has_left or (
            self._now_ms - member.since_ms >= wait_ms
            and not self._seen.has_grown_within(peer, wait_ms, self._now_ms)
        )

    def is_steady(self, peer: PeerId) -> bool:
        """Up for a while: what flaps is no newcomer to count on."""
        member = self._members.get(peer)
        up_enough = member is not None and self._now_ms - member.since_ms >= self.settings.settle_ms
        return up_enough and self.is_live(peer)

    # Groups

    @property
    def lost_voters(self) -> tuple[PeerId, ...]:
        return tuple(sorted(peer for peer in self.view.voters if self.is_lost(peer)))

    @property
    def unwilling_voters(self) -> tuple[PeerId, ...]:
        """Live voters that should not be voters, and not only for a moment. Never the leader: it
        has to hand over first."""
        wait_ms = self.settings.dead_after_ms
        return tuple(
            peer
            for peer in sorted(self.view.voters)
            if peer != self.view.me
            and self.is_live(peer)
            and self._seen.unwilling_for_ms(peer, self._now_ms) >= wait_ms
            and not self.may_vote(peer)
        )

    @property
    def spares(self) -> tuple[PeerId, ...]:
        """Learners that can become voters at once."""
        return tuple(peer for peer in self._fit_learners() if self._is_caught_up(peer))

    @property
    def promising(self) -> tuple[PeerId, ...]:
        """Learners that are spares or on the way to it."""
        patience_ms = self.settings.patience_ms
        return tuple(
            peer
            for peer in self._fit_learners()
            if self._seen.level_for_ms(peer, self._now_ms) is not None
            or self._seen.stands_still_for_ms(peer, self._now_ms) < patience_ms
        )

    @property
    def candidates(self) -> tuple[PeerId, ...]:
        """Peers that could become learners, and voters in the end."""
        inside = {*self.view.voters, *self.view.learners}
        outside = sorted(peer for peer in self._members if peer not in inside)
        return tuple(peer for peer in outside if self.is_steady(peer) and self.may_vote(peer))

    @property
    def lost_learners(self) -> tuple[PeerId, ...]:
        return tuple(sorted(peer for peer in self.view.learners if self.is_lost(peer)))

    # Numbers

    @property
    def wanted(self) -> int:
        """The largest odd number of voters up to what is there and may be; a dead voter is there.

        Never less than the voters that should stay: an even number stands until one more comes.
        """
        view, limit = self.view, self.settings.max_voters
        staying = sum(
            not self.has_left(peer) and (self.may_vote(peer) or not self.is_live(peer))
            for peer in view.voters
        )
        available = staying + len(self.candidates) + len(self._fit_learners())
        return max(largest_odd(min(available, limit)), min(staying, limit))

    def live(self, voters: Iterable[PeerId]) -> int:
        return sum(map(self.is_live, voters))

    def margin(self, voters: tuple[PeerId, ...]) -> int:
        """How many of the live ones may die before nothing can be decided; negative: too many
        did."""
        return self.live(voters) - quorum_of(len(voters))

    def _fit_learners(self) -> tuple[PeerId, ...]:
        return tuple(
            peer
            for peer in sorted(self.view.learners)
            if self.is_steady(peer) and self.may_vote(peer)
        )

    def _is_caught_up(self, peer: PeerId) -> bool:
        level_ms = self._seen.level_for_ms(peer, self._now_ms)
        return level_ms is not None and level_ms >= self.settings.caught_up_ms


def _is_up(member: MemberView) -> bool:
    return member.is_alive and not member.has_left
