"""Since when who votes is known for certain: what confirms it, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agents.cluster import Cluster
from agents.confirming import Confirming
from agents.electorate import Electorate
from consensus import Membership
from keys import Identity, PeerId
from keys.voters import TRUSTED_MS, ConfirmedFile

A, B, C, D, OWN = sorted(Identity.from_secret(bytes([n]) * 32).peer_id for n in range(1, 6))
LOG = "a" * 32
THEN_MS = 1_700_000_000_000
DAY_MS = 86_400_000


class Hands:
    """A clock whose two faces are set by hand."""

    def __init__(self) -> None:
        self.now, self.wall = 0, THEN_MS

    def now_ms(self) -> int:
        return self.now

    def wall_ms(self) -> int:
        return self.wall

    def pass_ms(self, ms: int) -> None:
        self.now, self.wall = self.now + ms, self.wall + ms


class Desk:
    def __init__(self, home: Path, own: PeerId = OWN) -> None:
        self.home, self.own, self.clock = home, own, Hands()
        self.electorate = Electorate()
        self.electorate.begin(Cluster(0, LOG), (A, B, C))
        self.start()

    def start(self) -> None:
        self.confirming = Confirming(self.own, self.clock, self.electorate, self.home)
        self.confirming.begin(THEN_MS)

    def hears(self, *peers: PeerId) -> None:
        for peer in peers:
            self.confirming.heard(peer)

    def moves(self, index: int, *voters: PeerId) -> None:
        self.electorate.learn(Cluster(0, LOG), index, Membership(tuple(sorted(voters))))
        self.confirming.moved()


def test_the_first_roster_holds_from_the_day_when_it_was_signed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert not desk.confirming.is_stale
    desk.clock.pass_ms(TRUSTED_MS + 1)
    assert desk.confirming.is_stale
    desk.start()
    assert desk.confirming.is_stale


@pytest.mark.parametrize(
    ("hears", "is_stale"),
    [
        (lambda desk: desk.hears(A), True),
        (lambda desk: desk.hears(A, A, D), True),
        (lambda desk: (desk.hears(A), desk.clock.pass_ms(60_001), desk.hears(B)), True),
        (lambda desk: desk.hears(A, B), False),
        (lambda desk: (desk.hears(C), desk.clock.pass_ms(59_000), desk.hears(A)), False),
    ],
)
def test_a_majority_of_the_known_within_a_minute_confirms_it(
    tmp_path: Path, hears: Callable[[Desk], object], is_stale: bool
) -> None:
    desk = Desk(tmp_path)
    desk.clock.pass_ms(TRUSTED_MS + DAY_MS)
    hears(desk)
    assert desk.confirming.is_stale is is_stale
    desk.start()
    assert desk.confirming.is_stale is is_stale, "and it is written down"


def test_a_voter_counts_itself(tmp_path: Path) -> None:
    desk = Desk(tmp_path, own=B)
    desk.clock.pass_ms(TRUSTED_MS + DAY_MS)
    desk.hears(A)
    assert not desk.confirming.is_stale


def test_who_votes_alone_needs_nobody_s_word(tmp_path: Path) -> None:
    desk = Desk(tmp_path, own=B)
    desk.moves(7, B)
    desk.clock.pass_ms(TRUSTED_MS + DAY_MS)
    assert not desk.confirming.is_stale
    desk.moves(9, A, B, C)
    assert desk.confirming.is_stale
    desk.hears(A)
    assert not desk.confirming.is_stale


def test_a_proof_makes_nothing_younger_and_is_no_younger_than_what_it_follows(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path)
    desk.clock.pass_ms(50 * DAY_MS)
    desk.moves(7, B, C, D)
    assert desk.confirming.since_ms == THEN_MS
    desk.clock.pass_ms(41 * DAY_MS)
    assert desk.confirming.is_stale
    desk.hears(A, B)
    assert desk.confirming.is_stale, "A votes no more"
    desk.hears(D)
    assert not desk.confirming.is_stale
    desk.moves(9, A, B, C)
    desk.start()
    assert desk.confirming.since_ms == THEN_MS + 91 * DAY_MS


def test_a_clock_that_was_ahead_makes_it_no_younger(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.clock.wall += 1000 * DAY_MS
    desk.hears(A, B)
    assert not desk.confirming.is_stale
    desk.clock.wall -= 1000 * DAY_MS
    assert desk.confirming.is_stale
    desk.start()
    assert desk.confirming.is_stale
    desk.hears(A, B)
    assert not desk.confirming.is_stale
    desk.start()
    assert not desk.confirming.is_stale, "what was written ahead is written anew"


def test_it_is_written_once_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[object] = []
    save = ConfirmedFile.save
    monkeypatch.setattr(ConfirmedFile, "save", lambda *all: (writes.append(all), save(*all)))
    desk = Desk(tmp_path)
    for _ in range(3 * 24 * 60):
        desk.clock.pass_ms(60_000)
        desk.hears(A, B, C)
    assert 2 <= len(writes) <= 4


def test_what_was_confirmed_of_others_is_nothing_of_these(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.clock.pass_ms(DAY_MS)
    desk.hears(A, B)
    desk.electorate.learn(Cluster(0, LOG), 7, Membership((B, C, D)))  # a crash before it is moved
    desk.start()
    assert desk.confirming.since_ms == 0
    assert desk.confirming.is_stale
