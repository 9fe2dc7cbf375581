"""Elections and deaths in a network of three: how soon a leader, a verdict, another worker."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, measures, median_of
from benchmarks.nodes import TIMEOUT_S, Network, Node, attached_to, network
from benchmarks.pace import pace

TASKS = 12

_Times = dict[str, list[float]]


@measures("failures")
def failures() -> Iterator[Figure]:
    """Bring three voters up, kill a worker, bring it back, kill the leader; some rounds of it."""
    times: _Times = defaultdict(list)
    for _ in range(pace().repeats):
        asyncio.run(_round(times))
    yield median_of(
        "first leader",
        times["first leader"],
        "s",
        "from the last expected voter's start of announcing until all three know a leader",
        target=2.0,
    )
    yield median_of(
        "declared dead",
        times["dead"],
        "s",
        "from SIGKILL of a peer until all others call it dead",
        target=3.0,
    )
    yield median_of(
        "tasks of a dead worker run elsewhere",
        times["elsewhere"],
        "s",
        "from SIGKILL of a worker until the last of its tasks has begun on another",
        target=5.0,
    )
    yield median_of(
        "new leader",
        times["new leader"],
        "s",
        "from SIGKILL of the leader until all others know a new one",
        target=2.0,
    )


async def _round(times: _Times) -> None:
    async with network(3) as members:
        first, second, third = members.nodes
        first.up("--no-mdns")
        second.up("--no-mdns", "--seed", first.door)
        second.sees(first)
        third.up("--no-mdns", "--seed", first.door)
        known_s = max(node.knows_leader() for node in members.nodes)
        times["first leader"].append(known_s - third.listening_s())
        await _kill_worker(members, times)
        await _kill_leader(members, times)


async def _kill_worker(members: Network, times: _Times) -> None:
    """Kill one that does not lead, while all hold tasks; then bring it back."""
    leader = members.leader()
    victim = next(node for node in members.nodes if node is not leader)
    with tempfile.TemporaryDirectory(prefix="conclave-bench-") as directory:
        starts = _Starts(Path(directory) / "starts")
        async with attached_to(leader) as net:
            for number in range(TASKS):
                await net.submit("bench.hold", {"file": str(starts.file), "key": str(number)})
        await starts.wait_for(lambda: len(starts.latest()) == TASKS, "all tasks begun")
        orphans = [key for key, (pid, _) in starts.latest().items() if pid == victim.pid]
        assert orphans, "the scheduler gave the victim nothing"
        gone = victim.pid
        killed_s = victim.kill()
        others = [node for node in members.nodes if node is not victim]
        times["dead"].append(max(n.gives_up(victim, killed_s) for n in others) - killed_s)
        await starts.wait_for(
            lambda: all(starts.latest()[key][0] != gone for key in orphans), "tasks elsewhere"
        )
        times["elsewhere"].append(max(starts.latest()[key][1] for key in orphans) - killed_s)
    victim.up("--no-mdns", "--seed", leader.door)
    victim.knows_leader()
    for node in others:
        node.sees(victim, killed_s)


async def _kill_leader(members: Network, times: _Times) -> None:
    victim = members.leader()
    killed_s = victim.kill()
    others: list[Node] = [node for node in members.nodes if node is not victim]
    times["new leader"].append(
        max(node.knows_leader(killed_s, but_not=victim) for node in others) - killed_s
    )
    times["dead"].append(max(n.gives_up(victim, killed_s) for n in others) - killed_s)


class _Starts:
    """What the holding tasks wrote down: who began which, and when."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def latest(self) -> dict[str, tuple[int, float]]:
        """Return the last start of every task, as (process, time)."""
        found: dict[str, tuple[int, float]] = {}
        if self.file.exists():
            for line in self.file.read_text().splitlines(keepends=True):
                if line.endswith("\n"):
                    key, pid, at_s = line.split()
                    found[key] = (int(pid), float(at_s))
        return found

    async def wait_for(self, condition: object, what: str) -> None:
        assert callable(condition)
        until = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < until, f"{what}: not within {TIMEOUT_S:g} s: {self.latest()}"
            await asyncio.sleep(0.01)
