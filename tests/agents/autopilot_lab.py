"""Views in shorthand, and a toy cluster that carries out what autopilots propose.

Shorthand: `A B C-90 | D<5000 | E~`: voters, learners, others. The first voter leads and looks.

    -90     dead for 90 s           ~       not willing to vote
    +2      alive for 2 s only      !       has left for good
    <5000   lacks 5000 entries      =800    its score (500 otherwise)
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from agents.autopilot import (
    Autopilot,
    AutopilotSettings,
    Change,
    ChangeKind,
    MemberView,
    Phase,
    View,
    handover_target,
    quorum_of,
)
from keys import PeerId

LONG_AGO_MS = -3_600_000
LAST_INDEX = 1_000_000
_MEMBER = re.compile(r"(\w)((?:-\d+|\+\d+|<\d+|=\d+|~|!)*)")
_MARK = re.compile(r"([-+<=~!])(\d*)")


def view_of(text: str) -> View:
    """At time 0. Groups after the last one may be left out."""
    groups = [group.split() for group in text.split("|")]
    groups += [[] for _ in range(3 - len(groups))]
    members = [_member(word, is_member=i < 2) for i, group in enumerate(groups) for word in group]
    names = [[PeerId(word[0]) for word in group] for group in groups]
    return View(
        names[0][0], names[0][0], tuple(names[0]), tuple(names[1]), LAST_INDEX, tuple(members)
    )


def _member(word: str, *, is_member: bool) -> MemberView:
    match = _MEMBER.fullmatch(word)
    assert match is not None, word
    marks = {sign: int(number or 1) for sign, number in _MARK.findall(match[2])}
    since_ms = LONG_AGO_MS
    if "-" in marks or "+" in marks:
        since_ms = -1000 * marks.get("-", marks.get("+", 0))
    return MemberView(
        PeerId(match[1]),
        "-" not in marks,
        since_ms,
        LAST_INDEX - marks.get("<", 0) if is_member else None,
        marks.get("=", 500),
        "~" not in marks,
        "!" in marks,
    )


def first_change(
    pilot: Autopilot, view: View, *, begin_ms: int = 0, seconds: int = 20
) -> Change | None:
    """What is proposed while the view stays as it is."""
    for now_ms in range(begin_ms, begin_ms + 1000 * seconds + 1, 1000):
        change = pilot.step(view, now_ms)
        if change is not None:
            check_change(view, change, pilot.settings)
            return change
    return None


def check_change(view: View, change: Change, settings: AutopilotSettings) -> None:
    """What must hold for everything that is ever proposed."""
    live = {m.peer for m in view.members if m.is_alive and not m.has_left} | {view.me}
    live_before = len(live & set(view.voters))
    live_after = len(live & set(change.voters))
    margin_before = live_before - quorum_of(len(view.voters))
    margin_after = live_after - quorum_of(len(change.voters))
    assert margin_before >= 0
    assert margin_after >= 0
    assert margin_after >= margin_before or len(view.voters) > settings.max_voters
    assert not view.is_changing
    assert not view.outgoing
    assert view.has_committed_own
    assert view.leader == view.me
    assert view.me in change.voters
    assert set(change.voters) - set(view.voters) <= set(view.learners)
    assert not set(change.voters) & set(change.learners)
    assert (change.voters, change.learners) != (view.voters, view.learners)
    assert set(change.voters) - set(view.voters) <= live
    if change.kind is not ChangeKind.PROMOTE:
        assert len(change.voters) <= len(view.voters)
    else:
        assert len(change.voters) <= max(2, settings.max_voters)  # two: to hand over from one
    assert str(change).startswith(change.kind.value)


@dataclass
class Node:
    peer: PeerId
    pilot: Autopilot
    is_up: bool = True
    since_ms: int = 0
    match: int = 0
    score: int = 500
    may_vote: bool = True
    has_left: bool = False


@dataclass
class ToyCluster:
    """Raft reduced to what an autopilot can see of it. One tick is a second."""

    rng: random.Random
    names: str
    voters: tuple[PeerId, ...]
    settings: AutopilotSettings = field(default_factory=AutopilotSettings)
    entries_per_tick: int = 50
    catch_up_per_tick: int = 400

    def __post_init__(self) -> None:
        self.now_ms = 0
        self.last_index = 5000
        self.nodes = {PeerId(n): Node(PeerId(n), Autopilot(self.settings)) for n in self.names}
        self.outgoing: tuple[PeerId, ...] = ()
        self.learners: tuple[PeerId, ...] = ()
        self.leader: PeerId | None = None
        self.led_ticks = 0
        self.under_way: Change | None = None
        self.changes: list[tuple[int, Change]] = []
        for peer in self.voters:
            self.nodes[peer].match = self.last_index

    # What happens to it

    def set_up(self, peer: PeerId, is_up: bool) -> None:
        node = self.nodes[peer]
        if node.is_up != is_up:
            node.is_up, node.since_ms = is_up, self.now_ms

    def join(self, name: str) -> None:
        node = Node(PeerId(name), Autopilot(self.settings), since_ms=self.now_ms)
        self.nodes[node.peer] = node

    def leave(self, peer: PeerId) -> None:
        self.set_up(peer, False)
        self.nodes[peer].has_left = True

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.tick()

    # How it works

    def tick(self) -> None:
        self.now_ms += 1000
        self._elect()
        if self.leader is None:
            for node in self.nodes.values():
                node.pilot.step(self._view(node.peer), self.now_ms)
            return
        self._replicate()
        self._go_on_with_change()
        for peer, node in self.nodes.items():
            if node.is_up:
                self._step(peer, node)

    def has_quorum(self) -> bool:
        groups = [group for group in (self.voters, self.outgoing) if group]
        return all(
            sum(self.nodes[peer].is_up for peer in group) >= quorum_of(len(group))
            for group in groups
        )

    def _elect(self) -> None:
        if not self.has_quorum():
            self.leader = None
            return
        self.led_ticks += 1
        if self.leader in self.voters and self.nodes[self.leader].is_up:
            return
        able = [peer for peer in self.voters if self.nodes[peer].is_up]
        self.leader = max(able, key=lambda peer: (self.nodes[peer].match, peer))
        self.nodes[self.leader].match = self.last_index
        self.led_ticks = 0
        if self.under_way is not None and not self.outgoing:
            self.under_way = None  # never committed, lost with its leader

    def _replicate(self) -> None:
        assert self.leader is not None
        self.last_index += self.entries_per_tick
        for peer in {*self.voters, *self.outgoing, *self.learners}:
            node = self.nodes[peer]
            if node.is_up:
                node.match = min(self.last_index, node.match + self.catch_up_per_tick)
        self.nodes[self.leader].match = self.last_index

    def _go_on_with_change(self) -> None:
        change = self.under_way
        if change is None or self.rng.random() < 0.5:
            return
        if self.outgoing:
            self.outgoing = ()
            self.under_way, self.learners = None, change.learners
        elif change.voters == self.voters:
            self.under_way, self.learners = None, change.learners
        else:
            self.outgoing, self.voters = self.voters, change.voters
            self.learners = tuple(p for p in self.learners if p not in change.voters)

    def _step(self, peer: PeerId, node: Node) -> None:
        view = self._view(peer)
        change = node.pilot.step(view, self.now_ms)
        if change is not None:
            check_change(view, change, self.settings)
            if self.rng.random() < 0.9:  # else the log refused it
                self.under_way = change
                self.changes.append((self.now_ms, change))
        elif node.pilot.phase is Phase.HAND_OVER and self.under_way is None:
            target = handover_target(view)
            if target is not None and self.nodes[target].is_up:
                self.leader, self.led_ticks = target, 0

    def _view(self, peer: PeerId) -> View:
        if peer != self.leader:  # it looks no further
            return View(peer, self.leader, self.voters, self.learners, self.last_index, ())
        members = {*self.voters, *self.outgoing, *self.learners}
        return View(
            peer,
            self.leader,
            self.voters,
            self.learners,
            self.last_index,
            tuple(self._member_view(node, node.peer in members) for node in self.nodes.values()),
            self.outgoing,
            self.under_way is not None,
            self.led_ticks >= 2,
        )

    def _member_view(self, node: Node, is_member: bool) -> MemberView:
        """Failure detection takes three seconds to notice, either way."""
        noticed = self.now_ms - node.since_ms >= 3000
        is_alive = node.is_up if noticed else not node.is_up
        since_ms = node.since_ms + 3000 if noticed else LONG_AGO_MS
        score = node.score + self.rng.randint(-30, 30)
        match = node.match if is_member else None
        return MemberView(node.peer, is_alive, since_ms, match, score, node.may_vote, node.has_left)
