"""Where the scheduler puts tasks, and where it never does."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling_lab import ANNA, BEN, CARA, agent, filled, scheduler, spec, task_id, worker

from agents.ledger import (
    EndedBy,
    ErrorText,
    Failure,
    Token,
    encode_assigned,
    encode_failed,
    encode_submitted,
)
from agents.names import at_peer
from agents.scheduling import Observation, Scheduler, SchedulerSettings
from keys import PeerId


def test_tasks_are_placed_by_priority_then_submission() -> None:
    ledger = filled([spec(1), spec(2, priority=3), spec(3, skill="sum", priority=1), spec(4)])
    both = agent(skills=("ocr", "sum"), capacity=3)
    plan = scheduler(prefetch=0).plan(0, ledger, [worker(ANNA, both)])
    assert [item.task_id for item in plan] == [task_id(2), task_id(3), task_id(1)]


def test_no_agent_gets_more_than_capacity_and_prefetch_counting_what_it_holds() -> None:
    ledger = filled([spec(number) for number in range(20)])
    one = scheduler(prefetch=1)
    first = one.plan(0, ledger, [worker(ANNA)])
    assert len(first) == 3
    ledger.apply(2, encode_assigned(0, first[:2]))
    assert len(one.plan(0, ledger, [worker(ANNA)])) == 1


def test_work_is_spread_before_anyone_is_given_a_queue() -> None:
    ledger = filled([spec(number) for number in range(6)])
    plan = scheduler(prefetch=5).plan(0, ledger, [worker(ANNA), worker(BEN), worker(CARA)])
    assert Counter(item.peer for item in plan) == {ANNA: 2, BEN: 2, CARA: 2}


def test_a_task_that_failed_goes_to_another_peer_where_there_is_one() -> None:
    ledger = filled([spec(1)])
    one = scheduler()
    (first,) = one.plan(0, ledger, [worker(ANNA)])
    ledger.apply(2, encode_assigned(0, [first]))
    failure = Failure(task_id(1), Token(2), ANNA, ErrorText("E", "m"), True)
    ledger.apply(3, encode_failed(0, [failure]))
    for seed in range(10):
        (again,) = scheduler(seed).plan(0, ledger, [worker(ANNA), worker(BEN, reported_load=255)])
        assert again.peer == BEN
    (alone,) = one.plan(0, ledger, [worker(ANNA)])
    assert alone.peer == ANNA


def test_a_task_waits_for_the_other_peer_rather_than_go_back_to_the_one_that_failed_it() -> None:
    ledger = filled([spec(1)])
    one = scheduler(prefetch=0)
    ledger.apply(2, encode_assigned(0, one.plan(0, ledger, [worker(ANNA)])))
    failure = Failure(task_id(1), Token(2), ANNA, ErrorText("E", "m"), True)
    ledger.apply(3, encode_failed(0, [failure]))
    ledger.apply(4, encode_submitted(0, [spec(2), spec(3)]))
    full = worker(BEN, agent(capacity=1))
    plan = one.plan(0, ledger, [full])
    ledger.apply(5, encode_assigned(0, [plan[0]._replace(task_id=task_id(2))]))
    (only,) = one.plan(0, ledger, [worker(ANNA, agent(capacity=1)), full])
    assert (only.task_id, only.peer) == (task_id(3), ANNA)


def test_a_task_for_one_peer_goes_to_it_and_to_no_other() -> None:
    for seed in range(10):
        ledger = filled([spec(n, skill=at_peer("ocr", BEN)) for n in range(2)] + [spec(2)])
        busy = worker(BEN, reported_load=255)
        plan = scheduler(seed).plan(0, ledger, [worker(ANNA), busy, worker(CARA)])
        assert {item.task_id: item.peer == BEN for item in plan} == {
            task_id(0): True,
            task_id(1): True,
            task_id(2): False,
        }
        one = scheduler(seed)
        assert [i.task_id for i in one.plan(0, ledger, [worker(ANNA)])] == [task_id(2)]
        assert one.unplaceable() == {at_peer("ocr", BEN): 2}
        other = worker(BEN, agent(skills=("sum",)))
        assert not scheduler(seed).plan(0, filled([spec(1, skill=at_peer("ocr", BEN))]), [other])


def test_a_task_for_one_peer_waits_when_that_one_failed_it_or_is_full() -> None:
    ledger = filled([spec(n, skill=at_peer("ocr", BEN)) for n in range(3)])
    one = scheduler(prefetch=0)
    everybody = [worker(ANNA), worker(BEN, agent(capacity=1))]
    (first,) = one.plan(0, ledger, everybody)
    ledger.apply(2, encode_assigned(0, [first]))
    assert not one.plan(0, ledger, everybody)
    failure = Failure(first.task_id, Token(2), BEN, ErrorText("E", "m"), True)
    ledger.apply(3, encode_failed(0, [failure]))
    (again,) = one.plan(0, ledger, everybody)
    assert again.peer == BEN


def test_tasks_that_nobody_can_do_stay_and_are_reported_without_blocking_others() -> None:
    specs = [spec(number, skill="rare", priority=9) for number in range(50)]
    ledger = filled([*specs, spec(99)])
    one = scheduler()
    plan = one.plan(0, ledger, [worker(ANNA), worker(BEN, agent(skills=("rare",)), alive=False)])
    assert [item.task_id for item in plan] == [task_id(99)]
    assert one.unplaceable() == {"rare": 50}
    assert one.plan(0, ledger, [worker(BEN, agent(skills=("rare",), capacity=0))]) == []
    assert one.unplaceable() == {"rare": 50, "ocr": 1}


def test_a_skill_whose_agents_are_full_is_not_unplaceable() -> None:
    ledger = filled([spec(number) for number in range(9)])
    one = scheduler(prefetch=0)
    assert len(one.plan(0, ledger, [worker(ANNA)])) == 2
    assert one.unplaceable() == {}


def test_a_specialist_is_preferred_and_a_loaded_machine_is_not() -> None:
    ledger = filled([spec(1)])
    generalist = agent(skills=("ocr", "sum", "map", "fold"))
    for seed in range(10):
        (item,) = scheduler(seed).plan(0, ledger, [worker(ANNA, generalist), worker(BEN)])
        assert item.peer == BEN
        (item,) = scheduler(seed).plan(0, ledger, [worker(ANNA, reported_load=200), worker(BEN)])
        assert item.peer == BEN


def _see(one: Scheduler, peer: PeerId, ended: EndedBy, duration_ms: int, now_ms: int) -> None:
    one.observe(Observation(peer, "reader", "ocr", ended, duration_ms), now_ms)


def test_a_peer_that_fails_is_avoided_until_its_failures_have_faded() -> None:
    ledger = filled([spec(1)])
    one = scheduler()
    for _ in range(5):
        _see(one, ANNA, EndedBy.PEER_LOST, 10, 0)
    peers = [worker(ANNA), worker(BEN)]
    assert {one.plan(0, ledger, peers)[0].peer for _ in range(30)} == {BEN}
    later_ms = 20 * 60_000
    assert {one.plan(later_ms, ledger, peers)[0].peer for _ in range(60)} == {ANNA, BEN}


def test_a_faster_peer_is_preferred() -> None:
    ledger = filled([spec(1)])
    one = scheduler()
    _see(one, ANNA, EndedBy.COMPLETED, 100, 0)
    _see(one, BEN, EndedBy.COMPLETED, 1000, 0)
    assert {one.plan(0, ledger, [worker(ANNA), worker(BEN)])[0].peer for _ in range(20)} == {ANNA}


def test_an_agent_that_gave_a_task_back_is_left_alone_for_a_while() -> None:
    ledger = filled([spec(1)])
    one = scheduler()
    _see(one, ANNA, EndedBy.RELEASED, 5, 10_000)
    assert one.plan(10_500, ledger, [worker(ANNA)]) == []
    assert one.unplaceable() == {}
    assert len(one.plan(11_100, ledger, [worker(ANNA)])) == 1


def test_equal_seeds_give_equal_plans() -> None:
    ledger = filled([spec(number) for number in range(40)])
    peers = [worker(PeerId(f"peer-{number}"), agent(skills=("ocr", "sum"))) for number in range(9)]
    assert scheduler(7).plan(0, ledger, peers) == scheduler(7).plan(0, ledger, peers)
    assert scheduler(7).plan(0, ledger, peers) != scheduler(8).plan(0, ledger, peers)


_SKILLS = ["ocr", "sum", "map"]


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_plans_of_random_fleets_keep_every_bound_and_leave_no_room_unused(seed: int) -> None:
    rng = random.Random(seed)
    ledger = filled(
        [
            spec(number, skill=rng.choice(_SKILLS), priority=rng.randint(-2, 2))
            for number in range(rng.randint(0, 120))
        ]
    )
    peers = [
        worker(
            PeerId(f"peer-{number}"),
            *(
                agent(f"agent-{place}", rng.sample(_SKILLS, rng.randint(1, 3)), rng.randint(0, 4))
                for place in range(rng.randint(1, 3))
            ),
            alive=rng.random() < 0.8,
            reported_load=rng.randint(0, 255),
        )
        for number in range(rng.randint(0, 6))
    ]
    prefetch = rng.randint(0, 2)
    one = Scheduler(SchedulerSettings(prefetch=prefetch, batch=1000), rng)
    plan = one.plan(0, ledger, peers)

    room = {
        (peer.peer, each.name): (each.capacity + prefetch if each.capacity else 0, each.skills)
        for peer in peers
        if peer.alive
        for each in peer.agents
    }
    used = Counter((item.peer, item.agent) for item in plan)
    assert all(count <= room[place][0] for place, count in used.items())
    assert len({item.task_id for item in plan}) == len(plan)
    placed = {item.task_id for item in plan}
    for item in plan:
        view = ledger.get(item.task_id)
        assert view is not None
        assert view.skill in room[item.peer, item.agent][1]
    for skill in _SKILLS:
        if any(task.task_id not in placed for task in ledger.waiting(skill)):
            free = [
                place for place, (n, skills) in room.items() if skill in skills and used[place] < n
            ]
            assert free == []
