"""A node of the log on asyncio: the loop, the disk's thread, timers, and who waits for what.

What is done in which order is the driver's business; this gives it a loop. Committed entries are
applied for a few milliseconds a turn, so that the loop goes on.

What this module does not know: how messages travel, what a command means, where the log lies.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, Self

from consensus.codec import decode_message, encode_message
from consensus.driver import Driver
from consensus.errors import (
    AppliedTimeout,
    ChangeRefused,
    ConsensusError,
    MachineFailed,
    MessageRefused,
    NodeHalted,
    OutcomeUnknown,
    Stopped,
    TransferFailed,
)
from consensus.machine import StateMachine
from consensus.outcomes import Committed, Outcomes
from consensus.raft import (
    Config,
    Entry,
    Message,
    NodeId,
    ReadReady,
    Received,
    Result,
    Role,
    SnapshotMeta,
    Status,
    StoreBatch,
    Tick,
    TraceEvent,
    Transfer,
    Unreachable,
)
from consensus.snapshotting import Snapshotting
from consensus.storage import Storage
from consensus.writing import Writing

OUTCOME_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 5.0
MAX_WAITING = 100_000
MAX_INBOX = 10_000
APPLY_MS = 4
APPLY_ENTRIES = 64
SNAPSHOT_ENTRIES = 20_000
SNAPSHOT_BYTES = 64 * 1024 * 1024


class Link(Protocol):
    """Carries bytes to other members: never raises, never waits, may lose what it is given."""

    def send(self, to: NodeId, data: bytes) -> None:
        """Send a message of the log; `receive_from` takes it at the other end."""

    def send_part(self, to: NodeId, data: bytes) -> None:
        """Send a part of a snapshot, behind whatever is urgent; `receive_part_from` takes it."""


class Runner:
    """Runs one node. Enter it to start, leave it to stop.

    `on_change` hears of a new role, term, leader or membership; `on_fatal` of the end of this node;
    `on_trace` of every step, if the configuration wants that. `remember` hears who speaks in this
    log, before the message counts; where it says no, none has come. All run on the loop.
    """

    def __init__(
        self,
        config: Config,
        storage: Storage,
        link: Link,
        machine: StateMachine,
        *,
        clock_ms: Callable[[], int],
        rng: random.Random,
        snapshot_entries: int = SNAPSHOT_ENTRIES,
        snapshot_bytes: int = SNAPSHOT_BYTES,
    ) -> None:
        self._config = config
        self._storage = storage
        self._link = link
        self._machine = machine
        self._clock_ms = clock_ms
        self._rng = rng
        self._limits = {"snapshot_entries": snapshot_entries, "snapshot_bytes": snapshot_bytes}
        self.on_change: Callable[[Status], None] = lambda status: None
        self.on_fatal: Callable[[ConsensusError], None] = lambda error: None
        self.on_trace: Callable[[Sequence[TraceEvent]], None] = lambda events: None
        self.remember: Callable[[NodeId], bool] = lambda sender: True
        self.refused: Counter[str] = Counter()
        self._driver: Driver | None = None
        self._outcomes = Outcomes(config.node_id, MAX_WAITING, config.max_entry_bytes)
        self._snapshotting: Snapshotting | None = None
        self._writing: Writing | None = None
        self._turn_wanted = False
        self._work_wanted = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0  # when it fires
        self._is_running = False
        self._changed: asyncio.Future[None]  # done at the next change of role, leader or members

    async def __aenter__(self) -> Self:
        """Read the log and the latest snapshot back and begin.

        Raises:
            StorageError: they cannot be trusted.
            SnapshotInvalid, MachineFailed: the machine cannot take the snapshot.
        """
        self._loop = asyncio.get_running_loop()
        self._outcomes.begin(self._loop)
        self._writing = Writing(self._storage)
        self._writing.on_broken = self._die
        try:
            recovered = await self._writing.recover()
            self._driver = Driver(
                self._config,
                recovered,
                self._machine,
                self._storage.snapshots,
                self,
                self._rng,
                **self._limits,
            )
        except BaseException:
            await self._writing.close()
            raise
        self._snapshotting = Snapshotting(
            self._config, self._storage.snapshots, self._driver, self._link, self._clock_ms
        )
        self._snapshotting.on_broken = self._die
        self._changed = self._loop.create_future()
        self._is_running = True
        self._driver.post(Tick())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stop()
        if self._snapshotting is not None:
            await self._snapshotting.close()
        if self._writing is not None:
            await self._writing.close()

    # -- what others use -----------------------------------------------------------------------

    def receive_from(self, sender: NodeId, data: bytes) -> None:
        """Take a message of a member whom the transport has authenticated."""
        driver, own = self._driver, self._config
        if driver is None or not self._is_running:
            return
        if driver.waiting >= MAX_INBOX:
            self.refused["inbox full"] += 1
            return
        try:
            message = decode_message(own.cluster_id, data, sender=sender, recipient=own.node_id)
        except MessageRefused as error:
            self.refused[error.fault.value] += 1
            return
        if self.remember(sender):
            driver.post(Received(message))

    def receive_part_from(self, sender: NodeId, data: bytes) -> None:
        """Take a part of a snapshot, or an answer to one."""
        if self._is_running and self._snapshotting is not None:
            try:
                self._snapshotting.receive(sender, data)
            except MessageRefused as error:
                self.refused[error.fault.value] += 1

    def unreachable(self, peer: NodeId) -> None:
        """A hint: the connection to this member is gone."""
        if self._driver is not None and self._is_running:
            self._driver.post(Unreachable(peer))

    async def propose(self, data: bytes, *, timeout_s: float = OUTCOME_TIMEOUT_S) -> Committed:
        """Have a command decided and applied, and return what applying it gave.

        Raises:
            NotLeader, ProposalsFull, ProposalTooLarge, Stopped: it never happens.
            OutcomeUnknown: it may have happened, or may yet.
        """
        self._check_running()
        future = self._outcomes.propose(data, timeout_s)
        self.wake()
        return await future

    async def read_index(self, *, timeout_s: float = READ_TIMEOUT_S) -> int:
        """Return once a state that is applied here is no older than this call.

        The state machine may then be read, without waiting in between, until the next await.

        Raises:
            NotLeader, Stopped: ask the leader.
            AppliedTimeout: no quorum confirmed the lead in time.
        """
        self._check_running()
        until_ms = self._clock_ms() + round(timeout_s * 1000)
        future = self._outcomes.read(timeout_s)
        self.wake()
        try:
            index = await future
        except TimeoutError:
            raise AppliedTimeout(self._config.node_id, 0, self.applied) from None
        if self.applied < index:
            await self.wait_applied(index, max(0, until_ms - self._clock_ms()) / 1000)
        return index

    async def change_members(
        self,
        voters: Sequence[NodeId],
        learners: Sequence[NodeId] = (),
        *,
        timeout_s: float = OUTCOME_TIMEOUT_S,
    ) -> Status:
        """Have the members decided, and return when they are in force here.

        Raises:
            NotLeader, ChangeRefused, Stopped: it never happens.
            OutcomeUnknown: it may have happened, or may yet.
        """
        self._check_running()
        until_ms = self._clock_ms() + round(timeout_s * 1000)
        decided = await self._decided(self._outcomes.change(voters, learners), timeout_s)
        while (status := self.status()).membership.is_joint:
            left_s = (until_ms - self._clock_ms()) / 1000
            if status.role is not Role.LEADER or left_s <= 0:
                raise OutcomeUnknown(self._config.node_id, decided.index, status.term)
            await asyncio.wait([self._changed], timeout=left_s)
        if status.membership.voters != tuple(sorted(voters)):
            raise ChangeRefused(self._config.node_id, "another change has taken its place")
        return status

    async def transfer(self, timeout_s: float, target: NodeId | None = None) -> None:
        """Hand leadership over.

        Raises:
            TransferFailed: it stayed here.
        """
        self._check_running()
        future = self._outcomes.transfer(target)
        assert self._driver is not None
        self._driver.post(Transfer(target))
        try:
            async with asyncio.timeout(timeout_s):
                moved = await future
        except TimeoutError:
            moved = False
        if not moved:
            raise TransferFailed(self._config.node_id, target, "nobody took over in time")

    async def wait_applied(self, index: int, timeout_s: float) -> None:
        """Return when this entry is applied here.

        Raises:
            AppliedTimeout: it is not, in time.
            Stopped.
        """
        self._check_running()
        if self.applied >= index:
            return
        future = self._outcomes.applied(index)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            raise AppliedTimeout(self._config.node_id, index, self.applied) from None

    def make_snapshot(self) -> SnapshotMeta | None:
        """Begin a snapshot of the present state; None if one is under way or nothing is there."""
        self._check_running()
        assert self._driver is not None
        meta = self._driver.begin_snapshot()
        self._want_work()
        return meta

    def set_priority(self, delay_ms: int) -> None:
        """How long to hold back before a campaign, so that better leaders go first."""
        if self._driver is not None:
            self._driver.core.priority_ms = delay_ms

    @property
    def applied(self) -> int:
        """The index of the last entry that the machine has applied."""
        return 0 if self._driver is None else self._driver.replica.applied

    def status(self) -> Status:
        """Return a picture of this node."""
        assert self._driver is not None, "the runner was never entered"
        return self._driver.core.status()

    def dropped(self) -> Mapping[str, int]:
        """Messages without effect, by reason."""
        assert self._driver is not None
        return {reason.value: n for reason, n in self._driver.core.dropped.items()} | self.refused

    async def _decided(self, future: asyncio.Future[Committed], timeout_s: float) -> Committed:
        self.wake()
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise OutcomeUnknown(self._config.node_id, 0, self.status().term) from None

    def _check_running(self) -> None:
        if not self._is_running:
            raise Stopped(self._config.node_id)

    # -- the loop ------------------------------------------------------------------------------

    def wake(self) -> None:
        if not self._turn_wanted and self._is_running:
            self._turn_wanted = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """One turn: everything that has arrived, then what is due."""
        self._turn_wanted = False
        driver = self._driver
        if not self._is_running or driver is None:
            return
        try:
            for _ in driver.turn(self._clock_ms(), self._outcomes.take_events()):
                pass
        except ConsensusError as error:
            self._die(error)
        except Exception as error:  # noqa: BLE001 - a core that raises must stop, not limp on
            self._die(NodeHalted(self._config.node_id, f"an error of its own: {error!r}"))
        if driver.has_work and not driver.holds_back:
            self._want_work()
        self._arm(driver.core.deadline_ms)

    def _arm(self, deadline_ms: int | None) -> None:
        """A deadline that moves away, as in most turns of a follower, does not move the timer."""
        if self._timer is not None:
            if deadline_ms is not None and self._timer_ms <= deadline_ms:
                return
            self._timer.cancel()
            self._timer = None
        if deadline_ms is not None and self._is_running:
            self._timer_ms = deadline_ms
            delay_s = max(0, deadline_ms - self._clock_ms()) / 1000
            self._timer = self._loop.call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        # Not the turn itself: one more round of the loop lets what has arrived come in (R30).
        self._timer = None
        self.wake()

    def _want_work(self) -> None:
        if not self._work_wanted and self._is_running:
            self._work_wanted = True
            self._loop.call_soon(self._work)

    def _work(self) -> None:
        """Apply for a few milliseconds, then let the loop go on; a page may hold much work."""
        self._work_wanted = False
        driver = self._driver
        if not self._is_running or driver is None:
            return
        until_ms = self._clock_ms() + APPLY_MS
        try:
            while driver.has_work:
                driver.work(APPLY_ENTRIES)
                if self._clock_ms() >= until_ms:
                    break
        except ConsensusError as error:
            self._die(error)
        except Exception as error:  # noqa: BLE001 - a machine that fails must stop this replica
            applied = driver.replica.applied
            self._die(MachineFailed(self._config.node_id, applied + 1, applied + 1, repr(error)))
        if driver.has_work:
            self._want_work()

    # -- the driver's ports --------------------------------------------------------------------

    def send(self, message: Message) -> None:
        self._link.send(message.to, encode_message(self._config.cluster_id, message))

    def write(self, batches: Sequence[StoreBatch]) -> None:
        assert self._writing is not None
        assert self._driver is not None
        self._writing.begin(self._driver, batches)

    def save_snapshot(self, meta: SnapshotMeta, chunks: Sequence[bytes]) -> None:
        assert self._snapshotting is not None
        self._snapshotting.save(meta, chunks)

    def ship_snapshot(self, peer: NodeId, meta: SnapshotMeta) -> None:
        assert self._snapshotting is not None
        self._snapshotting.ship(peer, meta)

    def on_results(self, results: Sequence[Result]) -> None:
        for result in results:
            self._outcomes.on_result(result)

    def on_reads(self, reads: Sequence[ReadReady]) -> None:
        for ready in reads:
            self._outcomes.on_read(ready)

    def on_applied(self, entries: Sequence[Entry], results: Sequence[object]) -> None:
        self._outcomes.on_applied(entries, results)

    def on_installed(self, meta: SnapshotMeta) -> None:
        self._outcomes.on_applied_up_to(meta.index)

    def on_soft(self, status: Status) -> None:
        self._changed.set_result(None)
        self._changed = self._loop.create_future()
        is_leader = status.role is Role.LEADER
        self._outcomes.on_lead_lost(status.term if is_leader else None)
        if not is_leader and self._snapshotting is not None:
            self._snapshotting.stop_shipping()
        self.on_change(status)

    def on_halt(self, reason: str) -> None:
        self._die(NodeHalted(self._config.node_id, reason))

    def propose_hash(self, data: bytes) -> None:
        self._outcomes.propose_hash(data)
        self.wake()

    # -- the end -------------------------------------------------------------------------------

    def _die(self, error: ConsensusError) -> None:
        if self._is_running:
            self._stop()
            self.on_fatal(error)

    def _stop(self) -> None:
        self._is_running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            self._writing.stop()
        self._outcomes.stop()
