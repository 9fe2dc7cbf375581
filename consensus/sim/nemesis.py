"""Carries out faults: crashes, partitions, stalls, wrong clocks, full disks.

Whom one hits is drawn when it strikes, from a generator of that fault alone.

What this module does not know: when faults come, members (`governor` has those), what must hold.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from consensus.raft import NodeId, Transfer, Unreachable
from consensus.sim.cluster import Cluster
from consensus.sim.governor import Governor
from consensus.sim.schedule import Fault
from consensus.sim.voter import Voter


class Nemesis:
    """Strikes at one cluster."""

    def __init__(
        self, cluster: Cluster, governor: Governor, generator: Callable[[str], random.Random]
    ) -> None:
        self._cluster = cluster
        self._governor = governor
        self._generator = generator
        self._coups = 0

    def strike(self, fault: Fault) -> None:
        """One larger fault."""
        cluster = self._cluster
        if cluster.is_calm or not cluster.voters:
            return
        rng = self._generator(f"fault/{fault.number}")
        kind, duration_ms = fault.kind, fault.duration_ms
        anyone = rng.choice(tuple(cluster.voters.values()))
        leaders = cluster.leaders
        leader = rng.choice(leaders) if leaders else anyone
        match kind:
            case "crash":
                cluster.crash(anyone, duration_ms)
            case "crash leader":
                cluster.crash(leader, duration_ms)
            case "crash all":
                for voter in tuple(cluster.voters.values()):
                    cluster.crash(voter, rng.randrange(1, duration_ms))
            case "pause":
                anyone.pause(duration_ms)
            case "pause leader":
                leader.pause(duration_ms)
            case "transfer":
                leader.post(Transfer(rng.choice((None, anyone.name))))
            case "hint":
                anyone.post(Unreachable(leader.name))
            case "disk full":
                anyone.disk.full_until_ms = cluster.timeline.now_ms + duration_ms
            case "clock jumps":
                anyone.clock.step(duration_ms)
                anyone.nudge()
            case "clock stands":
                anyone.clock.freeze(duration_ms)
            case "io error":
                anyone.disk.broken_until_ms = cluster.timeline.now_ms + duration_ms
                cluster.timeline.after(duration_ms, lambda: cluster.restart(anyone))
            case "snapshot now":
                anyone.make_snapshot()
            case "rot":
                if cluster.weather.is_beyond_repair or self._governor.may_lose(anyone):
                    cluster.rot(anyone, rng)
            case "usurp":
                self._usurp(leader)
                cluster.timeline.after(duration_ms, cluster.network.heal)
            case "halves" | "bridge" | "isolate" | "isolate leader" | "mute" | "deaf":
                self.partition(kind, leader if kind == "isolate leader" else anyone, rng)
                cluster.timeline.after(duration_ms, cluster.network.heal)
            case _:
                self._governor.govern(kind, rng)

    def _usurp(self, leader: Voter) -> None:
        """The others notice at once that their leader is cut off, and it does not: for a while it
        leads beside its successor."""
        network = self._cluster.network
        network.heal()
        for other in self._cluster.up:
            if other is not leader:
                network.cut(leader.name, other.name)
                network.cut(other.name, leader.name)
                other.post(Unreachable(leader.name))

    def topple(self, leader: Voter) -> None:
        """Leaders that fall at once, some before anyone has heard of their first entry, leave logs
        that differ everywhere (paper figure 8)."""
        cluster = self._cluster
        self._coups += 1
        rng = self._generator(f"coup/{self._coups}")
        if cluster.is_calm or rng.randrange(100) >= cluster.weather.coup_percent:
            return
        down_ms = rng.randrange(100, 3000)
        delay_ms = rng.randrange(3 * cluster.weather.latency_ms + 20)
        if rng.random() < 0.5:
            self.partition("mute", leader, rng)
            cluster.timeline.after(delay_ms + 1, cluster.network.heal)
        cluster.timeline.after(delay_ms, lambda: cluster.crash(leader, down_ms))

    def partition(self, kind: str, center: Voter, rng: random.Random) -> None:
        """Halves, a bridge that both halves reach, one node alone, one mute, one deaf."""
        names = list(self._cluster.voters)
        rng.shuffle(names)
        half = set(names[: len(names) // 2])
        cut: list[tuple[NodeId, NodeId]] = []
        for one in self._cluster.voters:
            for other in self._cluster.voters:
                if kind in ("isolate", "isolate leader"):
                    is_cut = center.name in (one, other)
                elif kind == "mute":
                    is_cut = one == center.name
                elif kind == "deaf":
                    is_cut = other == center.name
                else:
                    is_cut = (one in half) != (other in half)
                    is_cut = is_cut and not (kind == "bridge" and center.name in (one, other))
                if is_cut and one != other:
                    cut.append((one, other))
        are_told = rng.random() < 0.5  # connections break, instead of falling silent
        for one, other in cut:
            self._cluster.network.cut(one, other)
            if are_told:
                self._cluster.voters[other].post(Unreachable(one))
