"""How long and how often is measured: all of it in forty minutes, a quick look in ten, or a
rehearsal, which shows that every part still runs and whose figures mean nothing.

What this module does not know: what is measured.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Pace:
    """Rounds and lengths.

    Attributes:
        rounds: how often a figure and what it is held against are measured in turn.
        run_s: of one load.
        messages: publications and notices in one run, for the quickest contender.
        stream_bytes: of one stream.
        overload_s: how long five times too much is offered.
        repeats: of measurements that bring whole networks up and down.
        starts: of one process.
        watch_s: how long idle nodes are looked at.
        crashes: how often a peer of ten is killed.
        takeovers: how often an agent that others stand by for leaves, and dies.
        quiet_s: how long nobody should be called dead.
    """

    rounds: int = 3
    run_s: float = 1.0
    messages: int = 600_000
    stream_bytes: int = 1024 * MIB
    overload_s: float = 60.0
    repeats: int = 3
    starts: int = 5
    watch_s: float = 10.0
    crashes: int = 50
    takeovers: int = 10
    quiet_s: float = 600.0


FULL = Pace()
QUICK = Pace(
    run_s=0.4,
    messages=200_000,
    stream_bytes=256 * MIB,
    overload_s=15.0,
    repeats=1,
    starts=3,
    watch_s=4.0,
    crashes=10,
    takeovers=3,
    quiet_s=60.0,
)

REHEARSAL = Pace(
    rounds=1,
    run_s=0.05,
    messages=2_000,
    stream_bytes=4 * MIB,
    overload_s=0.2,
    repeats=1,
    starts=1,
    watch_s=0.2,
    crashes=1,
    takeovers=1,
    quiet_s=1.0,
)

_chosen = FULL


def pace() -> Pace:
    """Return how this run is to be paced."""
    return _chosen


def choose(chosen: Pace) -> None:
    """Say it, before anything is measured."""
    global _chosen
    _chosen = chosen
