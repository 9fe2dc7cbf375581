"""The nodes of one run, those who come later included, and what can be said of all of them.

What this module does not know: which faults come when, who calls, what must hold.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

from consensus.errors import SnapshotInvalid, StorageError
from consensus.raft import (
    Entry,
    Membership,
    Message,
    NodeId,
    ReadReady,
    Result,
    SnapshotMeta,
    Status,
)
from consensus.sim.desk import Desk
from consensus.sim.disk import Disk
from consensus.sim.invariants import InvariantBroken
from consensus.sim.marks import Marks
from consensus.sim.network import Network
from consensus.sim.oracle import Oracle
from consensus.sim.timeline import Timeline
from consensus.sim.voter import Voter
from consensus.sim.weather import Weather

UNEVEN = frozenset({"pause", "pause leader", "clock jumps", "clock stands"})
LARGEST_CLUSTER = 10  # nodes that exist at once, members or not


class Cluster:
    """Nodes by name. It hears everything that they do, and tells the oracle and the desk."""

    def __init__(
        self,
        timeline: Timeline,
        weather: Weather,
        generator: Callable[[str], random.Random],
        trace: Callable[[NodeId, NodeId, bytes], None],
    ) -> None:
        self.timeline = timeline
        self.weather = weather
        self.marks = Marks()
        self.genesis = Membership(tuple(sorted(weather.names)))
        self.oracle = Oracle(self.genesis, self.marks)
        self.oracle.voters = lambda: self.voters.values()
        self.oracle.has_even_time = UNEVEN.isdisjoint(weather.nemesis_kinds)
        self.desk = Desk(self.marks, lambda: len(self.oracle.committed))
        self.network = Network(timeline, weather, generator("network"), self._deliver)
        self.is_calm = False
        self._generator = generator
        self._trace = trace
        self._last_name = len(weather.names)
        self.voters: dict[NodeId, Voter] = {}
        for name in weather.names:
            self._make(name, is_founder=True)

    def _make(self, name: NodeId, *, is_founder: bool) -> Voter:
        disk = Disk(name, self.timeline, self.weather, self._generator(f"disk/{name}"), self.marks)
        rng = self._generator(f"voter/{name}")
        voter = Voter(
            name,
            self.timeline,
            self.weather,
            disk,
            rng,
            self.network.send,
            self,
            self.marks,
            is_founder=is_founder,
        )
        self.voters[name] = voter
        return voter

    def _deliver(self, sender: NodeId, to: NodeId, data: bytes) -> None:
        self._trace(sender, to, data)
        voter = self.voters.get(to)
        if voter is not None:
            voter.receive(sender, data)

    # -- who is there --------------------------------------------------------------------------

    @property
    def up(self) -> list[Voter]:
        return [voter for voter in self.voters.values() if voter.is_up]

    @property
    def leaders(self) -> list[Voter]:
        """Those who believe so."""
        return [voter for voter in self.up if voter.driver.core.is_leader]

    def newcomer(self) -> Voter | None:
        """A node with an empty disk and a name that nobody had before; None if there are enough."""
        if len(self.voters) >= LARGEST_CLUSTER:
            return None
        self._last_name += 1
        voter = self._make(f"n{self._last_name}", is_founder=False)
        voter.start()
        if self.is_calm:
            voter.calm()
        return voter

    def wipe(self, voter: Voter) -> None:
        """Its disk is lost: this name never comes back."""
        voter.crash()
        voter.is_gone = True
        del self.voters[voter.name]
        self.marks.hit("disk wiped")

    def memberships(self) -> set[Membership]:
        """Every membership that some node may go by, now or later."""
        found = {self.oracle.membership}
        for voter in self.voters.values():
            disk = voter.disk
            found.add(voter.standing.membership)
            found.update(membership for _, membership in disk.durable.memberships)
            found.update(membership for _, membership in disk.submitted.memberships)
            if voter.is_up:
                found.add(voter.status().membership)
        found.discard(Membership())
        return found

    def survives(self, lost: Iterable[NodeId], memberships: Iterable[Membership]) -> bool:
        """Whether each of these can still decide when the lost ones are gone, too."""
        left = self.voters.keys() - set(lost)
        return all(membership.has_quorum(left) for membership in memberships)

    # -- life ----------------------------------------------------------------------------------

    def crash(self, voter: Voter, down_ms: int) -> None:
        voter.crash()
        self.timeline.after(down_ms, lambda: self.restart(voter))

    def restart(self, voter: Voter) -> None:
        """Start it, if it is there and down. A rotten disk may be refused, a sound one never."""
        if voter.is_up or voter.is_gone:
            return
        try:
            voter.start()
        except (StorageError, SnapshotInvalid) as error:
            if not voter.disk.is_rotten:
                raise InvariantBroken(7, f"{voter.name} refuses a sound disk: {error}") from error
            self.marks.hit("rot refused")
            self.wipe(voter)
        else:
            if voter.disk.is_rotten:
                self.marks.hit("rot without effect")
                voter.disk.is_rotten = False

    def rot(self, voter: Voter, rng: random.Random) -> None:
        """It goes down, its disk is damaged, and it is started at once."""
        voter.crash()
        voter.disk.rot(rng)
        self.restart(voter)

    # -- what nodes do -------------------------------------------------------------------------

    def on_sent(self, voter: Voter, message: Message) -> None:
        self.oracle.on_sent(voter, message)

    def on_results(self, voter: Voter, results: Sequence[Result]) -> None:
        self.oracle.on_results(voter, results)
        self.desk.on_results(voter, results)

    def on_reads(self, voter: Voter, reads: Sequence[ReadReady]) -> None:
        self.desk.on_reads(voter, reads)

    def on_applied(self, voter: Voter, entries: Sequence[Entry], results: Sequence[object]) -> None:
        self.oracle.on_applied(voter, entries)
        self.desk.on_applied(voter, entries, results)

    def on_installed(self, voter: Voter, meta: SnapshotMeta) -> None:
        self.oracle.on_installed(voter, meta)
        self.desk.on_installed(voter)

    def on_soft(self, voter: Voter, status: Status) -> None:
        self.desk.on_soft(voter, status)

    def on_turn(self, voter: Voter) -> None:
        self.oracle.on_turn(voter)

    def on_stopped(self, voter: Voter) -> None:
        self.desk.on_stopped(voter)
