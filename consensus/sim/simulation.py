"""One run: nodes, faults, a workload, and then a heal after which there must be progress.

First anything may fail (`Weather.fault_ms`) and only safety is asked for; then everything is
repaired and within `LIVENESS_MS` one leader must commit new commands that all members apply, and no
change of the members may be left half done.

What this module does not know: how faults are carried out, what the core does.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from consensus import shipping
from consensus.codec import decode_message
from consensus.errors import MessageRefused
from consensus.raft import NodeId
from consensus.sim.clients import Clients
from consensus.sim.cluster import Cluster
from consensus.sim.governor import Governor
from consensus.sim.histories import Outcome as Fate
from consensus.sim.invariants import InvariantBroken
from consensus.sim.nemesis import Nemesis
from consensus.sim.schedule import Call, Fault, Schedule, draw_schedule
from consensus.sim.timeline import Timeline
from consensus.sim.voter import Voter
from consensus.sim.weather import CLUSTER, Weather, draw_weather
from consensus.snapshot_wire import decode_snapshot_frame, is_snapshot_frame

LIVENESS_MS = 30_000
CHECK_EVERY_MS = 250
TEMPT_AFTER_MS = (10, 50, 120, 250, 500)
FINAL_COMMANDS = 5
LAST_MESSAGES = 25
LAST_FAULTS = 10
MAX_BACKLOG = 60  # entries; more would only show how slow tiny limits are


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did, for people and for comparing two runs of one seed."""

    seed: int
    trace: str
    events: int
    committed: int
    acknowledged: int
    terms: int
    healed_in_ms: int
    virtual_ms: int
    voters: int
    marks: Counter[str] = field(default_factory=Counter)
    seconds: float = field(default=0.0, compare=False)  # of this process


