"""What carries out the core's effects, in the right order, without a loop, a thread or a clock.

The runner on asyncio and the simulated voter both drive this: what is tested in virtual time is
what runs. Its surroundings (`Ports`) begin writes and tell it later how they ended.

    turn      what has arrived, then what is due, then the effects, each a place to die
    effects   send | store | send_stored once its batch is durable | apply page by page

- The inbox is drained before an overdue timer fires: after a stall the leader's heartbeat is
  usually in it already (R30).
- One write is under way at a time and takes every batch that has queued meanwhile.
- A follower that has just given its disk a write applies nothing before the next turn, which the
  end of that write brings at the latest: both want the interpreter, and only the disk's answer is
  waited for. Once only, so that applying goes on however much is written.
- Snapshots are made at indexes that depend on the log alone, so that all replicas make them at the
  same ones and can compare what they hold (`STATE_HASH`).

What this module does not know: how messages travel, what a command means, who waits for what.

Invariants: nothing of `send_stored` leaves before its batch is durable; entries are applied once
each, in order; after a snapshot is installed only entries behind it are.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from consensus.machine import Replica, StateMachine
from consensus.raft import (
    Applied,
    Config,
    Effects,
    Entry,
    Event,
    Message,
    Raft,
    ReadReady,
    Recovered,
    Result,
    SnapshotMade,
    SnapshotMeta,
    Status,
    StorageFailed,
    StorageFault,
    StoreBatch,
    Stored,
    Tick,
    TraceEvent,
)

if TYPE_CHECKING:
    from consensus.storage import SnapshotStore


class Ports(Protocol):
    """The surroundings of a driver. Nothing here waits or raises."""

    def send(self, message: Message) -> None:
        """Send or lose it."""

    def write(self, batches: Sequence[StoreBatch]) -> None:
        """Begin to make these durable; `written`, `disk_full` or the end of the node follows."""

    def save_snapshot(self, meta: SnapshotMeta, chunks: Sequence[bytes]) -> None:
        """Begin to make a snapshot durable; `snapshot_saved` follows."""

    def ship_snapshot(self, peer: str, meta: SnapshotMeta) -> None:
        """Begin to send this snapshot; a `SnapshotSent` follows."""

    def on_results(self, results: Sequence[Result]) -> None:
        """What became of requests."""

    def on_reads(self, reads: Sequence[ReadReady]) -> None:
        """Reads that may be served once their index is applied."""

    def on_applied(self, entries: Sequence[Entry], results: Sequence[object]) -> None:
        """These entries were applied, with these results."""

    def on_installed(self, meta: SnapshotMeta) -> None:
        """The state is that of a leader's snapshot now."""

    def on_soft(self, status: Status) -> None:
        """Role, term, leader or members have changed."""

    def on_trace(self, events: Sequence[TraceEvent]) -> None:
        """Steps of the core, if the configuration wants them."""

    def on_halt(self, reason: str) -> None:
        """The core has stopped for good."""

    def wake(self) -> None:
        """Another turn is wanted."""

    def propose_hash(self, data: bytes) -> None:
        """Have every replica compare its state with ours."""


