"""One run: voters, faults, a workload, and then a heal after which there must be progress.

First anything may fail (`Weather.fault_ms`) and only safety is asked for; then everything is
repaired and within `LIVENESS_MS` one leader must commit new commands that all voters apply.

What this module does not know: how faults are carried out, what the core does.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

from consensus.raft import Membership, NodeId, Propose, Role, Transfer, Unreachable
from consensus.sim.disk import Disk
from consensus.sim.marks import Marks
from consensus.sim.network import Network
from consensus.sim.oracle import InvariantBroken, Oracle
from consensus.sim.timeline import Timeline
from consensus.sim.voter import Voter
from consensus.sim.weather import Weather, draw_weather

LIVENESS_MS = 30_000
CHECK_EVERY_MS = 250
FINAL_COMMANDS = 5


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


class Simulation:
    """Everything of one seed. Each concern draws from a generator of its own."""

    def __init__(self, seed: int, weather: Weather | None = None) -> None:
        self.seed = seed
        self.weather = weather or draw_weather(self._generator("weather"))
        self.timeline = Timeline()
        self.marks = Marks()
        self.oracle = Oracle(Membership(tuple(sorted(self.weather.names))))
        self._trace = hashlib.blake2b(digest_size=16)
        self._events = 0
        self._nemesis = self._generator("nemesis")
        self._workload = self._generator("workload")
        self._request = 0
        self._is_calm = False
        self._lost: Voter | None = None
        self.network = Network(
            self.timeline, self.weather, self._generator("network"), self._deliver
        )
        self.voters = {name: self._make_voter(name) for name in self.weather.names}
        self.oracle.voters = self.voters.values
        self.oracle.on_new_leader = self._topple

    def run(self) -> Outcome:
        """Run both phases.

        Raises:
            AssertionError: a promise was broken (`InvariantBroken`), or an assertion in the core.
        """
        for voter in self.voters.values():
            voter.start()
        self.timeline.after(self.weather.propose_every_ms, self._work)
        self.timeline.after(self.weather.nemesis_every_ms, self._strike)
        self._run_until(self.weather.fault_ms)
        self._heal()
        healed_in_ms = self._demand_progress()
        terms = max(voter.status().term for voter in self.voters.values() if voter.is_up)
        return Outcome(
            self.seed,
            self._trace.hexdigest(),
            self._events,
            len(self.oracle.committed),
            len(self.oracle.done),
            terms,
            healed_in_ms,
        )

    # -- parts ---------------------------------------------------------------------------------

    def _generator(self, concern: str) -> random.Random:
        return random.Random(f"{self.seed}/{concern}")

    def _make_voter(self, name: NodeId) -> Voter:
        disk = Disk(self.timeline, self.weather, self._generator(f"disk/{name}"))
        rng = self._generator(f"voter/{name}")
        return Voter(
            name,
            self.timeline,
            self.weather,
            disk,
            rng,
            self.network.send,
            self.oracle,
            self.marks,
        )

    def _deliver(self, sender: NodeId, to: NodeId, data: bytes) -> None:
        self._trace.update(b"%d %s %s " % (self.timeline.now_ms, sender.encode(), to.encode()))
        self._trace.update(data)
        self.voters[to].receive(sender, data)

    def _run_until(self, until_ms: int) -> None:
        while self.timeline.run_next(until_ms):
            self._events += 1

    def _leaders(self) -> list[Voter]:
        up = [voter for voter in self.voters.values() if voter.is_up]
        return [voter for voter in up if voter.status().role is Role.LEADER]

    # -- workload ------------------------------------------------------------------------------

    def _work(self) -> None:
        """Commands go to whoever believes to lead, now and then to anyone."""
        targets = self._leaders()
        if not targets or self._workload.random() < 0.1:
            targets = [voter for voter in self.voters.values() if voter.is_up]
        if targets:
            self._propose(self._workload.choice(targets), self._workload.randrange(1, 4))
        if not self._is_calm:
            self.timeline.after(self.weather.propose_every_ms, self._work)

    def _propose(self, voter: Voter, count: int) -> tuple[int, ...]:
        first = self._request + 1
        self._request += count
        requests = tuple(range(first, first + count))
        padding = b"x" * self.weather.command_bytes
        voter.post(Propose(first, [b"%d %s" % (request, padding) for request in requests]))
        return requests

    # -- faults --------------------------------------------------------------------------------

    def _strike(self) -> None:
        """One larger fault; most repair themselves after a while."""
        if self._is_calm:
            return
        rng = self._nemesis
        self._do(rng.choice(self.weather.nemesis_kinds), rng.randrange(200, 4000))
        self.timeline.after(rng.randrange(1, 2 * self.weather.nemesis_every_ms), self._strike)

    def _do(self, kind: str, duration_ms: int) -> None:
        anyone = self._nemesis.choice(tuple(self.voters.values()))
        leaders = self._leaders()
        leader = self._nemesis.choice(leaders) if leaders else anyone
        match kind:
            case "crash":
                self._crash(anyone, duration_ms)
            case "crash leader":
                self._crash(leader, duration_ms)
            case "crash all":
                for voter in self.voters.values():
                    self._crash(voter, self._nemesis.randrange(1, duration_ms))
            case "pause":
                anyone.pause(duration_ms)
            case "transfer":
                leader.post(Transfer(self._nemesis.choice((None, anyone.name))))
            case "hint":
                anyone.post(Unreachable(leader.name))
            case "disk full":
                anyone.disk.full_until_ms = self.timeline.now_ms + duration_ms
            case _:
                self._partition(kind, leader if kind == "isolate leader" else anyone)
                self.timeline.after(duration_ms, self.network.heal)

    def _topple(self, leader: Voter) -> None:
        """Leaders that fall at once, some before anyone has heard of their first entry, leave logs
        that differ everywhere (paper figure 8)."""
        rng = self._nemesis
        if self._is_calm or rng.randrange(100) >= self.weather.coup_percent:
            return
        down_ms = rng.randrange(100, 3000)
        delay_ms = rng.randrange(3 * self.weather.latency_ms + 20)
        if rng.random() < 0.5:
            self._partition("mute", leader)
            self.timeline.after(delay_ms + 1, self.network.heal)
        self.timeline.after(delay_ms, lambda: self._crash(leader, down_ms))

    def _crash(self, voter: Voter, down_ms: int) -> None:
        voter.crash()
        self.timeline.after(down_ms, lambda: self._restart(voter))

    @staticmethod
    def _restart(voter: Voter) -> None:
        if not voter.is_up:
            voter.start()

    def _partition(self, kind: str, center: Voter) -> None:
        """Halves, a bridge that both halves reach, one node alone, one mute, one deaf."""
        names = list(self.voters)
        self._nemesis.shuffle(names)
        half = set(names[: len(names) // 2])
        for one in self.voters:
            for other in self.voters:
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
                    self.network.cut(one, other)

    # -- after the storm -----------------------------------------------------------------------

    def _heal(self) -> None:
        """Repair everything, but for one voter in some runs: a quorum must do without it."""
        self._is_calm = True
        self.network.is_calm = True
        self.network.heal()
        for voter in self.voters.values():
            voter.is_crashy = False
            voter.disk.calm()
            voter.pause(0)
            self._restart(voter)
        # Some time for the healed, so that the one who is then lost may be their leader.
        self._run_until(self.timeline.now_ms + LIVENESS_MS // 3)
        if len(self.voters) >= 3:
            self._lose_one(self._nemesis.choice(("nobody", "dead", "mute", "deaf")))

    def _lose_one(self, how: str) -> None:
        """For good. Preferably the leader: a deaf one must notice and fall silent (R13)."""
        if how == "nobody":
            return
        leaders = self._leaders() if self._nemesis.random() < 0.7 else []
        lost = self._nemesis.choice(leaders or list(self.voters.values()))
        self._lost = lost
        if how == "dead":
            lost.crash()
        else:
            self._partition(how, lost)

    def _demand_progress(self) -> int:
        """15: a leader, new commands decided, and everyone equal, in bounded time."""
        begun_ms = self.timeline.now_ms
        wanted: tuple[int, ...] = ()
        asked_term = 0
        while self.timeline.now_ms < begun_ms + LIVENESS_MS:
            self._run_until(self.timeline.now_ms + CHECK_EVERY_MS)
            if wanted and self.oracle.done.issuperset(wanted) and self._are_equal():
                return self.timeline.now_ms - begun_ms
            leaders = [voter for voter in self._leaders() if voter is not self._lost]
            if len(leaders) == 1 and leaders[0].status().term != asked_term:
                # The commands of a leader that lost its lead may or may not have happened.
                asked_term = leaders[0].status().term
                wanted = self._propose(leaders[0], FINAL_COMMANDS)
            elif not self.oracle.refused.isdisjoint(wanted):
                asked_term = 0
        states = [str(voter.status()) for voter in self.voters.values() if voter.is_up]
        raise InvariantBroken(15, "no progress after the heal:\n" + "\n".join(states))

    def _are_equal(self) -> bool:
        """Whether all but the lost one have applied all that is committed."""
        total = len(self.oracle.committed)
        healthy = [voter for voter in self.voters.values() if voter is not self._lost]
        return all(voter.is_up and voter.applied == total for voter in healthy)


def run_seed(seed: int, weather: Weather | None = None) -> Outcome:
    """Run one seed from nothing to the end."""
    return Simulation(seed, weather).run()
