"""A simulated disk: what a write has not finished is gone after a crash, or by luck is there.

It holds two pictures of one log: `durable`, which survives, and `submitted`, which is what the node
believes to have. A write is one transaction: all or nothing. Snapshots are files of their own: one
that is being written when the power goes is there, or is not.

In some runs the log is written by the real storage code as well (`real_log`), and what that gives
back after a crash must be the same picture.

What this module does not know: files and formats, what a node does with what it finds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from consensus.raft import Membership, NodeId, Recovered, SnapshotMeta, StoreBatch
from consensus.sim.image import Image, Standing, standing
from consensus.sim.invariants import InvariantBroken
from consensus.sim.marks import Marks
from consensus.sim.real_log import RealLog
from consensus.sim.timeline import Timeline
from consensus.sim.weather import CLUSTER, Weather
from consensus.storage import SnapshotStore
from consensus.storage.memory import MemorySnapshots

RETRY_MS = 200
CALM_MS = 3


class Disk:
    """The disk of one node. It outlives the node's processes."""

    def __init__(
        self,
        name: NodeId,
        timeline: Timeline,
        weather: Weather,
        rng: random.Random,
        marks: Marks,
    ) -> None:
        self._marks = marks
        self._name = name
        self._timeline = timeline
        self._weather = weather
        self._rng = rng
        self._writing: list[StoreBatch] = []
        self._doubtful: list[StoreBatch] = []  # a write that broke off, perhaps at its very end
        self._unwritten: dict[int, int] = {}  # last index of what the node wants durable
        self._files: dict[int, Callable[[], object]] = {}  # snapshots that are being written
        self._last_file = 0
        self._generation = 0
        self._is_calm = False
        self._installed: dict[tuple[int, int], bytes] = {}  # hash of the state in a snapshot
        self._standing: Standing | None = None
        self.durable = Image()
        self.submitted = Image()
        self._real = RealLog(name) if weather.has_real_storage else None
        self.snapshots: SnapshotStore = MemorySnapshots(CLUSTER)
        if self._real is not None:
            self.snapshots = self._real.snapshots
        self.full_until_ms = 0
        self.broken_until_ms = 0
        self.is_rotten = False

    def recover(self) -> Recovered:
        """A process starts: what it finds.

        Raises:
            StorageError: it is not what was written.
        """
        expected = self._expected()
        doubtful, self._doubtful = self._doubtful, []
        if self._real is None:
            return expected
        found = self._real.recover()
        if found != expected and doubtful:
            # The power went after the last byte of it and before anybody was told.
            self._take_in(doubtful)
            self.submitted = self.durable.copy()
            expected = self._expected()
        if found != expected:
            raise InvariantBroken(7, f"the storage of {self._name} gives back another log")
        return expected

    def _expected(self) -> Recovered:
        image = self.durable
        return Recovered(
            image.hard,
            image.commit,
            tuple(image.entries),
            image.base_index,
            image.base_term,
            self.snapshots.latest(),
        )

    def standing(self, genesis: Membership) -> Standing:
        """What a process would make of it that starts now."""
        if self._standing is None:
            self._standing = standing(self.durable, self.snapshots.latest(), genesis)
        return self._standing

    @property
    def covered(self) -> int:
        """The last index that this disk could prove now, by its log or by a snapshot."""
        snapshot = self.snapshots.latest()
        return max(self.durable.last_index, 0 if snapshot is None else snapshot.index)

    @property
    def is_writing_snapshot(self) -> bool:
        return bool(self._files)

    # -- the log -------------------------------------------------------------------------------

    def note(self, batch: StoreBatch, state_hash: bytes) -> None:
        """The node wants this batch durable; `state_hash` is of its state machine now."""
        if batch.install is not None:
            self._installed[batch.install.index, batch.install.term] = state_hash
        self.submitted.write(batch, self._hash_of(batch.install))
        first = batch.truncate_from
        if first is not None:
            self._marks.hit("entries cut")
            if any(last >= first for last in self._unwritten.values()):
                self._marks.hit("batch cut before it was written")
        if batch.entries:
            self._unwritten[batch.batch] = batch.entries[-1].index

    def write(
        self,
        batches: Sequence[StoreBatch],
        on_written: Callable[[], None],
        on_full: Callable[[], None],
        on_broken: Callable[[], None],
    ) -> None:
        """One transaction; one at a time."""
        assert not self._writing, "two writes at once"
        self._writing = list(batches)

        def finish() -> None:
            if self._is_broken:
                on_broken()
                return
            if self._is_full() and not self._squeezed_in():
                self._marks.hit("disk full")
                self._after(RETRY_MS, finish)
                on_full()
                return
            written, self._writing = self._writing, []
            if written:
                self._apply(written)
            on_written()

        self._after(self._delay_ms(), finish)

    def _squeezed_in(self) -> bool:
        """Whether a real log had room for it all the same."""
        if self._real is None or not self._real.write_when_full(self._writing):
            return False
        written, self._writing = self._writing, []
        self._take_in(written)
        return True

    def _apply(self, batches: Sequence[StoreBatch]) -> None:
        if self._real is not None:
            self._real.write(batches)
        self._take_in(batches)

    def _take_in(self, batches: Sequence[StoreBatch]) -> None:
        for batch in batches:
            self.durable.write(batch, self._hash_of(batch.install))
            self._unwritten.pop(batch.batch, None)
        self._standing = None

    def _hash_of(self, meta: SnapshotMeta | None) -> bytes | None:
        return None if meta is None else self._installed[meta.index, meta.term]

    # -- snapshots -----------------------------------------------------------------------------

    def write_file(
        self,
        write: Callable[[], object],
        on_written: Callable[[], None],
        on_full: Callable[[], None],
        on_broken: Callable[[], None],
    ) -> None:
        """Make a snapshot durable: `write` does it, at some moment from now on."""
        self._last_file += 1
        number = self._last_file
        self._files[number] = write

        def finish() -> None:
            if self._is_broken:
                on_broken()
                return
            del self._files[number]
            if self._is_full():
                on_full()
                return
            write()
            self._standing = None
            on_written()

        self._after(self._delay_ms(), finish)

    # -- faults --------------------------------------------------------------------------------

    def crash(self) -> None:
        """The power goes. What was being written was finished in time, or was not."""
        if self._writing:
            if self._rng.random() < 0.5:
                self._apply(self._writing)
            elif self._real is not None:
                if self._real.break_off(self._writing, self._rng):
                    self._take_in(self._writing)
                else:
                    self._doubtful = self._writing
        for write in self._files.values():
            if self._rng.random() < 0.5:
                write()
        self._writing, self._files, self._unwritten = [], {}, {}
        self._generation += 1
        self._standing = None
        self.submitted = self.durable.copy()

    def rot(self, rng: random.Random) -> str:
        """Something that lies there is not what was written any more; what."""
        assert self._real is not None
        self.is_rotten = True
        return self._real.rot(rng)

    def calm(self) -> None:
        """No more faults."""
        self._is_calm = True

    def _after(self, delay_ms: int, what: Callable[[], None]) -> None:
        generation = self._generation

        def run() -> None:
            if generation == self._generation:
                what()

        self._timeline.after(delay_ms, run)

    def _delay_ms(self) -> int:
        slowest_ms = self._weather.disk_ms
        return self._rng.randrange(
            min(slowest_ms, CALM_MS) + 1 if self._is_calm else slowest_ms + 1
        )

    @property
    def _is_broken(self) -> bool:
        return not self._is_calm and self._timeline.now_ms < self.broken_until_ms

    def _is_full(self) -> bool:
        if self._is_calm:
            return False
        if self._timeline.now_ms < self.full_until_ms:
            return True
        return self._rng.randrange(100) < self._weather.disk_full_percent
