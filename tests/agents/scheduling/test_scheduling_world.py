"""Leaders and workers together, through elections, crashes, false alarms and lost messages."""

from __future__ import annotations

import pytest
from scheduling_world import World

from agents.ledger import EndedBy, Refusal, State


@pytest.mark.parametrize("seed", range(16))
def test_every_task_completes_exactly_once_through_faults_and_comes_to_an_end(seed: int) -> None:
    print(f"replay: pytest {__file__} -k 'exactly_once and {seed}'")
    world = World(seed)
    world.run(faulty_ms=12_000, limit_ms=60_000)
    ledgers = [world.ledger_of(core) for core in world.replicas]
    for ledger in ledgers:
        ledger.check_invariants()
        assert ledger.counts()[State.DONE] == len(world.specs), ledger.counts()
        assert ledger.tasks(limit=1000) == ledgers[0].tasks(limit=1000)
    assert {each.task_id for each in world.specs} == world.done.keys()
    assert set(world.done.values()) == {1}
    assert set(world.starts.values()) == {1}, "a lease was started twice"


def test_the_faults_of_these_worlds_really_reach_the_rare_paths() -> None:
    """Otherwise the test above would prove little."""
    refused = dict.fromkeys(Refusal, 0)
    ends = dict.fromkeys(EndedBy, 0)
    executions = 0
    for seed in range(4):
        world = World(seed)
        world.run(faulty_ms=12_000, limit_ms=60_000)
        ledger = world.ledger_of(world.replicas[0])
        for refusal, count in ledger.refused.items():
            refused[refusal] += count
        for view in ledger.tasks(limit=1000):
            executions += view.executions
            for attempt in view.history:
                ends[attempt.ended] += 1
    assert executions > 4 * 1.2 * len(world.specs)
    for refusal in (Refusal.DUPLICATE, Refusal.STALE_TOKEN):
        assert refused[refusal] > 0, refused
    for ended in (EndedBy.FAILED, EndedBy.PEER_LOST, EndedBy.EXPIRED):
        assert ends[ended] > 0, ends


def test_equal_seeds_give_equal_worlds() -> None:
    first, second = World(3), World(3)
    for world in (first, second):
        world.run(faulty_ms=4000, limit_ms=60_000)
    assert (first.index, first.now_ms, first.starts) == (second.index, second.now_ms, second.starts)