class Simulation:
    """Everything of one seed. Each concern draws from a generator of its own."""

    def __init__(
        self, seed: int, weather: Weather | None = None, schedule: Schedule | None = None
    ) -> None:
        self.seed = seed
        self.weather = weather or draw_weather(self._generator("weather"))
        self.schedule = schedule or draw_schedule(self.weather, self._generator)
        self.timeline = Timeline()
        self._trace = hashlib.blake2b(digest_size=16)
        self._events = 0
        self._messages: deque[tuple[int, NodeId, NodeId, bytes]] = deque(maxlen=LAST_MESSAGES)
        self._workload = self._generator("calls")
        self._lost: Voter | None = None
        self.cluster = Cluster(self.timeline, self.weather, self._generator, self._note)
        self._governor = Governor(self.cluster)
        self.clients = Clients(self.cluster, self.weather.clients, self._generator)
        self._nemesis = Nemesis(self.cluster, self._governor, self._generator)
        self.cluster.oracle.on_new_leader = self._on_new_leader
        if self.schedule.has_coups:
            self.cluster.oracle.on_new_membership = self._nemesis.topple

    def run(self) -> Outcome:
        """Run both phases.

        Raises:
            AssertionError: a promise was broken (`InvariantBroken`), or an assertion in the core.
        """
        with _parts_of(self.weather.part_bytes):
            return self._run()

    def _run(self) -> Outcome:
        cluster = self.cluster
        for voter in tuple(cluster.voters.values()):
            voter.start()
        for fault in self.schedule.faults:
            self._plan_fault(fault)
        for call in self.schedule.calls:
            self._plan_call(call)
        self._run_until(self.weather.fault_ms)
        self._heal()
        healed_in_ms = 0
        if self._governor.may_go_on():
            healed_in_ms = self._demand_progress()
        else:
            assert self.weather.is_beyond_repair, "the simulator has lost too many disks"
            cluster.marks.hit("too much was lost")
        self.clients.judge()
        return Outcome(
            self.seed,
            self._trace.hexdigest(),
            self._events,
            len(cluster.oracle.committed),
            len(cluster.oracle.done),
            max((voter.status().term for voter in cluster.up), default=0),
            healed_in_ms,
            self.timeline.now_ms,
            self.weather.voters,
            cluster.marks.counts,
        )

    def last_events(self) -> list[str]:
        """What happened before the end, for whoever looks at a broken run."""
        now_ms = self.timeline.now_ms
        struck = [str(fault) for fault in self.schedule.faults if fault.at_ms <= now_ms]
        arrived = [_line_of(*message) for message in self._messages]
        states = [str(voter.status()) for voter in self.cluster.up]
        return [*struck[-LAST_FAULTS:], *arrived, *states]

    # -- parts ---------------------------------------------------------------------------------

    def _generator(self, concern: str) -> random.Random:
        return random.Random(f"{self.seed}/{concern}")

    def _note(self, sender: NodeId, to: NodeId, data: bytes) -> None:
        self._messages.append((self.timeline.now_ms, sender, to, data))
        self._trace.update(b"%d %s %s " % (self.timeline.now_ms, sender.encode(), to.encode()))
        self._trace.update(data)

    def _run_until(self, until_ms: int) -> None:
        while self.timeline.run_next(until_ms):
            self._events += 1

    def _plan_fault(self, fault: Fault) -> None:
        self.timeline.after(fault.at_ms, lambda: self._nemesis.strike(fault))

    def _plan_call(self, call: Call) -> None:
        self.timeline.after(call.at_ms, lambda: self._call(call))

    def _on_new_leader(self, leader: Voter) -> None:
        """Who still believes to lead is asked what it must not know any more (9)."""
        for other in self.cluster.leaders:
            if other is not leader:
                self.cluster.marks.hit("two leaders at once")
                for delay_ms in TEMPT_AFTER_MS:
                    self._tempt(other, delay_ms)
        if self.schedule.has_coups:
            self._nemesis.topple(leader)

    def _tempt(self, voter: Voter, delay_ms: int) -> None:
        def read() -> None:
            if voter.is_up:
                self.cluster.desk.read(voter, _look_away, _forget)

        self.timeline.after(delay_ms, read)

    # -- workload ------------------------------------------------------------------------------

    def _call(self, call: Call) -> None:
        """Commands go to whoever believes to lead, now and then to anyone."""
        if call.what != "raw":
            self.clients.call(call)
            return
        rng = self._workload
        targets = self.cluster.leaders
        if not targets or rng.random() < 0.1:
            targets = self.cluster.up
        if targets:
            target, count = rng.choice(targets), rng.randrange(1, 4)
            if target.backlog < MAX_BACKLOG:
                self._propose(target, count)

    def _propose(self, voter: Voter, count: int) -> tuple[int, ...]:
        desk = self.cluster.desk
        requests = tuple(range(desk.last_request + 1, desk.last_request + 1 + count))
        padding = b"x" * self.weather.command_bytes
        commands = [b"%d %s" % (request, padding) for request in requests]
        desk.propose(voter, commands, _forget)
        return requests

    # -- after the storm -----------------------------------------------------------------------

    def _heal(self) -> None:
        """Repair everything, but for one node in some runs: a quorum must do without it."""
        cluster = self.cluster
        cluster.is_calm = cluster.network.is_calm = True
        cluster.network.heal()
        for voter in tuple(cluster.voters.values()):
            voter.calm()
            cluster.restart(voter)
        # Some time for the healed, so that the one who is then lost may be their leader.
        self._run_until(self.timeline.now_ms + LIVENESS_MS // 3)
        rng = self._generator("loss")
        how = rng.choice(("nobody", "dead", "mute", "deaf"))
        if not cluster.voters:
            return
        leaders = cluster.leaders if rng.random() < 0.7 else []
        lost = rng.choice(leaders or list(cluster.voters.values()))
        if how != "nobody" and self._governor.may_lose(lost):
            self._lose(lost, how, rng)

    def _lose(self, lost: Voter, how: str, rng: random.Random) -> None:
        """For good. Preferably the leader: a deaf one must notice and fall silent (R13)."""
        self._lost = lost
        if how == "dead":
            lost.crash()
        else:
            self._nemesis.partition(how, lost, rng)

    def _demand_progress(self) -> int:
        """15: a leader, new commands decided, and all members equal, in bounded time."""
        oracle = self.cluster.oracle
        begun_ms = self.timeline.now_ms
        wanted: tuple[int, ...] = ()
        asked_term = 0
        while self.timeline.now_ms < begun_ms + LIVENESS_MS:
            self._run_until(self.timeline.now_ms + CHECK_EVERY_MS)
            leaders = [voter for voter in self.cluster.leaders if voter is not self._lost]
            if wanted and oracle.done.issuperset(wanted) and self._are_equal(leaders):
                return self.timeline.now_ms - begun_ms
            if len(leaders) == 1 and leaders[0].status().term != asked_term:
                # The commands of a leader that lost its lead may or may not have happened.
                asked_term = leaders[0].status().term
                wanted = self._propose(leaders[0], FINAL_COMMANDS)
            elif not oracle.refused.isdisjoint(wanted):
                asked_term = 0
        states = [str(voter.status()) for voter in self.cluster.up]
        raise InvariantBroken(15, "no progress after the heal:\n" + "\n".join(states))

    def _are_equal(self, leaders: list[Voter]) -> bool:
        """Whether all members but the lost one have applied all that is committed."""
        if len(leaders) != 1:
            return False
        status = leaders[0].status()
        members = [self.cluster.voters.get(name) for name in status.membership.members]
        healthy = [voter for voter in members if voter is not None and voter is not self._lost]
        total = len(self.cluster.oracle.committed)
        return not status.is_changing and all(v.is_up and v.applied == total for v in healthy)


def _line_of(now_ms: int, sender: NodeId, to: NodeId, data: bytes) -> str:
    decode = decode_snapshot_frame if is_snapshot_frame(data) else decode_message
    try:
        return f"{now_ms} ms: {decode(CLUSTER, data, sender=sender, recipient=to)}"
    except MessageRefused as error:
        return f"{now_ms} ms: {sender} to {to}: {error}"


@contextmanager
def _parts_of(size: int) -> Iterator[None]:
    """Snapshots travel in parts of this size: those of a simulated store are small."""
    before = shipping.PART_BYTES
    shipping.PART_BYTES = size
    try:
        yield
    finally:
        shipping.PART_BYTES = before


def _forget(fate: Fate) -> None:
    """Nobody waits for these; the oracle knows what became of them."""


def _look_away(voter: Voter) -> None:
    """What this read shows interests nobody; that it was served was judged."""


def run_seed(
    seed: int, weather: Weather | None = None, schedule: Schedule | None = None
) -> Outcome:
    """Run one seed from nothing to the end."""
    begun_s = time.process_time()
    outcome = Simulation(seed, weather, schedule).run()
    return replace(outcome, seconds=time.process_time() - begun_s)
