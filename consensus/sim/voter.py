"""One simulated node: the real driver, core and codec on a simulated disk, network and clock.

It is to the driver what the runner on asyncio is: it begins writes and tells how they ended, sends
bytes, applies what is committed. Between any two effects it may be killed; it may be paused at any
time, and its clock need not agree with anybody's.

What this module does not know: which faults come when, what must hold.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol

from consensus.codec import decode_message, encode_message
from consensus.driver import Driver
from consensus.errors import ConsensusError, MessageRefused
from consensus.raft import (
    Entry,
    EntryKind,
    Event,
    Membership,
    Message,
    NodeId,
    Propose,
    ReadReady,
    Received,
    Result,
    SnapshotMeta,
    Status,
    StoreBatch,
    Tick,
    TraceEvent,
)
from consensus.sim.clock import Clock
from consensus.sim.disk import Disk
from consensus.sim.freight import Freight
from consensus.sim.image import Standing
from consensus.sim.invariants import InvariantBroken
from consensus.sim.machine import SimMachine
from consensus.sim.marks import Marks
from consensus.sim.timeline import Timeline
from consensus.sim.weather import CLUSTER, Weather
from consensus.snapshot_wire import is_snapshot_frame

SNAPSHOT_BYTES = 1 << 30


class Observer(Protocol):
    """Whoever watches nodes and complains."""

    def on_sent(self, voter: Voter, message: Message) -> None: ...

    def on_results(self, voter: Voter, results: Sequence[Result]) -> None: ...

    def on_reads(self, voter: Voter, reads: Sequence[ReadReady]) -> None: ...

    def on_applied(
        self, voter: Voter, entries: Sequence[Entry], results: Sequence[object]
    ) -> None: ...

    def on_installed(self, voter: Voter, meta: SnapshotMeta) -> None: ...

    def on_soft(self, voter: Voter, status: Status) -> None: ...

    def on_turn(self, voter: Voter) -> None: ...

    def on_stopped(self, voter: Voter) -> None: ...


class _WatchedDriver(Driver):
    """A driver whose disk hears of each batch when the core wants it, not when it is written."""

    on_batch: Callable[[StoreBatch], None] = staticmethod(lambda batch: None)

    def _store(self, batch: StoreBatch) -> None:
        self.on_batch(batch)
        super()._store(batch)


class Voter:
    """A machine that may run a process, with the disk that stays."""

    def __init__(
        self,
        name: NodeId,
        timeline: Timeline,
        weather: Weather,
        disk: Disk,
        rng: random.Random,
        send: Callable[[NodeId, NodeId, bytes], None],
        observer: Observer,
        marks: Marks,
        *,
        is_founder: bool = True,
    ) -> None:
        self.name = name
        self.disk = disk
        self.is_gone = False  # its disk was lost: it never comes back
        self.clock = Clock(timeline, rng, weather.drift_ppm)
        self._config = weather.config(name, is_founder=is_founder)
        self._weather = weather
        self._timeline = timeline
        self._rng = rng
        self._send = send
        self._observer = observer
        self._marks = marks
        self._driver: _WatchedDriver | None = None
        self._freight: Freight | None = None
        self._machine = SimMachine()
        self._generation = 0
        self._turn_wanted = False
        self._work_wanted = False
        self._woken_for_ms: int | None = None
        self._paused_until_ms = 0
        self._is_calm = False

    @property
    def now_ms(self) -> int:
        """Of the timeline, not of its clock."""
        return self._timeline.now_ms

    @property
    def process(self) -> int:
        """Tells one process from the next on this machine."""
        return self._generation

    @property
    def is_up(self) -> bool:
        return self._driver is not None

    @property
    def driver(self) -> Driver:
        assert self._driver is not None
        return self._driver

    @property
    def machine(self) -> SimMachine:
        """Its state, for reads and comparisons."""
        return self._machine

    @property
    def genesis(self) -> Membership:
        return self._config.genesis

    @property
    def backlog(self) -> int:
        """Entries that are not committed, as it knows."""
        status = self.status()
        return status.last_index - status.commit

    @property
    def standing(self) -> Standing:
        """What it would be after a restart."""
        return self.disk.standing(self.genesis)

    @property
    def living_standing(self) -> Standing | None:
        """What it is; None if that is nothing."""
        if self._driver is None:
            return None
        image = self.disk.submitted
        return Standing(image.last, self.status().membership, image.base_index, image)

    @property
    def applied(self) -> int:
        return 0 if self._driver is None else self._driver.replica.applied

    def status(self) -> Status:
        return self.driver.core.status()

    # -- life and death ------------------------------------------------------------------------

    def start(self) -> None:
        """A new process reads the disk.

        Raises:
            StorageError, SnapshotInvalid: it cannot be trusted.
        """
        assert self._driver is None
        assert not self.is_gone
        self._generation += 1
        self.clock.restart()
        recovered = self.disk.recover()
        self._machine = SimMachine()
        driver = _WatchedDriver(
            self._config,
            recovered,
            self._machine,
            self.disk.snapshots,
            self,
            random.Random(self._rng.getrandbits(64)),
            snapshot_entries=self._weather.snapshot_entries,
            snapshot_bytes=SNAPSHOT_BYTES,
        )
        self._driver = driver
        driver.on_batch = lambda batch: self.disk.note(batch, self._machine.hash)
        self._freight = Freight(
            self.name,
            self.disk,
            driver,
            self._send_bytes,
            self._later,
            lambda: self.clock.now_ms,
            self._marks,
            self._on_broken_disk,
        )
        self._turn_wanted = self._work_wanted = False
        self._woken_for_ms = None
        if recovered.snapshot is not None:
            if recovered.snapshot.index > recovered.base_index + len(recovered.entries):
                self._marks.hit("snapshot beyond the log at start")
            self._observer.on_installed(self, recovered.snapshot)
        self.post(Tick())

    def crash(self) -> None:
        """All memory is gone; the disk keeps what it keeps."""
        if self._driver is not None:
            self._driver = None
            self._generation += 1
            if self.disk.is_writing_snapshot:
                self._marks.hit("crash while a snapshot was written")
            self.disk.crash()
            self._observer.on_stopped(self)

    def calm(self) -> None:
        """No more faults on this machine."""
        self._is_calm = True
        self._paused_until_ms = 0
        self.disk.calm()

    def pause(self, duration_ms: int) -> None:
        """The process stands still and remembers everything."""
        self._paused_until_ms = self._timeline.now_ms + duration_ms

    def make_snapshot(self) -> None:
        """Somebody wants one now."""
        if self._driver is not None and self._driver.begin_snapshot() is not None:
            self._want_work()

    # -- turns ---------------------------------------------------------------------------------

    def receive(self, sender: NodeId, data: bytes) -> None:
        """Bytes have arrived; a machine that is off loses them."""
        if self._driver is None:
            return
        try:
            if is_snapshot_frame(data):
                self._when_awake(lambda: self._receive_part(sender, data))
                return
            message = decode_message(CLUSTER, data, sender=sender, recipient=self.name)
        except MessageRefused:
            return
        self.post(Received(message))

    def _receive_part(self, sender: NodeId, data: bytes) -> None:
        assert self._freight is not None
        self._freight.receive(sender, data)
        self._dies()

    def post(self, event: Event) -> None:
        """An event for the next turn."""
        if self._driver is not None:
            self._driver.post(event)

    def nudge(self) -> None:
        """Look at the clock again."""
        if self._driver is not None:
            self.wake()

    def wake(self) -> None:
        if not self._turn_wanted:
            self._turn_wanted = True
            turn_ms = self._weather.turn_ms
            self._later(self._rng.randrange(turn_ms + 1) if turn_ms else 0, self._turn)

    def _later(self, delay_ms: int, what: Callable[[], None]) -> None:
        generation = self._generation

        def run() -> None:
            if generation == self._generation:
                what()

        self._timeline.after(delay_ms, run)

    def _turn(self) -> None:
        if self._is_paused(self._turn):
            return
        self._turn_wanted = False
        driver = self._driver
        assert driver is not None
        for _ in driver.turn(self.clock.now_ms):
            if self._dies():
                return
        driver.core.check_invariants()
        self._observer.on_turn(self)
        if driver.has_work:
            self._want_work()
        self._arm(driver)

    def _want_work(self) -> None:
        if not self._work_wanted:
            self._work_wanted = True
            apply_ms = self._apply_ms
            self._later(self._rng.randrange(apply_ms + 1) if apply_ms else 0, self._work)

    @property
    def _apply_ms(self) -> int:
        return 0 if self._is_calm else self._weather.apply_ms

    def _work(self) -> None:
        """Apply what is committed, or make a part of a snapshot."""
        if self._is_paused(self._work):
            return
        self._work_wanted = False
        driver = self._driver
        assert driver is not None
        while driver.has_work:
            try:
                driver.work(self._weather.max_apply_entries)
            except ConsensusError as error:
                raise InvariantBroken(5, str(error)) from error
            if self._dies():
                return
            if self._apply_ms and driver.has_work:
                self._want_work()
                return

    def _is_paused(self, again: Callable[[], None]) -> bool:
        left_ms = self._paused_until_ms - self._timeline.now_ms
        if left_ms <= 0:
            return False
        self._later(left_ms, again)
        return True

    def _when_awake(self, what: Callable[[], None]) -> None:
        if not self._is_paused(lambda: self._when_awake(what)):
            what()

    def _dies(self) -> bool:
        """A place to die between two steps; whether this process is over."""
        per_mille = self._weather.crash_per_mille
        if per_mille and not self._is_calm and self._rng.randrange(1000) < per_mille:
            self.crash()
        return self._driver is None

    def _arm(self, driver: Driver) -> None:
        deadline_ms = driver.core.deadline_ms
        if deadline_ms is None or deadline_ms == self._woken_for_ms:
            return
        self._woken_for_ms = deadline_ms

        def wake() -> None:
            if self._woken_for_ms == deadline_ms:
                self._woken_for_ms = None
                self.wake()

        self._later(self.clock.delay_to(deadline_ms), wake)

    # -- the driver's ports --------------------------------------------------------------------

    def send(self, message: Message) -> None:
        self._observer.on_sent(self, message)
        self._send(self.name, message.to, encode_message(CLUSTER, message))

    def _send_bytes(self, to: NodeId, data: bytes) -> None:
        self._send(self.name, to, data)

    def write(self, batches: Sequence[StoreBatch]) -> None:
        driver = self.driver

        def written() -> None:
            if not self._dies():
                driver.written()

        self.disk.write(
            batches, lambda: self._when_awake(written), driver.disk_full, self._on_broken_disk
        )

    def _on_broken_disk(self) -> None:
        """A failed write is never tried again: the process ends (R24)."""
        self._marks.hit("disk broken")
        self.crash()

    def save_snapshot(self, meta: SnapshotMeta, chunks: Sequence[bytes]) -> None:
        assert self._freight is not None
        self._freight.save(meta, chunks)

    def ship_snapshot(self, peer: NodeId, meta: SnapshotMeta) -> None:
        assert self._freight is not None
        self._freight.ship(peer, meta)

    def on_results(self, results: Sequence[Result]) -> None:
        self._observer.on_results(self, results)

    def on_reads(self, reads: Sequence[ReadReady]) -> None:
        self._observer.on_reads(self, reads)

    def on_applied(self, entries: Sequence[Entry], results: Sequence[object]) -> None:
        self._observer.on_applied(self, entries, results)

    def on_installed(self, meta: SnapshotMeta) -> None:
        self._marks.hit("snapshot installed, log dropped")
        self._observer.on_installed(self, meta)

    def on_soft(self, status: Status) -> None:
        if not self.driver.core.is_leader and self._freight is not None:
            self._freight.stop_shipping()
        self._observer.on_soft(self, status)

    def on_trace(self, events: Sequence[TraceEvent]) -> None:
        return None

    def on_halt(self, reason: str) -> None:
        raise InvariantBroken(7, f"{self.name} halted: {reason}")

    def propose_hash(self, data: bytes) -> None:
        self._marks.hit("state hash proposed")
        self.post(Propose(0, [data], EntryKind.STATE_HASH))
