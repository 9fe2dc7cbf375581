"""One simulated voter: the real core and codec on a simulated disk and network.

It follows the same rule as the runner: drain what has arrived, fire what is due, then carry out the
effects in order; `send` at once, `store` next, `send_stored` when the disk has confirmed. It may be
killed between any two effects, and paused at any time.

What this module does not know: which faults come when.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from consensus.codec import decode_message, encode_message
from consensus.errors import MessageRefused
from consensus.raft import (
    Accepted,
    Applied,
    Effects,
    Entry,
    Event,
    Message,
    NodeId,
    Raft,
    Received,
    Refused,
    Status,
    StorageFailed,
    Stored,
    Tick,
)
from consensus.sim.disk import Disk
from consensus.sim.timeline import Timeline
from consensus.sim.weather import CLUSTER, Weather


class Observer(Protocol):
    """Whoever watches a voter and complains."""

    def on_sent(self, voter: Voter, message: Message) -> None: ...

    def on_applied(self, voter: Voter, entry: Entry) -> None: ...

    def on_accepted(self, voter: Voter, accepted: Accepted) -> None: ...

    def on_refused(self, voter: Voter, refused: Refused) -> None: ...

    def on_turn(self, voter: Voter) -> None: ...


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
    ) -> None:
        self.name = name
        self.disk = disk
        self.applied = 0
        self.is_crashy = True
        self._config = weather.config(name)
        self._weather = weather
        self._timeline = timeline
        self._rng = rng
        self._send = send
        self._observer = observer
        self._core: Raft | None = None
        self._inbox: deque[Event] = deque()
        self._held: deque[tuple[int, tuple[Message, ...]]] = deque()
        self._stored_batch = 0
        self._generation = 0
        self._turn_wanted = False
        self._woken_for_ms: int | None = None
        self._paused_until_ms = 0

    @property
    def process(self) -> int:
        """Tells one process from the next on this machine."""
        return self._generation

    @property
    def is_up(self) -> bool:
        return self._core is not None

    def status(self) -> Status:
        assert self._core is not None
        return self._core.status()

    # -- life and death ------------------------------------------------------------------------

    def start(self) -> None:
        """A new process reads the disk."""
        assert self._core is None
        self._generation += 1
        recovered = self.disk.attach(self._on_stored, lambda f: self.post(StorageFailed(f)))
        self._core = Raft(self._config, recovered, random.Random(self._rng.getrandbits(64)))
        self._inbox.clear()
        self._held.clear()
        self._stored_batch = 0
        self.applied = 0
        self._turn_wanted = False
        self._woken_for_ms = None
        self.post(Tick())

    def crash(self) -> None:
        """All memory is gone; the disk keeps what it keeps."""
        if self._core is not None:
            self._core = None
            self._generation += 1
            self.disk.crash()

    def pause(self, duration_ms: int) -> None:
        """The process stands still and remembers everything."""
        self._paused_until_ms = self._timeline.now_ms + duration_ms

    # -- turns ---------------------------------------------------------------------------------

    def receive(self, sender: NodeId, data: bytes) -> None:
        """Bytes have arrived; a machine that is off loses them."""
        if self._core is None:
            return
        try:
            message = decode_message(CLUSTER, data, sender=sender, recipient=self.name)
        except MessageRefused:
            return
        self.post(Received(message))

    def post(self, event: Event) -> None:
        """An event for the next turn."""
        if self._core is not None:
            self._inbox.append(event)
            self._want_turn(self._rng.randrange(self._weather.turn_ms + 1))

    def _want_turn(self, delay_ms: int) -> None:
        if self._turn_wanted:
            return
        self._turn_wanted = True
        self._later(max(delay_ms, self._paused_until_ms - self._timeline.now_ms), self._turn)

    def _later(self, delay_ms: int, what: Callable[[], None]) -> None:
        generation = self._generation

        def run() -> None:
            if generation == self._generation:
                what()

        self._timeline.after(delay_ms, run)

    def _turn(self) -> None:
        self._turn_wanted = False
        core, now_ms = self._core, self._timeline.now_ms
        assert core is not None
        if now_ms < self._paused_until_ms:
            self._want_turn(0)
            return
        while self._inbox:
            core.step(self._inbox.popleft(), now_ms=now_ms)
        deadline_ms = core.deadline_ms
        if deadline_ms is not None and deadline_ms <= now_ms:
            core.step(Tick(), now_ms=now_ms)
        core.check_invariants()
        for _ in self._perform(core.take()):
            if self.is_crashy and self._rng.randrange(1000) < self._weather.crash_per_mille:
                self.crash()
                return
        self._observer.on_turn(self)
        self._arm()

    def _arm(self) -> None:
        deadline_ms = None if self._core is None else self._core.deadline_ms
        if deadline_ms is None or deadline_ms == self._woken_for_ms:
            return
        self._woken_for_ms = deadline_ms

        def wake() -> None:
            if self._woken_for_ms == deadline_ms:
                self._woken_for_ms = None
                self._want_turn(0)

        self._later(max(0, deadline_ms - self._timeline.now_ms), wake)

    # -- effects -------------------------------------------------------------------------------

    def _perform(self, effects: Effects) -> Iterator[None]:
        """Carry out the effects in order; each yield is a place to die."""
        for message in effects.send:
            self._transmit(message)
            yield
        if effects.store is not None:
            self.disk.submit(effects.store)
            yield
        if effects.send_stored:
            self._held.append((effects.after, effects.send_stored))
            self._release()
            yield
        for result in effects.results:
            if isinstance(result, Accepted):
                self._observer.on_accepted(self, result)
            elif isinstance(result, Refused):
                self._observer.on_refused(self, result)
        for entry in effects.apply:
            self.applied = entry.index
            self._observer.on_applied(self, entry)
        if effects.apply:
            self.post(Applied(effects.apply[-1].index))
            yield

    def _on_stored(self, batch: int) -> None:
        self._stored_batch = batch
        self._release()
        self.post(Stored(batch))

    def _release(self) -> None:
        while self._held and self._held[0][0] <= self._stored_batch:
            for message in self._held.popleft()[1]:
                self._transmit(message)

    def _transmit(self, message: Message) -> None:
        self._observer.on_sent(self, message)
        self._send(self.name, message.to, encode_message(CLUSTER, message))
