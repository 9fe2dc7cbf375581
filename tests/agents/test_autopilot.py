"""The autopilot: a table of scenarios, what it waits for, and random lives of a toy cluster."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from autopilot_lab import LAST_INDEX, ToyCluster, first_change, view_of
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.autopilot import (
    Autopilot,
    AutopilotSettings,
    ChangeKind,
    Phase,
    View,
    handover_target,
)
from agents.errors import BadSettings
from keys import PeerId

A, B, C, D, E = map(PeerId, "ABCDE")

TABLE = [
    # a healthy network
    ("A B C", 5, Phase.CONTENT),
    ("A B C | | D", 5, Phase.CONTENT),
    ("A B C | D", 5, Phase.CONTENT),
    ("A B C | | D E", 3, Phase.CONTENT),
    ("A", 5, Phase.CONTENT),
    ("A | | B", 5, Phase.CONTENT),
    # growing: one learner at a time, promoted in such numbers that voters stay odd
    ("A | | B C", 5, "add learner B"),
    ("A | B | C", 5, "add learner C"),
    ("A | B C<5000", 5, Phase.CATCHING_UP),
    ("A | B C", 5, "promote B, C"),
    ("A B C | | D=300 E=600", 5, "add learner E"),
    ("A B C | D E=600 F", 5, "promote D, E"),
    ("A B | | C", 5, "add learner C"),
    ("A B | C", 5, "promote C"),
    ("A B C D | E", 5, "promote E"),
    ("A B C D E | F G", 7, "promote F, G"),
    ("A B C D E | F G", 5, Phase.CONTENT),
    ("A B C | D E~", 5, Phase.CONTENT),
    ("A B C | | D E+2", 5, "add learner D"),
    # a dead voter
    ("A B C-90", 3, Phase.KEEPING),
    ("A B C-30 | D", 3, Phase.CONTENT),
    ("A B C-90 | | D", 3, "add learner D"),
    ("A B C-90 | D<5000", 3, Phase.CATCHING_UP),
    ("A B C-90 | D", 3, "replace C by D"),
    ("A B C-90 | D-5", 3, Phase.KEEPING),
    ("A B C-90 | D~", 3, Phase.KEEPING),
    ("A B C-90 | D-5 | E", 3, "add learner E"),
    ("A B C-90 D-90 E | F=300 G=600", 5, "replace C by G"),
    ("A B-90 C-90 | D", 3, Phase.UNSAFE),
    ("A B-90 | C", 3, Phase.UNSAFE),
    # one that has left for good
    ("A B C!-1 | D", 3, "replace C by D"),
    ("A B C!-1", 3, "remove C"),
    ("A B!-1 C!-1", 3, Phase.KEEPING),
    ("A B C D!-1", 5, "remove D"),
    # one that should not vote
    ("A B C~ | D", 3, "replace C by D"),
    ("A B C~", 3, Phase.KEEPING),
    ("A B C D~", 5, "demote D"),
    ("A B~", 3, "demote B"),
    ("A~ B C", 3, Phase.HAND_OVER),
    ("A~ | B", 3, "promote B"),
    ("A~ B", 1, Phase.HAND_OVER),
    # more than wanted
    ("A B C D=300 E", 3, "demote D"),
    ("A=100 B C D E", 3, "demote B"),
    ("A B C D-5 E=1", 3, "remove D"),
    ("A B C D-5 E-90", 3, "remove E"),
    ("A B C~ D-90", 3, "remove D"),
    ("A B C D-90 E-90 F-90", 3, Phase.UNSAFE),
    ("A B", 1, "demote B"),
    # learners
    ("A B C | D-90", 3, "drop learner D"),
    ("A B C | D-30", 3, Phase.CONTENT),
    ("A B C | D!-1", 3, "drop learner D"),
]


def _explained(pilot: Autopilot) -> str:
    text = pilot.explain()
    assert "voters alive" in text
    return text


@pytest.mark.parametrize(("text", "max_voters", "expected"), TABLE)
def test_what_is_proposed(text: str, max_voters: int, expected: str | Phase) -> None:
    pilot = Autopilot(AutopilotSettings(max_voters=max_voters, patience_ms=1_000_000))
    change = first_change(pilot, view_of(text), seconds=80 if "~" in text else 20)
    assert expected in (str(change).partition(" (")[0] if change else None, pilot.phase)
    if isinstance(expected, Phase):
        assert change is None
        assert expected.value in _explained(pilot)
    else:
        assert pilot.phase is Phase.PROPOSED
        assert str(change) in _explained(pilot)


def test_a_change_names_all_members_after_it() -> None:
    change = first_change(Autopilot(AutopilotSettings(max_voters=3)), view_of("A B C-90 | D E"))
    assert change is not None
    assert (change.kind, change.entering, change.leaving) == (ChangeKind.REPLACE, (D,), (C,))
    assert (change.voters, change.learners) == ((A, B, D), (E,))


def test_a_live_voter_that_goes_stays_as_a_learner() -> None:
    pilot = Autopilot(AutopilotSettings(max_voters=3))
    change = first_change(pilot, view_of("A B C~ | D"), seconds=80)
    assert change is not None
    assert (change.voters, change.learners) == ((A, B, D), (C,))


@pytest.mark.parametrize(
    "hindrance",
    [
        {"is_changing": True},
        {"outgoing": (A, B, E)},
        {"has_committed_own": False},
        {"leader": B},
        {"leader": None},
    ],
)
def test_nothing_is_proposed_while_something_forbids_it(hindrance: dict[str, object]) -> None:
    view = replace(view_of("A B C-90 | D"), **hindrance)  # type: ignore[arg-type]
    pilot = Autopilot()
    assert first_change(pilot, view, seconds=300) is None
    assert pilot.phase in (Phase.CHANGING, Phase.UNCONFIRMED, Phase.FOLLOWING)


def test_a_wish_must_last_before_it_is_proposed() -> None:
    pilot = Autopilot(AutopilotSettings(max_voters=3))
    wishes = view_of("A B C-90 | | D")
    calm = view_of("A B C | | D")
    for second in range(100):
        view = calm if second % 5 == 4 else wishes  # four seconds at a time are not enough
        assert pilot.step(view, 1000 * second) is None
    assert first_change(pilot, wishes, begin_ms=100_000) is not None


def test_a_proposal_that_nothing_came_of_is_made_again_but_not_at_once() -> None:
    pilot = Autopilot()
    view = view_of("A B C-90 | | D")
    said = [second for second in range(30) if pilot.step(view, 1000 * second) is not None]
    assert said == [5, 10, 15, 20, 25]


def test_a_new_leader_begins_afresh() -> None:
    pilot = Autopilot(AutopilotSettings(max_voters=3))
    view = view_of("A B C-90 | D")
    for second in range(6):
        assert pilot.step(view, 1000 * second) is None
    pilot.step(replace(view, leader=B), 6000)
    assert pilot.phase is Phase.FOLLOWING
    assert all(pilot.step(view, 1000 * second) is None for second in range(7, 14))
    assert pilot.step(view, 14_000) is not None


def test_scores_that_tremble_do_not_make_wishes_tremble() -> None:
    pilot = Autopilot(AutopilotSettings(max_voters=3))
    views = [view_of("A B C-90 | | D=500 E=540"), view_of("A B C-90 | | D=540 E=500")]
    said = [pilot.step(views[second % 2], 1000 * second) for second in range(6)]
    assert [str(change)[:13] for change in said if change] == ["add learner E"]


def test_a_much_better_peer_is_preferred_after_all() -> None:
    pilot = Autopilot(AutopilotSettings(max_voters=3))
    pilot.step(view_of("A B C-90 | | D=500 E=540"), 0)
    change = first_change(pilot, view_of("A B C-90 | | D=700 E=540"), begin_ms=1000)
    assert change is not None
    assert change.entering == (D,)


def test_a_voter_whose_log_grows_is_not_dead_whatever_is_said_of_it() -> None:
    pilot = Autopilot(AutopilotSettings(max_voters=3))
    for second in range(200):
        last_index = LAST_INDEX + 10 * second
        assert pilot.step(_all_at(view_of("A B C-90 | D"), last_index), 1000 * second) is None
    stopped = _all_at(view_of("A B C-90 | D"), last_index)
    assert first_change(pilot, stopped, begin_ms=200_000, seconds=58) is None
    change = first_change(pilot, stopped, begin_ms=259_000, seconds=10)
    assert change is not None
    assert change.leaving == (C,)


def _all_at(view: View, index: int) -> View:
    members = (replace(m, match_index=index) for m in view.members)
    return replace(view, last_index=index, members=tuple(members))


def test_a_learner_that_does_not_come_along_is_not_waited_for_for_ever() -> None:
    pilot = Autopilot(AutopilotSettings(max_voters=3, patience_ms=60_000))
    view = view_of("A B C-90 | D<5000 | E")
    assert first_change(pilot, view, seconds=60) is None
    assert pilot.phase is not Phase.CONTENT
    change = first_change(pilot, view, begin_ms=61_000)
    assert change is not None
    assert change.entering == (E,)


def test_a_voter_that_should_not_vote_for_a_moment_only_stays_one() -> None:
    pilot = Autopilot(AutopilotSettings(max_voters=3))
    for minute in range(10):
        begin_ms = 60_000 * minute
        assert first_change(pilot, view_of("A B C~ | D"), begin_ms=begin_ms, seconds=58) is None
        assert pilot.step(view_of("A B C | D"), begin_ms + 59_000) is None


def test_a_peer_that_was_up_for_a_moment_only_is_no_candidate_however_good_it_is() -> None:
    pilot = Autopilot(AutopilotSettings(max_voters=3))
    view = view_of("A B C-90 | | D=900 E=100")
    for second in range(5):
        assert pilot.step(_up_since(view, D, 1000 * second - 4000), 1000 * second) is None
    change = pilot.step(_up_since(view, D, 1000), 5000)
    assert change is not None
    assert change.entering == (E,)


def _up_since(view: View, peer: PeerId, since_ms: int) -> View:
    members = (replace(m, since_ms=since_ms) if m.peer == peer else m for m in view.members)
    return replace(view, members=tuple(members))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A B C", "3 of 3 voters alive, 3 wanted, 1 more may die; nothing to do"),
        ("A B", "2 of 2 voters alive, 2 wanted, none may die; nothing to do"),
        ("A B-90 C-90", "1 of 3 voters alive, 3 wanted, no quorum; unfit voters are kept"),
        ("A B C-90 | | D", "a change is due, if things stay as they are: add learner D (it is to"),
        ("A B C-90 | D<5000", "spares are catching up: D"),
    ],
)
def test_it_explains_itself(text: str, expected: str) -> None:
    pilot = Autopilot()
    pilot.step(view_of(text), 0)
    assert expected in pilot.explain()


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong in (0, 2, 9):
        with pytest.raises(BadSettings):
            AutopilotSettings(max_voters=wrong)
    with pytest.raises(BadSettings):
        AutopilotSettings(settle_ms=-1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A B=400 C=600", C),
        ("A B=400 C=600<5000", B),
        ("A B=400 C=600-1", B),
        ("A B=400 C=600~", B),
        ("A B=400 C=600!", B),
        ("A B=400 C=400", B),
        ("A B=400 C=400<3", B),
        ("A B<3 C", C),
        ("A | B C", None),
        ("A", None),
    ],
)
def test_leadership_goes_to_the_best_live_voter_that_has_the_log(
    text: str, expected: PeerId | None
) -> None:
    assert handover_target(view_of(text)) == expected


# Whole lives


def _random_life(cluster: ToyCluster, minutes: int) -> None:
    """Nodes die, return, join, leave and change their minds."""
    rng = cluster.rng
    joining = list("UVWXYZ")
    for _ in range(minutes * 4):
        cluster.run(rng.choice([1, 4, 15, 15, 40]))
        peer = rng.choice(sorted(cluster.nodes))
        node = cluster.nodes[peer]
        event = rng.random()
        if node.has_left:
            continue
        if event < 0.35:
            cluster.set_up(peer, False)
        elif event < 0.80:
            cluster.set_up(peer, True)
        elif event < 0.88 and joining:
            cluster.join(joining.pop())
        elif event < 0.90:
            cluster.leave(peer)
        elif event < 0.95:
            node.may_vote = rng.random() < 0.7
        else:
            node.score = rng.randint(0, 1000)


@given(st.integers(0, 2**32), st.sampled_from([1, 3, 5, 7]), st.integers(1, 9), st.data())
@settings(max_examples=60, deadline=None)
def test_every_change_in_a_random_life_is_safe_and_quiet_brings_the_wanted_number(
    seed: int, max_voters: int, size: int, data: st.DataObject
) -> None:
    """`check_change` runs on every proposal that any node makes."""
    rng = random.Random(seed)
    begin = data.draw(st.integers(1, size))
    names = "ABCDEFGHI"[:size]
    voters = tuple(PeerId(name) for name in names[:begin])
    cluster = ToyCluster(rng, names, voters, AutopilotSettings(max_voters=max_voters))
    _random_life(cluster, 20)
    for peer, node in cluster.nodes.items():
        node.may_vote = True
        if not node.has_left:
            cluster.set_up(peer, True)
    cluster.run(900)
    done = len(cluster.changes)
    cluster.run(600)
    assert len(cluster.changes) == done, cluster.changes[done:]
    if cluster.has_quorum():
        _check_converged(cluster, max_voters)


def _check_converged(cluster: ToyCluster, max_voters: int) -> None:
    here = [peer for peer, node in cluster.nodes.items() if node.is_up]
    voters = cluster.voters
    assert all(cluster.nodes[peer].is_up for peer in voters)
    assert len(voters) <= max_voters
    assert len(voters) % 2 == 1 or len(voters) == len(here)
    assert len(voters) >= min(max_voters, len(here) - 1 + len(here) % 2)


@given(st.integers(0, 2**32), st.integers(1, 2))
@settings(max_examples=30, deadline=None)
def test_voters_that_stay_dead_are_replaced_while_spares_last(seed: int, dead: int) -> None:
    rng = random.Random(seed)
    cluster = ToyCluster(rng, "ABCDEFG", tuple(map(PeerId, "ABCDE")))
    cluster.run(60)
    for peer in rng.sample(sorted(cluster.voters), dead):
        cluster.set_up(peer, False)
    cluster.run(55)
    assert not cluster.changes
    cluster.run(300)
    assert len(cluster.voters) == 5
    assert all(cluster.nodes[peer].is_up for peer in cluster.voters)
    assert len(cluster.changes) == 2 * dead  # a learner and a replacement each


@given(st.integers(0, 2**32), st.sampled_from("BCDEF"), st.integers(1, 100), st.integers(1, 62))
@settings(max_examples=20, deadline=None)
def test_a_node_that_flaps_causes_a_bounded_number_of_changes(
    seed: int, flapping: str, up_s: int, down_s: int
) -> None:
    rng = random.Random(seed)
    cluster = ToyCluster(rng, "ABCDEF", tuple(map(PeerId, "ABC")))
    for _ in range(3600 // (up_s + down_s)):
        cluster.set_up(PeerId(flapping), False)
        cluster.run(down_s)
        cluster.set_up(PeerId(flapping), True)
        cluster.run(up_s)
    assert len(cluster.changes) <= 6, cluster.changes
    assert not [change for at_ms, change in cluster.changes if at_ms > 1_800_000]


def test_two_nodes_that_die_for_long_in_turns_change_places_no_faster_than_death_is_believed() -> (
    None
):
    cluster = ToyCluster(
        random.Random(3), "ABCD", tuple(map(PeerId, "ABC")), AutopilotSettings(max_voters=3)
    )
    for turn in range(20):
        cluster.set_up(C if turn % 2 else D, True)
        cluster.set_up(D if turn % 2 else C, False)
        cluster.run(180)
    replaced = [ms for ms, c in cluster.changes if c.kind is ChangeKind.REPLACE]
    assert all(later - earlier >= 60_000 for earlier, later in pairwise(replaced))
    assert cluster.has_quorum()
