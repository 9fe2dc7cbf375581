"""What goes wrong in one run, drawn from its seed: each seed has its own mix (swarm testing).

A run in which everything fails at once reaches little; ranges that differ per seed reach more.

What this module does not know: how faults are carried out, when they strike (`schedule`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from consensus.raft import Config, NodeId

CLUSTER = "simulated"


@dataclass(frozen=True, slots=True)
class Weather:
    """Chances are in percent (messages) or per mille (effects), times in milliseconds."""

    voters: int
    loss_percent: int
    duplicate_percent: int
    replay_percent: int  # an old message comes again much later
    latency_ms: int
    latency_tail_ms: int
    disk_ms: int
    disk_full_percent: int
    crash_per_mille: int  # between any two effects
    nemesis_every_ms: int  # how often something larger happens
    nemesis_kinds: tuple[str, ...]
    coup_percent: int  # how often a new leader falls within milliseconds
    turn_ms: int  # how long events may gather before a turn
    propose_every_ms: int
    command_bytes: int
    fault_ms: int = 15_000
    max_append_bytes: int = 512 * 1024
    max_inflight: int = 64
    max_apply_entries: int = 1024
    snapshot_entries: int = 100_000  # a snapshot is due after so many
    keep_entries: int = 10_000
    apply_ms: int = 0  # how late entries are applied, page by page
    drift_ppm: int = 0  # how wrong clocks may run
    max_promotion_lag: int = 2_000
    has_real_storage: bool = False
    is_beyond_repair: bool = False  # disks rot without regard to how many copies are left
    part_bytes: int = 128 * 1024  # of a snapshot on its way
    store_percent: int = 0  # how many calls are for the store
    clients: int = 1
    govern_every_ms: int = 0  # how often somebody wants other members; 0: never
    govern_kinds: tuple[str, ...] = ()

    def config(self, node_id: NodeId, *, is_founder: bool = True) -> Config:
        """The configuration of one node in this weather."""
        return Config(
            node_id=node_id,
            cluster_id=CLUSTER,
            voters=self.names if is_founder else (),
            max_append_bytes=self.max_append_bytes,
            max_inflight=self.max_inflight,
            max_apply_entries=self.max_apply_entries,
            keep_entries=self.keep_entries,
            max_promotion_lag=self.max_promotion_lag,
        )

    @property
    def names(self) -> tuple[NodeId, ...]:
        return tuple(f"n{number}" for number in range(1, self.voters + 1))


KINDS = (
    "crash",
    "crash leader",
    "crash all",
    "isolate",
    "isolate leader",
    "halves",
    "bridge",
    "mute",
    "deaf",
    "pause",
    "transfer",
    "hint",
    "disk full",
    "pause leader",
    "clock jumps",
    "clock stands",
    "io error",
    "snapshot now",
    "usurp",
)
MEMBER_KINDS = ("add learner", "promote", "demote", "remove", "replace", "wipe", "reshuffle")

# Leaders fall one after another, each with entries that few others have, one entry a message: the
# weather of figure 8 in the paper, which independent draws seldom make.
STORM = Weather(
    voters=5,
    loss_percent=10,
    duplicate_percent=0,
    replay_percent=0,
    latency_ms=5,
    latency_tail_ms=5,
    disk_ms=20,
    disk_full_percent=0,
    crash_per_mille=1,
    nemesis_every_ms=600,
    nemesis_kinds=("crash leader", "isolate leader", "halves"),
    coup_percent=85,
    turn_ms=0,
    propose_every_ms=60,
    command_bytes=8,
    max_append_bytes=1,
    max_inflight=1,
)


def draw_weather(rng: random.Random) -> Weather:
    """The mix of one seed; every tenth or so is the storm."""
    if rng.random() < 0.1:
        return STORM
    kinds = tuple(kind for kind in KINDS if rng.random() < 0.6) or ("crash leader",)
    is_moving = rng.random() < 0.5
    storage = rng.choice(("simulated",) * 8 + ("real", "rotting", "rotting", "beyond repair"))
    if storage in ("rotting", "beyond repair"):
        kinds += ("rot", "rot", "rot")
    is_tight = rng.random() < 0.5  # tiny limits reach the edges of flow control
    is_compact = rng.random() < 0.7  # logs that are cut all the time
    return Weather(
        has_real_storage=storage != "simulated",
        is_beyond_repair=storage == "beyond repair",
        part_bytes=rng.choice((100, 700, 128 * 1024)),
        voters=rng.choice((1, 2, 3, 3, 3, 4, 5, 7) if is_moving else (1, 3, 3, 3, 5, 5)),
        loss_percent=rng.choice((0, 0, 2, 10, 30)),
        duplicate_percent=rng.choice((0, 5, 20)),
        replay_percent=rng.choice((0, 0, 2, 10)),
        latency_ms=rng.choice((1, 1, 5, 20)),
        latency_tail_ms=rng.choice((0, 5, 50, 200)),
        disk_ms=rng.choice((1, 3, 20, 60, 200)),
        disk_full_percent=rng.choice((0, 0, 1)),
        crash_per_mille=rng.choice((0, 0, 1, 3)),
        nemesis_every_ms=rng.choice((400, 1000, 2500)),
        nemesis_kinds=kinds,
        coup_percent=rng.choice((0, 0, 30, 70)),
        turn_ms=rng.choice((0, 0, 2, 10)),
        propose_every_ms=rng.choice((20, 60, 200)),
        command_bytes=rng.choice((8, 8, 200)),
        max_append_bytes=rng.choice((1, 100, 400)) if is_tight else 512 * 1024,
        max_inflight=rng.choice((1, 2, 4)) if is_tight else 64,
        max_apply_entries=rng.choice((1, 3)) if is_tight else 1024,
        snapshot_entries=rng.choice((2, 3, 10, 30)) if is_compact else 100_000,
        keep_entries=rng.choice((0, 0, 2, 10)) if is_compact else 10_000,
        apply_ms=rng.choice((0, 0, 5, 50)),
        drift_ppm=rng.choice((0, 0, 1_000, 10_000)),
        max_promotion_lag=rng.choice((0, 10, 2_000)),
        store_percent=rng.choice((0, 50, 90)),
        clients=rng.choice((1, 3, 6)),
        govern_every_ms=rng.choice((150, 500, 1_500)) if is_moving else 0,
        govern_kinds=("add learner", "promote", *(k for k in MEMBER_KINDS if rng.random() < 0.7)),
    )
