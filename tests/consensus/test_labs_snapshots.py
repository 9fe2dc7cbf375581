"""The labs of MIT's course 6.5840, part D: snapshots.

Each test bears the name of its lab. Voters make snapshots on their own, after so many entries, and
cut their logs; whoever lacks what was cut gets the snapshot.
"""

from __future__ import annotations

from typing import Any

import pytest
from labs_cluster import UNRELIABLE, Lab

EVERY = 10  # entries between two snapshots
KEPT = 3  # entries that stay below one
LIMITS = {"snapshot_entries": EVERY, "keep_entries": KEPT}
SLACK = 10  # what is proposed while a snapshot is being written


def length(lab: Lab, name: str) -> int:
    status = lab.voter(name).status()
    return status.last_index - status.base_index


def expect_short_logs(lab: Lab) -> None:
    lab.wait("short logs", lambda: all(length(lab, n) <= EVERY + KEPT + SLACK for n in lab.present))


def propose_several(lab: Lab, expected: int) -> list[int]:
    """More than one snapshot is apart."""
    return [lab.agree(expected) for _ in range(EVERY + lab.rng.randrange(EVERY))]


def test_snapshot_basic() -> None:
    """Logs stay short however many commands there are."""
    lab = Lab(3, **LIMITS)
    for _ in range(30):
        lab.agree(3)
    lab.wait("snapshots", lambda: all(lab.voter(n).status().base_index > 10 for n in lab.names))
    expect_short_logs(lab)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weather", [{}, UNRELIABLE], ids=["reliable", "unreliable"])
@pytest.mark.parametrize("how", ["disconnect", "crash"])
def test_snapshot_install(how: str, weather: dict[str, Any], seed: int) -> None:
    """A voter is away until the others have cut what it lacks; every third time it is the
    leader."""
    lab = Lab(3, seed, **{**weather, **LIMITS})
    lab.agree(3)
    installed = 0
    for turn in range(20):
        leader = lab.leader()
        victim = leader if turn % 3 == 1 else lab.after(leader)
        leave(lab, victim, how)
        missed = propose_several(lab, 2)
        expect_short_logs(lab)
        needed = min(lab.voter(name).status().base_index for name in lab.present)
        lacks_what_was_cut = lab.voter(victim).disk.durable.last_index < needed
        come_back(lab, victim, how)
        lab.agree(3)
        lab.expect_everywhere(missed)
        if lacks_what_was_cut:
            assert lab.voter(victim).status().snapshot_index >= needed
            installed += 1
    assert installed > 5
    expect_short_logs(lab)


def leave(lab: Lab, victim: str, how: str) -> None:
    if how == "crash":
        lab.crash(victim)
    else:
        lab.disconnect(victim)


def come_back(lab: Lab, victim: str, how: str) -> None:
    if how == "crash":
        lab.restart(victim)
    lab.connect(victim)


@pytest.mark.parametrize("seed", range(3))
def test_snapshot_all_crash(seed: int) -> None:
    """All crash and come back, from snapshot and log: nothing is lost, and they go on."""
    lab = Lab(3, seed, **LIMITS)
    kept = [lab.agree(3)]
    for _ in range(5):
        kept += propose_several(lab, 3)
        lab.crash(*lab.names)
        lab.restart(*lab.names)
        kept.append(lab.agree(3))
        lab.expect_everywhere(kept)
    assert [lab.index(request) for request in kept] == sorted(lab.index(r) or 0 for r in kept)


@pytest.mark.parametrize("seed", range(3))
def test_snapshot_init(seed: int) -> None:
    """All crash twice in a row, with their only command in a snapshot and nowhere else."""
    lab = Lab(3, seed, snapshot_entries=1, keep_entries=0)
    kept = [lab.agree(3)]
    index = lab.index(kept[0]) or 0
    lab.wait("a cut", lambda: all(lab.voter(n).status().base_index >= index for n in lab.names))
    lab.crash(*lab.names)
    lab.restart(*lab.names)
    lab.leader()
    lab.crash(*lab.names)
    lab.restart(*lab.names)
    kept.append(lab.agree(3))
    lab.expect_everywhere(kept)
