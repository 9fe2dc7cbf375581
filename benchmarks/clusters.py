"""Three voters that decide together, ours and those of rivals, ready to be alternated.

A cluster is what a measurement orders about: some processes that vote, and one that proposes. Ours
and PySyncObj's proposals are made in the leader's process, as their users make them; etcd's by a
client.

What this module does not know: which workloads there are and how they are judged.
"""

from __future__ import annotations

import importlib.util
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.contenders import NotThere, homes_of
from benchmarks.workers import Worker

SQLITE = "SQLite alone"
ETCD = "etcd"
PYSYNCOBJ = "PySyncObj, no fsync"
PYSYNCOBJ_BATCHED = "PySyncObj batched, no fsync"

_VOTERS = "benchmarks.ours.voters"
_ETCD = "benchmarks.rivals.etcd_puts"
_PYSYNCOBJ = "benchmarks.rivals.pysyncobj_commits"
SIZE = 3

Words = dict[str, Any]


@dataclass(slots=True)
class Rival:
    """Voters by process id, and who makes the proposals."""

    proposer: Worker
    pids: Sequence[int]

    def commit(self, bytes_: int, in_flight: int, seconds: float) -> Words:
        """Run a closed loop; adds the voters' CPU in microseconds for each commit."""
        before = self._cpu_s()
        done = self.proposer.ask("commit", bytes_=bytes_, in_flight=in_flight, seconds=seconds)
        return {**done, "cpu_us": 1e6 * (self._cpu_s() - before) / done["all"]}

    def _cpu_s(self) -> float:
        times = [psutil.Process(pid).cpu_times() for pid in self.pids]
        return sum(one.user + one.system for one in times)


@dataclass(slots=True)
class Voters:
    """Ours. `config` is what all of them are founded with."""

    stack: ExitStack
    homes: Sequence[Path]
    config: Words = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    _home_of: dict[str, Path] = field(default_factory=dict)

    def start(self, home: Path) -> Worker:
        """Start the process of one voter, and let it meet those that are up."""
        doors = [worker.ready["door"] for worker in self.workers.values()][:1]
        worker = Worker(_VOTERS, str(home), str(home / "bench.db"), *doors)
        self.stack.enter_context(worker)
        name = worker.ready["peer"]
        for other in self.workers.values():
            other.ask("meet", peers=[name])
        worker.ask("meet", peers=list(self.workers))
        self.workers[name], self._home_of[name] = worker, home
        return worker

    def found(self) -> None:
        """Let all of them take part, and wait until all know a leader."""
        for worker in self.workers.values():
            worker.ask("found", voters=list(self.workers), **self.config)
        for worker in self.workers.values():
            worker.ask("wait", led=True)

    def restart(self, name: str) -> Worker:
        """Start the process of a voter that has ended; `ready` has what its founding said."""
        worker = self.start(self._home_of[name])
        worker.ready |= worker.ask("found", voters=sorted(self._home_of), **self.config)
        return worker

    def end(self, name: str) -> float:
        """End a voter's process with SIGKILL; when."""
        return self.workers.pop(name).kill()

    @property
    def leader(self) -> Worker:
        """Who leads, once one of them does."""
        end = time.monotonic() + 20.0
        while time.monotonic() < end:
            for worker in self.workers.values():
                if worker.ask("status")["leads"]:
                    return worker
            time.sleep(0.01)
        raise AssertionError("the voters elect nobody")

    @property
    def followers(self) -> list[Worker]:
        leader = self.leader
        return [worker for worker in self.workers.values() if worker is not leader]

    def commit(self, bytes_: int, in_flight: int, seconds: float) -> Words:
        """As `Rival.commit`; with what was written and sent for each commit."""
        leader = self.leader
        workers = [leader, *(w for w in self.workers.values() if w is not leader)]
        before = [worker.ask("usage") for worker in workers]
        done = leader.ask("commit", bytes_=bytes_, in_flight=in_flight, seconds=seconds)
        after = [worker.ask("usage") for worker in workers]
        used = [{k: b[k] - a[k] for k in a} for a, b in zip(before, after, strict=True)]
        commits = done["all"]
        return {
            **done,
            "cpu_us": 1e6 * sum(one["cpu_s"] for one in used) / commits,
            "leader_cpu_us": 1e6 * used[0]["cpu_s"] / commits,
            "per_fsync": commits / used[0]["transactions"],
            "wire_bytes": used[0]["wire_bytes"] / commits,
        }


@contextmanager
def our_voters(**config: Any) -> Iterator[Voters]:
    """Three peers of one new network, each a voter in a process of its own."""
    with ExitStack() as stack:
        voters = Voters(stack, stack.enter_context(homes_of(SIZE)), config)
        for home in voters.homes:
            voters.start(home)
        voters.found()
        yield voters


def etcd_cluster(stack: ExitStack) -> Rival:
    """Raises NotThere without etcd and grpcio."""
    if shutil.which("etcd") is None:
        raise NotThere("there is no etcd on the PATH")
    if importlib.util.find_spec("grpc") is None:
        raise NotThere("grpcio is not installed")
    from benchmarks.rivals.etcd_puts import etcd_servers

    pids, ports = stack.enter_context(etcd_servers(SIZE))
    client = stack.enter_context(Worker(_ETCD, *(str(port) for port in ports)))
    return Rival(client, pids)


def pysyncobj_cluster(stack: ExitStack, mode: str) -> Rival:
    """`mode`: "batched" or "eager". Raises NotThere without pysyncobj."""
    if importlib.util.find_spec("pysyncobj") is None:
        raise NotThere("pysyncobj is not installed")
    from benchmarks.rivals.etcd_puts import free_ports

    ports = [str(port) for port in free_ports(SIZE)]
    workers = []
    for number in range(SIZE):
        words = (mode, ports[number], *ports[:number], *ports[number + 1 :])
        workers.append(stack.enter_context(Worker(_PYSYNCOBJ, *words)))
    leads = [worker.ask("wait")["leads"] for worker in workers]
    return Rival(workers[leads.index(True)], [worker.pid for worker in workers])


def plain_rate(rows: int, bytes_: int, seconds: float) -> float:
    """Rows a second of the plainest durable log: one file, so many rows a transaction."""
    with tempfile.TemporaryDirectory(prefix="conclave-bench-") as directory:
        db = sqlite3.connect(Path(directory) / "plain.db", isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("CREATE TABLE log (idx INTEGER PRIMARY KEY, data BLOB)")
            done, began = 0, time.perf_counter()
            while time.perf_counter() - began < seconds:
                db.execute("BEGIN IMMEDIATE")
                db.executemany("INSERT INTO log (data) VALUES (?)", [(bytes(bytes_),)] * rows)
                db.execute("COMMIT")
                done += rows
            return done / (time.perf_counter() - began)
        finally:
            db.close()


def cluster_makers() -> dict[str, Callable[[ExitStack], Rival]]:
    """The rivals, by name."""
    return {
        ETCD: etcd_cluster,
        PYSYNCOBJ: lambda stack: pysyncobj_cluster(stack, "eager"),
        PYSYNCOBJ_BATCHED: lambda stack: pysyncobj_cluster(stack, "batched"),
    }
