"""A voter without a node around it, under orders: a peer, a log in SQLite, a key-value store.

    python -m benchmarks.ours.voters HOME LOG [SEED]

The order `found` says who votes and enters the runner. Proposals are made in the process of the
leader, as a node makes them.

What this module does not know: when its turn is, and what it is compared with.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.loads import closed_loop, open_loop
from benchmarks.orders import Order, obey, run_loop
from benchmarks.ours.members import LOOPBACK, Member, peer_at
from consensus import Config, ConsensusError, Role, Runner, SqliteStorage, StoreBatch
from consensus.kv import KvStore, encode_put
from consensus.node.machine import StoreMachine, entry_of
from keys import PeerId, Permission
from p2p import Lane, LinkBroken, P2PError, Peer, Priority

Words = dict[str, Any]

CLUSTER = "bench"
MESSAGE, PART = "bench.log", "bench.part"
KEYS = 1_000
POLL_S = 0.001
WAIT_S = 50.0
FILL_IN_FLIGHT = 1_000
OUTCOME_S = 30.0


class CountingLog(SqliteStorage):
    """A log that counts its transactions: each of them is one fsync."""

    transactions = 0

    def write(self, batches: Sequence[StoreBatch]) -> None:
        self.transactions += 1
        super().write(batches)


class PeerLink:
    """Messages as notices on the control lane, as the nodes send them; counts their bytes."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.sent = self.sent_bytes = 0

    def send(self, to: str, data: bytes) -> None:
        self.sent += 1
        self.sent_bytes += len(data)
        try:
            self._peer.notify(PeerId(to), MESSAGE, data, lane=Lane.CONTROL)
        except P2PError:
            return

    def send_part(self, to: str, data: bytes) -> None:
        try:
            self._peer.notify(PeerId(to), PART, data, lane=Lane.DATA, priority=Priority.LOW)
        except P2PError:
            return


