"""A simulated disk: what a write has not finished is gone after a crash, or by luck is there.

It holds two images of one log: `durable`, which survives, and `submitted`, which is what the node
believes to have asked for. A group of batches is one transaction: all or nothing.

What this module does not know: files and formats (the storages test those on real ones).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence

from consensus.raft import Entry, HardState, Recovered, StorageFault, StoreBatch
from consensus.sim.timeline import Timeline
from consensus.sim.weather import Weather

RETRY_MS = 200
EMPTY_HASH = b"\0" * 16


class Image:
    """One picture of a log, with a hash over each prefix so that logs compare at a glance."""

    def __init__(self) -> None:
        self.hard = HardState(0, None)
        self.commit = 0
        self.entries: list[Entry] = []
        self.hashes: list[bytes] = [EMPTY_HASH]
        self.shortest = 0  # how far it was cut since somebody last looked

    @property
    def last(self) -> tuple[int, int]:
        """(last term, last index), in the order in which logs are compared."""
        return (self.entries[-1].term if self.entries else 0, len(self.entries))

    def write(self, batch: StoreBatch) -> None:
        if batch.truncate_from is not None:
            del self.entries[batch.truncate_from - 1 :]
            del self.hashes[batch.truncate_from :]
            self.shortest = min(self.shortest, len(self.entries))
        for entry in batch.entries:
            assert entry.index == len(self.entries) + 1, "a gap on disk"
            self.entries.append(entry)
            self.hashes.append(_chained(self.hashes[-1], entry))
        if batch.hard is not None:
            self.hard = batch.hard
        self.commit = batch.commit

    def copy(self) -> Image:
        image = Image()
        image.hard, image.commit = self.hard, self.commit
        image.entries, image.hashes = list(self.entries), list(self.hashes)
        return image


class Disk:
    """The disk of one voter. It outlives the voter's processes."""

    def __init__(self, timeline: Timeline, weather: Weather, rng: random.Random) -> None:
        self._timeline = timeline
        self._weather = weather
        self._rng = rng
        self._queue: list[StoreBatch] = []
        self._writing: list[StoreBatch] = []
        self._generation = 0
        self._is_calm = False
        self._on_stored: Callable[[int], None] = lambda batch: None
        self._on_failed: Callable[[StorageFault], None] = lambda fault: None
        self.durable = Image()
        self.submitted = Image()
        self.full_until_ms = 0

    def attach(
        self, on_stored: Callable[[int], None], on_failed: Callable[[StorageFault], None]
    ) -> Recovered:
        """A process starts: what it finds, and whom to tell."""
        self._on_stored, self._on_failed = on_stored, on_failed
        image = self.durable
        return Recovered(image.hard, image.commit, tuple(image.entries))

    def submit(self, batch: StoreBatch) -> None:
        """Queue a batch; it joins the next transaction."""
        self.submitted.write(batch)
        self._queue.append(batch)
        if not self._writing:
            self._begin()

    def crash(self) -> None:
        """The power goes. The transaction under way was finished in time, or was not."""
        if self._writing and self._rng.random() < 0.5:
            self._apply(self._writing)
        self._queue, self._writing = [], []
        self._generation += 1
        self.submitted = self.durable.copy()

    def calm(self) -> None:
        """No more faults."""
        self._is_calm = True

    def _begin(self) -> None:
        self._writing, self._queue = self._queue, []
        generation = self._generation
        delay_ms = self._rng.randrange(self._weather.disk_ms + 1)

        def finish() -> None:
            if generation == self._generation:
                self._finish()

        self._timeline.after(delay_ms, finish)

    def _finish(self) -> None:
        if self._is_full():
            generation = self._generation

            def retry() -> None:
                if generation == self._generation:
                    self._finish()

            self._timeline.after(RETRY_MS, retry)
            self._on_failed(StorageFault.NO_SPACE)
            return
        written, self._writing = self._writing, []
        self._apply(written)
        if self._queue:
            self._begin()
        self._on_stored(written[-1].batch)

    def _is_full(self) -> bool:
        if self._is_calm:
            return False
        if self._timeline.now_ms < self.full_until_ms:
            return True
        return self._rng.randrange(100) < self._weather.disk_full_percent

    def _apply(self, batches: Sequence[StoreBatch]) -> None:
        for batch in batches:
            self.durable.write(batch)


def _chained(before: bytes, entry: Entry) -> bytes:
    head = before + b"%d/%d/%d/" % (entry.index, entry.term, entry.kind)
    return hashlib.blake2b(head + entry.data, digest_size=16).digest()
