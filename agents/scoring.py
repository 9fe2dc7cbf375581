"""How well a peer would do as a voter or a leader: one number from 0 to 1000, out of plain facts.

    experience    200   tasks completed: half of it at 100
    reliability   300   share of tasks that did not fail; eight good ones are taken for granted
    availability  300   150 for time up, half of it at an hour; 150 divided by 1 + flaps
    resources     200   80 for idle processors, 80 for free memory, 40 for bandwidth, half of that
                        at 10 Mbit/s

Every part saturates, so nothing can make up for everything else, and a figure that a peer states
about itself is worth its part at most. Scores are compared, never counted on: who is trusted to
vote is decided elsewhere.

Invariants: integers only; more uptime, completed tasks, free memory or bandwidth never lowers a
score, and more flaps, failed tasks or load never raises it.
What this module does not know: where the facts come from, who votes, clocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from keys import PeerId

MAX_SCORE: Final = 1000
MAX_PRIORITY_DELAY_MS: Final = 300

_EXPERIENCE: Final = 200
_EXPERIENCE_HALF_TASKS: Final = 100
_RELIABILITY: Final = 300
_TASKS_TAKEN_FOR_GRANTED: Final = 8
_UPTIME: Final = 150
_UPTIME_HALF_MS: Final = 3_600_000
_FLAPS: Final = 150
_CPU: Final = 80
_MEMORY: Final = 80
_BANDWIDTH: Final = 40
_BANDWIDTH_HALF_KBIT_S: Final = 10_000

_DELAY_PER_RANK_MS: Final = 35  # six voters behind the best reach 210
_DELAY_FOR_SCORE_MS: Final = 90


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """What is known of one peer. Values outside their range count as the nearest inside."""

    uptime_ms: int = 0
    flaps_last_hour: int = 0  # how often it was taken for dead and came back
    tasks_completed: int = 0
    tasks_failed: int = 0
    cpu_load_permille: int = 0
    free_memory_permille: int = 1000
    bandwidth_kbit_s: int = 0


def score_of(facts: PeerFacts) -> int:
    """From 0 to MAX_SCORE, by the weights above."""
    completed, failed = max(0, facts.tasks_completed), max(0, facts.tasks_failed)
    good = completed + _TASKS_TAKEN_FOR_GRANTED
    return (
        _saturating(_EXPERIENCE, completed, _EXPERIENCE_HALF_TASKS)
        + _RELIABILITY * good // (good + failed)
        + _saturating(_UPTIME, facts.uptime_ms, _UPTIME_HALF_MS)
        + _FLAPS // (1 + max(0, facts.flaps_last_hour))
        + _CPU * (1000 - _permille(facts.cpu_load_permille)) // 1000
        + _MEMORY * _permille(facts.free_memory_permille) // 1000
        + _saturating(_BANDWIDTH, facts.bandwidth_kbit_s, _BANDWIDTH_HALF_KBIT_S)
    )


def ranks_of(scores: Mapping[PeerId, int]) -> dict[PeerId, int]:
    """0 for the best; equal scores are ordered by name, so that all who compare them agree."""
    order = sorted(scores, key=lambda peer: (-scores[peer], peer))
    return {peer: rank for rank, peer in enumerate(order)}


def priority_delay_ms(score: int, rank: int) -> int:
    """What a voter adds to its campaign delay: 0 for the best, never above MAX_PRIORITY_DELAY_MS.

    It only makes it likelier that the best one campaigns first; any voter may still win.
    """
    if rank <= 0:
        return 0
    missing = MAX_SCORE - min(MAX_SCORE, max(0, score))
    delay_ms = _DELAY_PER_RANK_MS * rank + _DELAY_FOR_SCORE_MS * missing // MAX_SCORE
    return min(MAX_PRIORITY_DELAY_MS, delay_ms)


def _saturating(weight: int, value: int, half: int) -> int:
    """Half of the weight at `half`, ever nearer to all of it above."""
    value = max(0, value)
    return weight * value // (value + half)


def _permille(value: int) -> int:
    return min(1000, max(0, value))