class Voter:
    """What a voter can be ordered to do."""

    def __init__(self, peer: Peer, log: Path) -> None:
        self._peer = peer
        self._path = log
        self._log: CountingLog | None = None
        self._link = PeerLink(peer)
        self._runner: Runner | None = None
        self._machine = StoreMachine(KvStore())
        peer.serve_notice(MESSAGE, self._on_message, permission=Permission.CONSENSUS)
        peer.serve_notice(PART, self._on_part, permission=Permission.CONSENSUS)
        peer.watch(self._on_presence)

    def orders(self) -> dict[str, Order]:
        return {
            "found": self.found,
            "leave": self.leave,
            "status": self.status,
            "wait": self.wait,
            "usage": self.usage,
            "commit": self.commit,
            "offer_commits": self.offer_commits,
            "read": self.read,
            "fill": self.fill,
            "take_over": self.take_over,
        }

    # -- what the network brings ---------------------------------------------------------------

    def _on_message(self, peer_id: PeerId, payload: bytes) -> None:
        if self._runner is not None:
            self._runner.receive_from(peer_id, payload)

    def _on_part(self, peer_id: PeerId, payload: bytes) -> None:
        if self._runner is not None:
            self._runner.receive_part_from(peer_id, payload)

    def _on_presence(self, event: object) -> None:
        if isinstance(event, LinkBroken) and self._runner is not None:
            self._runner.unreachable(event.peer_id)

    # -- beginning and looking -----------------------------------------------------------------

    async def found(
        self, voters: list[str], snapshot_entries: int = 20_000, **config: Any
    ) -> Words:
        """Read the log back and take part; return how long the reading took."""
        own = self._peer.peer_id
        began, began_cpu = time.perf_counter(), time.process_time()
        self._log = CountingLog(self._path, CLUSTER, own)
        runner = Runner(
            Config(own, CLUSTER, tuple(voters), **config),
            self._log,
            self._link,
            self._machine,
            clock_ms=lambda: time.monotonic_ns() // 1_000_000,
            rng=random.Random(own),
            snapshot_entries=snapshot_entries,
            snapshot_bytes=2**40,
        )
        await runner.__aenter__()
        self._runner = runner
        return {
            "ready_s": time.perf_counter() - began,
            "cpu_s": time.process_time() - began_cpu,
            "entries": runner.status().last_index,
        }

    async def leave(self) -> Words:
        """Stop taking part, so that the log is closed in order."""
        runner, self._runner = self._voting, None
        await runner.__aexit__(None, None, None)
        return {}

    @property
    def _voting(self) -> Runner:
        assert self._runner is not None, "not founded"
        return self._runner

    async def status(self) -> Words:
        seen = self._voting.status()
        return {
            "leads": seen.role is Role.LEADER,
            "leader": seen.leader,
            "term": seen.term,
            "commit": seen.commit,
            "applied": seen.applied,
            "last": seen.last_index,
        }

    async def wait(self, leads: bool = False, applied: int = 0, led: bool = False) -> Words:
        """Return when it leads, somebody leads, or this index is applied here."""
        async with asyncio.timeout(WAIT_S):
            while True:
                seen = self._voting.status()
                if (
                    (not leads or seen.role is Role.LEADER)
                    and (not led or seen.leader is not None)
                    and seen.applied >= applied
                ):
                    return {**await self.status(), "at_s": time.monotonic()}
                await asyncio.sleep(POLL_S)

    async def usage(self) -> Words:
        """What this process has used so far, and what it has written and sent."""
        assert self._log is not None
        counters = self._peer.counters()
        return {
            "cpu_s": time.process_time(),
            "transactions": self._log.transactions,
            "messages": self._link.sent,
            "message_bytes": self._link.sent_bytes,
            "wire_bytes": counters["transport_control_bytes_out"],
            "frames": counters["transport_control_frames_out"],
        }

    # -- load ----------------------------------------------------------------------------------

    def _proposals(self, bytes_: int) -> Callable[[], Awaitable[object]]:
        """Calls that each put a value of so many bytes under one of the keys."""
        value, propose = bytes(bytes_), self._voting.propose
        entries = [entry_of(0, encode_put(f"key-{n:06}", value)) for n in range(KEYS)]
        number = 0

        def ask() -> Awaitable[object]:
            nonlocal number
            number = (number + 1) % KEYS
            return propose(entries[number], timeout_s=OUTCOME_S)

        return ask

    async def commit(self, bytes_: int, in_flight: int, seconds: float) -> Words:
        """Commands in a closed loop: each is proposed, committed and applied before the next."""
        before = self._voting.status().commit
        done = await closed_loop(self._proposals(bytes_), in_flight, seconds)
        return {**done, "all": self._voting.status().commit - before}

    async def offer_commits(self, bytes_: int, rate: float, seconds: float) -> Words:
        """Commands on a schedule."""
        ask = self._proposals(bytes_)
        return await open_loop(lambda _: ask(), rate, seconds)

    async def read(self, in_flight: int, seconds: float) -> Words:
        """Linearizable reads of a key in a closed loop."""
        runner, store = self._voting, self._machine.store

        async def ask() -> object:
            await runner.read_index()
            return store.get("key-000001")

        return await closed_loop(ask, in_flight, seconds)

    async def fill(self, count: int, bytes_: int) -> Words:
        """So many commands, as fast as they go."""
        ask = self._proposals(bytes_)
        left = count

        async def one() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await ask()

        await asyncio.gather(*(one() for _ in range(FILL_IN_FLIGHT)))
        return await self.status()

    async def take_over(self, term: int) -> Words:
        """Wait for a leader of a later term; if it is this voter, commit one command.

        `at_s` is when that was applied here; None if another leads.
        """
        ask = self._proposals(1)
        async with asyncio.timeout(WAIT_S):
            while True:
                seen = self._voting.status()
                if seen.term > term and seen.role is Role.LEADER:
                    with contextlib.suppress(ConsensusError):  # lost again: somebody else has it
                        await ask()
                        return {"at_s": time.monotonic()}
                elif seen.term > term and seen.leader is not None:
                    return {"at_s": None}
                await asyncio.sleep(POLL_S)


async def main(home: Path, log: Path, seeds: list[str]) -> None:
    """Be a voter until the orders end."""
    peer = peer_at(home, *seeds)
    member = Member(peer)
    voter = Voter(peer, log)
    async with peer:
        ready: Words = {"peer": peer.peer_id, "door": f"{LOOPBACK}:{peer.ports['door']}"}
        await obey(ready, member.orders() | voter.orders())


if __name__ == "__main__":
    run_loop(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
