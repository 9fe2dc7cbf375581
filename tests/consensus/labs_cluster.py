"""Simulated voters under the hand of a test: partition, crash, restart, propose, wait.

The words are those of the labs of MIT's course 6.5840: a voter that is disconnected hears and is
heard by nobody, but runs on; one that has crashed comes back with its disk. Time is virtual, faults
come only from the test, or, in an unreliable network, from the seed. The oracle of the simulator
watches every step.

What this module does not know: what a scenario proves.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from consensus.codec import encode_message
from consensus.raft import Message, NodeId, Role
from consensus.sim import STORM
from consensus.sim.cluster import Cluster
from consensus.sim.histories import Done, Outcome
from consensus.sim.timeline import Timeline
from consensus.sim.voter import Voter
from consensus.sim.weather import CLUSTER

ELECTION_MS = 1600  # no election timer runs longer
SETTLE_MS = 6 * ELECTION_MS  # a leader is found in this time, split votes included
RETRY_MS = 2_000
AGREE_MS = 30_000

CALM = replace(
    STORM,
    loss_percent=0,
    latency_ms=2,
    latency_tail_ms=0,
    disk_ms=1,
    crash_per_mille=0,
    nemesis_kinds=(),
    coup_percent=0,
    max_append_bytes=512 * 1024,
    max_inflight=64,
)
UNRELIABLE = {"loss_percent": 10, "duplicate_percent": 5, "latency_ms": 1, "latency_tail_ms": 13}
# Leaders fall while their entries are on the way, one a message: figure 8 needs logs that differ.
TRICKLE = {"max_append_bytes": 1, "max_inflight": 1, "disk_ms": 60, "latency_ms": 20}
LONG_REORDERING = {**UNRELIABLE, "replay_percent": 10, "latency_tail_ms": 60}


class _Counted(Cluster):
    """Counts what the voters say."""

    def __init__(self, *args: Any) -> None:
        self.said: Counter[str] = Counter()
        self.said_bytes = 0
        super().__init__(*args)

    def on_sent(self, voter: Voter, message: Message) -> None:
        self.said[type(message).__name__] += 1
        self.said_bytes += len(encode_message(CLUSTER, message))
        super().on_sent(voter, message)


class Lab:
    """Some voters that have just been started, all connected.

    Args:
        weather: fields of `Weather` that differ from `CALM`, such as those of `UNRELIABLE`.
    """

    def __init__(self, voters: int, seed: int = 0, **weather: Any) -> None:
        print(f"seed {seed}")
        self.rng = random.Random(f"{seed}/test")
        self.timeline = Timeline()
        self._cluster = _Counted(
            self.timeline,
            replace(CALM, voters=voters, **weather),
            lambda concern: random.Random(f"{seed}/{concern}"),
            lambda sender, to, data: None,
        )
        self._connected = set(self._cluster.voters)
        self._outcomes: dict[int, Outcome] = {}
        self._indexes: dict[int, int] = {}  # of committed requests
        self._read_up_to = 0
        self.names: list[NodeId] = list(self._cluster.voters)
        for name in self.names:
            self.restart(name)

    # -- faults --------------------------------------------------------------------------------

    def disconnect(self, *names: NodeId) -> None:
        self._connected -= set(names)
        self._link()

    def connect(self, *names: NodeId) -> None:
        self._connected |= set(names)
        self._link()

    def connect_only(self, *names: NodeId) -> None:
        self._connected = set(names)
        self._link()

    def _link(self) -> None:
        network = self._cluster.network
        network.heal()
        for one in self.names:
            for other in self.names:
                if one != other and not {one, other} <= self._connected:
                    network.cut(one, other)

    def crash(self, *names: NodeId) -> None:
        for name in names:
            self._cluster.voters[name].crash()

    def restart(self, *names: NodeId) -> None:
        for name in names:
            self._cluster.voters[name].start()

    def make_reliable(self) -> None:
        """From now on messages are neither lost nor late."""
        self._cluster.network.is_calm = True

    # -- time ----------------------------------------------------------------------------------

    def run(self, duration_ms: int) -> None:
        until_ms = self.timeline.now_ms + duration_ms
        while self.timeline.run_next(until_ms):
            pass

    def wait(self, what: str, condition: Callable[[], bool], within_ms: int = SETTLE_MS) -> None:
        assert self.holds_within(within_ms, condition), f"{what}: not in {within_ms} ms\n{self}"

    def holds_within(self, within_ms: int, condition: Callable[[], bool]) -> bool:
        """Run until it holds; False if it does not in time."""
        until_ms = self.timeline.now_ms + within_ms
        while not condition():
            if not self.timeline.run_next(until_ms):
                return condition()
        return True

    # -- who is there --------------------------------------------------------------------------

    def voter(self, name: NodeId) -> Voter:
        return self._cluster.voters[name]

    def is_up(self, name: NodeId) -> bool:
        return self.voter(name).is_up

    def is_connected(self, name: NodeId) -> bool:
        return name in self._connected

    def after(self, name: NodeId, steps: int = 1) -> NodeId:
        """Counts on around the circle of voters, as the labs do."""
        return self.names[(self.names.index(name) + steps) % len(self.names)]

    def others(self, *names: NodeId) -> list[NodeId]:
        return [name for name in self.names if name not in names]

    @property
    def present(self) -> list[NodeId]:
        """Those that run and are connected."""
        return [name for name in self.names if self.is_up(name) and self.is_connected(name)]

    def leads(self, name: NodeId) -> bool:
        """Whether it believes so."""
        return self.is_up(name) and self.voter(name).status().role is Role.LEADER

    def term(self) -> int:
        """The latest that anybody knows."""
        return max(self.voter(name).status().term for name in self.names if self.is_up(name))

    def leader(self) -> NodeId:
        """Wait for the one leader that all who are present follow."""
        self.wait("one leader", lambda: self._agreed_leader() is not None)
        leader = self._agreed_leader()
        assert leader is not None
        return leader

    def _agreed_leader(self) -> NodeId | None:
        found = {(self.voter(n).status().leader, self.voter(n).status().term) for n in self.present}
        leader = next(iter(found))[0] if len(found) == 1 else None
        return leader if leader in self.present and self.leads(leader) else None

    def expect_no_leader(self) -> None:
        believers = [name for name in self.present if self.leads(name)]
        assert not believers, f"{believers} lead\n{self}"

    # -- commands ------------------------------------------------------------------------------

    def propose(self, name: NodeId, *, size: int = 0) -> int:
        """Hand a command to a voter, whether it leads or not."""
        desk = self._cluster.desk
        request = desk.last_request + 1

        def settle(outcome: Outcome) -> None:
            assert request not in self._outcomes, "settled twice"
            self._outcomes[request] = outcome

        desk.propose(self.voter(name), [b"%d " % request + b"x" * size], settle)
        return request

    def propose_to_leaders(self) -> int | None:
        """To everybody who believes to lead; the last request, if there was any."""
        requests = [self.propose(name) for name in self.names if self.leads(name)]
        return requests[-1] if requests else None

    def outcome(self, request: int) -> Outcome | None:
        """None while it is open."""
        return self._outcomes.get(request)

    def is_done(self, request: int) -> bool:
        return isinstance(self.outcome(request), Done)

    def index(self, request: int) -> int | None:
        """Where it was committed, if it was."""
        committed = self._cluster.oracle.committed
        for entry in committed[self._read_up_to :]:
            number = entry.data.split(b" ")[0]
            if number.isdigit():
                self._indexes[int(number)] = entry.index
        self._read_up_to = len(committed)
        return self._indexes.get(request)

    def holders(self, request: int) -> int:
        """How many running voters have applied it."""
        index = self.index(request)
        return 0 if index is None else self.holders_of_index(index)

    def holders_of_index(self, index: int) -> int:
        return sum(self.is_up(name) and self.voter(name).applied >= index for name in self.names)

    def agree(self, expected: int, *, size: int = 0, within_ms: int = AGREE_MS) -> int:
        """A command that so many voters apply, whoever leads; it is asked for again when it seems
        to be lost, as clients do. The request that got through."""
        until_ms = self.timeline.now_ms + within_ms
        while self.timeline.now_ms < until_ms:
            leaders = [name for name in self.present if self.leads(name)]
            requests = [self.propose(name, size=size) for name in leaders]
            if not requests:
                self.run(50)
            for request in requests:
                if self.holds_within(RETRY_MS, partial(self._is_held_by, expected, request)):
                    return request
        raise AssertionError(f"{expected} voters do not agree\n{self}")

    def expect_everywhere(self, requests: Iterable[int]) -> None:
        """All voters run and apply these."""
        for request in requests:
            held = partial(self._is_held_by, len(self.names), request)
            self.wait(f"{request} everywhere", held)

    def _is_held_by(self, expected: int, request: int) -> bool:
        return self.holders(request) >= expected

    # -- counting ------------------------------------------------------------------------------

    @property
    def said_bytes(self) -> int:
        return self._cluster.said_bytes

    def said(self, *kinds: str) -> int:
        """How many messages of these kinds were sent so far; of all kinds but answers if none."""
        if kinds:
            return sum(self._cluster.said[kind] for kind in kinds)
        found = self._cluster.said.items()
        return sum(count for kind, count in found if not kind.endswith("Reply"))

    def __str__(self) -> str:
        lines = [f"at {self.timeline.now_ms} ms, connected: {sorted(self._connected)}"]
        for name in self.names:
            lines.append(f"  {name}: {self.voter(name).status() if self.is_up(name) else 'down'}")
        return "\n".join(lines)
