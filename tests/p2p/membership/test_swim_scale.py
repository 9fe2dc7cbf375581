"""Many members in one virtual world: how fast all know, what it costs, and who dies wrongly.

`python tests/p2p/membership/swim_lab.py` prints the same figures, of 1,000 members too.
"""

from __future__ import annotations

import random
import statistics

import pytest
from swim_lab import ALIVE, DEAD, World, an_id, crash_ms

from p2p.membership import MemberState
from p2p.membership.swim import Leave, Why
from p2p.membership.swim.rings import Rings

LIMIT_BYTES_A_SECOND = 2_048


def test_a_crash_among_ten_is_known_to_all_in_two_seconds() -> None:
    took_ms: list[int] = []
    for seed in range(50):
        world = World(10, seed)
        world.run(3_000 + 37 * seed)
        took_ms.append(crash_ms(world, world.ids[seed % 10]))
        assert {change.peer_id for _, _, change in world.deaths()} == {world.ids[seed % 10]}
    assert statistics.median(took_ms) <= 2_000, sorted(took_ms)
    assert max(took_ms) <= 3_000, sorted(took_ms)


@pytest.mark.parametrize("size", [10, 100, 300])
def test_joins_and_crashes_are_known_to_all_and_cost_little(size: int) -> None:
    world = World(size, 1, through_codec=size == 10, checked=size == 10)
    world.run(4_000)
    world.forget_bytes()
    world.run(4_000)
    mean, most = world.bytes_a_second(4_000)
    assert most <= LIMIT_BYTES_A_SECOND, (mean, most)
    assert max(len(member.core.neighbours()) for member in world.up()) <= 8
    joined = world.join(size, world.ids[0])
    assert world.run(5_000, lambda: world.all_hold(joined, ALIVE)) < 5_000
    world.run(5_000)
    assert len(world.members[joined].core.present()) == size
    assert crash_ms(world, world.ids[1]) <= 6_000
    world.run(3_000)
    assert {change.peer_id for _, _, change in world.deaths()} == {world.ids[1]}
    assert len({member.core.digest for member in world.up()}) == 1


@pytest.mark.parametrize(("awake_ms", "every_ms"), [(10, 100), (100, 1_000)])
def test_a_starved_member_and_a_bad_link_kill_nobody_in_ten_minutes(
    awake_ms: int, every_ms: int
) -> None:
    world = World(10, 1)
    starved = world.members[world.ids[0]]
    starved.awake_ms, starved.every_ms = awake_ms, every_ms
    world.losses[frozenset(world.ids[1:3])] = 0.3
    world.losses[frozenset(world.ids[0:2])] = 0.3
    world.run(600_000)
    assert world.deaths() == []


def test_one_that_was_stopped_comes_back_and_had_killed_nobody() -> None:
    world = World(20, 3, checked=True)
    world.run(3_000)
    stopped = world.members[world.ids[0]]
    stopped.awake_ms, stopped.every_ms = 1, 15_000  # once in 15 s for a millisecond
    world.run(20_000)
    stopped.every_ms = 0
    assert world.run(10_000, world.agree) < 10_000
    assert {change.peer_id for _, _, change in world.deaths()} <= {world.ids[0]}


def test_two_hundred_agree_within_ten_seconds_after_a_heal() -> None:
    world = World(200, 1)
    world.run(3_000)
    left = set(world.ids[:100])
    world.cut = lambda one, other: (one in left) != (other in left)
    world.run(20_000)
    assert world.members[world.ids[0]].core.state_of(world.ids[-1]) is DEAD
    world.cut = None
    assert world.run(10_000, world.agree) < 10_000
    world.run(10_000)
    assert len({member.core.digest for member in world.up()}) == 1


@pytest.mark.parametrize("both_ways", [False, True])
def test_where_one_link_is_cut_others_are_asked_and_nobody_is_suspected(both_ways: bool) -> None:
    world = World(10, 5)
    one = world.ids[3]
    other = world.members[one].core.neighbours()[0]
    cuts = {(one, other), (other, one)} if both_ways else {(one, other)}
    world.cut = lambda sender, to: (sender, to) in cuts
    world.run(60_000)
    assert world.changes == []


def test_a_restart_is_known_by_its_number_though_its_death_was_not_noticed() -> None:
    world = World(10, 7, checked=True)
    world.run(2_000)
    again = world.ids[2]
    world.members[again].is_up = False
    world.join(2, world.ids[5], incarnation=9)
    assert world.run(5_000, world.agree) < 5_000
    world.run(3_000)
    assert all(
        member.core.state_of(again) is ALIVE for member in world.up() if member.peer_id != again
    )
    assert world.members[again].core.incarnation == 9