class Driver:
    """One node. `recovered` and `machine` agree: the machine is at the snapshot, or fresh."""

    def __init__(
        self,
        config: Config,
        recovered: Recovered,
        machine: StateMachine,
        snapshots: SnapshotStore,
        ports: Ports,
        rng: random.Random,
        *,
        snapshot_entries: int,
        snapshot_bytes: int,
    ) -> None:
        self.core = Raft(config, recovered, rng)
        self.replica = Replica(
            machine, config, recovered, snapshot_entries=snapshot_entries, max_bytes=snapshot_bytes
        )
        self._snapshots = snapshots
        if recovered.snapshot is not None:
            self._restore(recovered.snapshot)
        self._ports = ports
        self._inbox: deque[Event] = deque()
        self._to_store: list[StoreBatch] = []
        self._writing: list[StoreBatch] = []  # what the write under way holds
        self._held: deque[tuple[int, tuple[Message, ...]]] = deque()
        self._stored_batch = 0
        self._to_apply: Sequence[Entry] = ()
        self._now_ms = 0  # of the latest turn
        self._snapshot: tuple[SnapshotMeta, Iterator[bytes], list[bytes]] | None = None
        self._is_saving = False
        self._has_begun_write = False  # in this turn
        self.holds_back = False  # whether applying gives way to that write

    # -- what arrives --------------------------------------------------------------------------

    def post(self, event: Event) -> None:
        """An event for the next turn."""
        self._inbox.append(event)
        self._ports.wake()

    @property
    def waiting(self) -> int:
        """Events for the next turn."""
        return len(self._inbox)

    def written(self) -> None:
        """The write under way is durable."""
        batches, self._to_store = self._to_store, []
        written, self._writing = self._writing[-1].batch, []
        while self._held and self._held[0][0] <= written:
            for message in self._held.popleft()[1]:
                self._ports.send(message)
        self._stored_batch = written
        self.post(Stored(written))
        if batches:
            self._begin_write(batches)

    def disk_full(self) -> None:
        """The write under way found no room; it is tried again by whoever began it."""
        self.post(StorageFailed(StorageFault.NO_SPACE))

    def snapshot_saved(self, meta: SnapshotMeta) -> None:
        """A snapshot of our own is durable."""
        self._is_saving = False
        self.post(SnapshotMade(meta))
        digest = self.replica.digests.get(meta.index)
        if digest is not None and self.core.is_leader:
            self._ports.propose_hash(self.replica.hash_entry(meta.index, digest))
        if self.replica.snapshot_due:
            self.begin_snapshot()  # it became due while this one was written

    def snapshot_failed(self) -> None:
        """It could not be written; the next one is due at its own time."""
        self._is_saving = False

    @property
    def is_writing(self) -> bool:
        """Whether a write is under way."""
        return bool(self._writing)

    # -- turns ---------------------------------------------------------------------------------

    def turn(self, now_ms: int, proposals: Sequence[Event] = ()) -> Iterator[None]:
        """Everything that has arrived, then what is due; each step may be the last one."""
        core, inbox = self.core, self._inbox
        self._now_ms = now_ms
        self._has_begun_write = False
        while inbox:
            core.step(inbox.popleft(), now_ms=now_ms)
        for event in proposals:
            core.step(event, now_ms=now_ms)
        deadline_ms = core.deadline_ms
        if deadline_ms is not None and deadline_ms <= now_ms:
            core.step(Tick(), now_ms=now_ms)
        yield from self._perform(core.take())
        self.holds_back = self._has_begun_write and not (core.is_leader or self.holds_back)

    def _perform(self, effects: Effects) -> Iterator[None]:
        ports = self._ports
        if effects.trace:
            ports.on_trace(effects.trace)
        if effects.halt is not None:
            ports.on_halt(effects.halt.value)
            return
        for message in effects.send:
            ports.send(message)
            yield
        if effects.store is not None:
            if effects.store.install is not None:
                self._install(effects.store.install)
            self._store(effects.store)
            yield
        if effects.send_stored:
            if effects.after <= self._stored_batch:
                for message in effects.send_stored:
                    ports.send(message)
            else:
                self._held.append((effects.after, effects.send_stored))
            yield
        if effects.results:
            ports.on_results(effects.results)
        if effects.reads:
            ports.on_reads(effects.reads)
        for peer in effects.need_snapshot:
            meta = self.core.snapshot
            assert meta is not None, "the log begins behind a snapshot"
            ports.ship_snapshot(peer, meta)
        if effects.soft is not None:
            ports.on_soft(effects.soft)
        if effects.apply:
            self._to_apply = (*self._to_apply, *effects.apply)
            yield

    def _store(self, batch: StoreBatch) -> None:
        if self._writing:
            self._to_store.append(batch)
        else:
            self._begin_write([batch])

    def _begin_write(self, batches: list[StoreBatch]) -> None:
        self._writing = batches
        self._has_begun_write = True
        self._ports.write(batches)

    # -- applying ------------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Whether `work` has something to do: entries to apply, or a snapshot to produce."""
        return bool(self._to_apply) or self._snapshot is not None

    def work(self, count: int) -> None:
        """Apply up to `count` entries, or produce a part of a snapshot.

        While a snapshot is produced nothing is applied, so that it is of one moment; the log goes
        on meanwhile.
        """
        if self._snapshot is not None:
            self._produce()
            return
        page = self._to_apply[:count]
        if not page:
            return
        entries = page[: self.replica.count(page)]
        self._to_apply = self._to_apply[len(entries) :]
        results = self.replica.apply(entries)
        self._ports.on_applied(entries, results)
        if not self._to_apply:
            self._say_applied(entries[-1].index)
        if self.replica.snapshot_due and not self._is_saving:
            self.begin_snapshot()

    def _say_applied(self, index: int) -> None:
        """Not as an event of a turn: it rarely has any effect, and a turn costs more."""
        self.core.step(Applied(index), now_ms=self._now_ms)
        if self.core.wants_turn:
            self._ports.wake()

    def begin_snapshot(self) -> SnapshotMeta | None:
        """Make one of the present state; None if one is under way or nothing was applied."""
        meta = self.replica.meta()
        if self._snapshot is not None or self._is_saving or meta is None:
            return None
        # In the middle of a page, too: the core must know before it hears of the snapshot.
        self._say_applied(meta.index)
        self._snapshot = (meta, self.replica.snapshot(), [])
        return meta

    def _produce(self) -> None:
        assert self._snapshot is not None
        meta, chunks, made = self._snapshot
        chunk = next(chunks, None)
        if chunk is not None:
            made.append(chunk)
            return
        self._snapshot = None
        self._is_saving = True
        self._ports.save_snapshot(meta, made)

    def _install(self, meta: SnapshotMeta) -> None:
        """The log begins anew behind a snapshot of the leader's."""
        self._to_apply = ()
        self._snapshot = None
        if meta.index > self.replica.applied:
            self._restore(meta)
            self._ports.on_installed(meta)
        self.post(Applied(meta.index))

    def _restore(self, meta: SnapshotMeta) -> None:
        reader = self._snapshots.open(meta)
        try:
            self.replica.restore(meta, reader.chunks())
        finally:
            reader.close()
