"""Networks of real node processes on the loopback address, and what their logs say happened when.

Every node is `python -m agents.cli up`. Times of events are those of the nodes' own log records,
so that nothing is added by looking.

What this module does not know: what is measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from agents.connecting import attached
from agents.net import Net
from keys import Identity, Keystore, accept_grant, make_join_request

T = TypeVar("T")

LOOPBACK = "127.0.0.1"
AGENT = Path(__file__).with_name("bench_agent.py")
TIMEOUT_S = 20.0
POLL_S = 0.005


class NothingHappened(Exception):
    """A node did not do what was waited for."""

    def __init__(self, what: str, log: str) -> None:
        super().__init__(f"{what} did not happen within {TIMEOUT_S:g} s; the log says:\n{log}")


@dataclass(frozen=True, slots=True)
class Event:
    """A record of a node's log; `at_s` is seconds since 1970."""

    at_s: float
    area: str
    message: str
    peer: str

    @property
    def is_leader(self) -> bool:
        return self.message.startswith("the leader is ")


class Node:
    """The directory of one member, and its process if it is up."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.name = home.name
        store = Keystore.open(home)
        self.peer: str = store.identity.peer_id
        self.spawned_s = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def up(self, *words: str) -> None:
        """Start the process; its log begins anew."""
        command = [sys.executable, "-m", "agents.cli", "up", str(AGENT), "--log-style", "json"]
        command += ["--home", str(self.home), "--host", LOOPBACK, *words]
        self.spawned_s = time.time()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment()
            )

    def kill(self) -> float:
        """SIGKILL; return when."""
        assert self.process is not None
        at_s = time.time()
        self.process.kill()
        self.process.wait()
        self.process = None
        return at_s

    def stop(self) -> None:
        """Ask it to leave, and end it if it does not."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    @property
    def _log(self) -> Path:
        return self.home.with_suffix(".log")

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def door(self) -> str:
        """Where its introduction door is, as other nodes want it said."""
        self.first(lambda e: e.area == "p2p" and "listens" in e.message, f"door of {self.name}")
        for line in self.log.splitlines():
            if "door_port" in line:
                return f"{LOOPBACK}:{json.loads(line)['door_port']}"
        raise NothingHappened("a door", self.log)

    def events(self) -> Iterator[Event]:
        """Yield what the log holds by now."""
        for line in self.log.splitlines(keepends=True):
            if not (line.startswith("{") and line.endswith("}\n")):
                continue
            said = json.loads(line)
            at_s = datetime.fromisoformat(said["at"]).timestamp()
            yield Event(at_s, said["area"], said["message"], said.get("peer", ""))

    def first(self, wanted: Callable[[Event], bool], what: str, since_s: float = 0.0) -> Event:
        """Wait for the first event of a kind, and return it."""
        return self._wait(lambda: next(self._found(wanted, since_s), None), what)

    def _found(self, wanted: Callable[[Event], bool], since_s: float) -> Iterator[Event]:
        # Records have milliseconds and were cut, not rounded.
        return (e for e in self.events() if e.at_s >= since_s - 0.001 and wanted(e))

    def _wait(self, condition: Callable[[], T | None], what: str) -> T:
        until = time.monotonic() + TIMEOUT_S
        while (value := condition()) is None:
            if time.monotonic() >= until or self.process is None or self.process.poll() is not None:
                raise NothingHappened(f"{self.name}: {what}", self.log[-3000:])
            time.sleep(POLL_S)
        return value

    # -- the events that are measured ----------------------------------------------------------

    def listening_s(self) -> float:
        """When its sockets and its door were open, just before it announced itself."""
        return self.first(lambda e: e.area == "p2p" and "listens" in e.message, "listening").at_s

    def sees(self, other: Node, since_s: float = 0.0) -> float:
        """When it called another node alive."""
        found = self.first(_about(other, "is alive"), f"{other.name} alive", since_s)
        return found.at_s

    def gives_up(self, other: Node, since_s: float) -> float:
        """When it called another node dead."""
        return self.first(_about(other, "is dead"), f"{other.name} dead", since_s).at_s

    def knows_leader(self, since_s: float = 0.0, but_not: Node | None = None) -> float:
        """When it knew a leader, other than this one."""
        avoid = {"none", but_not.peer if but_not is not None else ""}
        return self.first(lambda e: e.is_leader and e.peer not in avoid, "a leader", since_s).at_s

    def latest_leader(self) -> str:
        """Return the peer whom it last called the leader; "none" if it knows none."""
        return next((e.peer for e in reversed(list(self.events())) if e.is_leader), "none")


def _about(other: Node, words: str) -> Callable[[Event], bool]:
    return lambda event: event.peer == other.peer and words in event.message


def environment() -> dict[str, str]:
    """Return the environment of a process: ours, but compiled modules may be kept as usual."""
    drop = {"PYTHONDONTWRITEBYTECODE"}
    return {k: v for k, v in os.environ.items() if k not in drop and not k.startswith("CONCLAVE_")}


class Network:
    """Some members of one new network, in a directory of their own."""

    def __init__(self, directory: Path, size: int, voters: int) -> None:
        now_ms = int(time.time() * 1000)
        names = [f"n{number}" for number in range(size)]
        first = Keystore.create_network(
            directory / names[0], "bench", names[0], voters, now_ms=now_ms
        )
        assert first.issuer is not None
        for name in names[1:]:
            ticket, identity = first.issuer.invite(now_ms), Identity.generate()
            request = make_join_request(ticket, identity, name, b"bench", now_ms)
            grant = first.issuer.redeem(request, b"bench", now_ms)
            joined = accept_grant(ticket, identity, grant, now_ms)
            Keystore.create_joined(directory / name, identity, name, joined)
        self.nodes = [Node(directory / name) for name in names]

    def up(self, *, mdns: bool = False) -> None:
        """Bring all nodes up by seeds, and wait until all see all and know a leader."""
        words = () if mdns else ("--no-mdns",)
        first, *others = self.nodes
        first.up(*words)
        for node in others:
            node.up("--seed", first.door, *words)
        for node in self.nodes:
            for other in self.nodes:
                if other is not node:
                    node.sees(other)
            node.knows_leader()

    def leader(self) -> Node:
        """Return the leader, as soon as all nodes that are up agree who it is."""
        until = time.monotonic() + TIMEOUT_S
        peers = {node.peer for node in self.nodes}
        while len(said := {n.latest_leader() for n in self.nodes if n.process}) != 1 or not (
            said <= peers
        ):
            if time.monotonic() >= until:
                logs = "\n".join(node.log for node in self.nodes)
                raise NothingHappened("a leader that all agree on", logs)
            time.sleep(POLL_S)
        return next(node for node in self.nodes if node.peer in said)

    def stop(self) -> None:
        for node in self.nodes:
            if node.process is not None:
                node.process.send_signal(signal.SIGINT)
        for node in self.nodes:
            node.stop()


@asynccontextmanager
async def network(size: int, voters: int = 3) -> AsyncIterator[Network]:
    """A new network of so many members, none of them up yet."""
    with tempfile.TemporaryDirectory(prefix="conclave-bench-") as directory:
        members = await asyncio.to_thread(Network, Path(directory), size, voters)
        try:
            yield members
        finally:
            await asyncio.to_thread(members.stop)


@asynccontextmanager
async def attached_to(node: Node) -> AsyncIterator[Net]:
    """Attach to a node as any program on this machine does."""
    async with attached(node.home) as net:
        yield net