def test_a_start_with_a_number_that_was_lost_outbids_its_own_past() -> None:
    world = World(10, 8)
    world.run(2_000)
    lost = world.ids[2]
    world.members[lost].is_up = False
    world.join(2, world.ids[5], incarnation=0)
    assert world.run(10_000, lambda: world.members[lost].core.incarnation > 1) < 10_000
    assert world.run(10_000, world.agree) < 10_000


def test_a_goodbye_is_known_to_all_and_is_no_death() -> None:
    world = World(50, 9)
    world.run(3_000)
    gone = world.ids[4]
    world.step(world.members[gone], Leave())
    world.members[gone].is_up = False
    assert world.run(3_000, lambda: world.all_hold(gone, MemberState.LEFT)) < 3_000
    world.run(10_000)
    assert world.deaths() == []
    assert {change.why for _, _, change in world.changes} == {Why.GOODBYE}


def test_a_fifth_crashes_at_once_and_all_is_known() -> None:
    world = World(100, 11)
    world.run(3_000)
    victims = world.ids[:20]
    for victim in victims:
        world.members[victim].is_up = False
    took_ms = world.run(15_000, lambda: all(world.all_hold(victim, DEAD) for victim in victims))
    assert took_ms <= 8_000
    world.run(5_000)
    assert world.agree()


def test_everybody_loses_a_tenth_of_all_messages_and_nobody_dies() -> None:
    world = World(60, 13)
    world.loss = 0.1
    world.run(60_000)
    assert world.deaths() == []


def test_members_that_come_and_go_all_the_time_leave_one_picture() -> None:
    world = World(40, 17)
    rng = random.Random(17)
    world.loss = 0.02
    for number in range(40, 60):
        world.run(rng.randint(200, 1_500))
        ups = world.up()
        world.members[rng.choice(ups[1:]).peer_id].is_up = False
        world.join(number, ups[0].peer_id)
    world.loss = 0.0
    world.run(15_000)
    assert world.agree()
    assert len({member.core.digest for member in world.up()}) == 1
    wrongly = {change.peer_id for _, _, change in world.deaths()} - {
        member.peer_id for member in world.members.values() if not member.is_up
    }
    assert not wrongly


def _trouble(world: World, rng: random.Random, number: int) -> None:
    """One thing that goes wrong, or comes."""
    ups = world.up()
    chosen = rng.choice(ups)
    match rng.randint(0, 4):
        case 0 if len(ups) > 2 and chosen.peer_id != world.ids[0]:
            chosen.is_up = False
        case 1:
            world.join(number, world.ids[0])
        case 2:
            gone = [n for n, peer_id in enumerate(world.ids) if not world.members[peer_id].is_up]
            if gone:  # sometimes with a number that it had before
                again = rng.choice([0, 1, 1 << 20])
                world.join(rng.choice(gone), world.ids[0], incarnation=again)
        case 3:
            left = {member.peer_id for member in ups if rng.random() < 0.5}
            world.cut = lambda one, other: (one in left) != (other in left)
        case _:
            chosen.awake_ms, chosen.every_ms = rng.choice([(50, 500), (100, 3_000), (5, 20_000)])


@pytest.mark.parametrize("seed", range(40))
def test_after_whatever_happened_the_living_agree(seed: int) -> None:
    rng = random.Random(seed)
    world = World(rng.choice([2, 3, 5, 10, 17]), seed, through_codec=True, checked=True)
    world.loss = rng.choice([0.0, 0.02, 0.1])
    for number in range(1_000, 1_000 + rng.randint(1, 6)):
        world.run(rng.randint(100, 6_000))
        _trouble(world, rng, number)
    world.cut, world.loss = None, 0.0
    for member in world.up():
        member.every_ms = 0

    def is_one() -> bool:
        return world.agree() and len({member.core.digest for member in world.up()}) == 1

    assert world.run(120_000, is_one) < 120_000


def test_the_same_seed_gives_the_same_world() -> None:
    seen = []
    for _ in range(2):
        world = World(30, 19)
        world.loss = 0.2
        world.run(5_000)
        world.members[world.ids[3]].is_up = False
        world.run(5_000)
        seen.append((world.changes, dict(world.kinds)))
    assert seen[0] == seen[1]


def test_rings_give_every_member_few_neighbours_who_have_it_for_theirs_and_hold_together() -> None:
    ids = [an_id(number) for number in range(500)]
    neighbours: dict[str, list[str]] = {}
    for own in ids:
        rings = Rings(own, 4, 8)
        for each in ids:
            rings.add(each)
        neighbours[own] = list(rings.neighbours())
    assert all(1 <= len(each) <= 8 for each in neighbours.values())
    assert all(own in neighbours[other] for own in ids for other in neighbours[own])
    reached, edge, steps = {str(ids[0])}, {str(ids[0])}, 0
    while edge:
        edge = {far for near in edge for far in neighbours[near]} - reached
        reached |= edge
        steps += 1
    assert len(reached) == 500
    assert steps <= 6
