"""The shell around the core on asyncio: it drains, steps, sends, stores, applies.

- The inbox is drained before an overdue timer fires: after a stall the leader's heartbeat is
  usually in it already (R30).
- All proposals of one turn of the loop are one event, all batches that queued while the disk was
  busy are one write; the disk has a thread of its own.
- Committed entries are applied a page a turn, so that the loop goes on.

What this module does not know: how messages travel, what a command means, where the log lies.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, Self

from consensus.codec import decode_message, encode_message
from consensus.errors import (
    AppliedTimeout,
    ConsensusError,
    MachineFailed,
    MessageRefused,
    NodeHalted,
    OutcomeUnknown,
    Stopped,
    StorageBroken,
    StorageError,
    StorageFull,
    TransferFailed,
)
from consensus.outcomes import Committed, Outcomes
from consensus.raft import (
    Applied,
    Config,
    Effects,
    Entry,
    Event,
    Message,
    NodeId,
    Raft,
    Received,
    Role,
    Status,
    StorageFailed,
    StorageFault,
    StoreBatch,
    Stored,
    Tick,
    Transfer,
    Unreachable,
)
from consensus.storage import Storage

DISK_FULL_RETRY_S = 1.0
OUTCOME_TIMEOUT_S = 10.0
MAX_WAITING = 100_000
MAX_INBOX = 10_000
APPLY_MS = 4


class Link(Protocol):
    """Carries messages to the other voters."""

    def send(self, to: NodeId, data: bytes) -> None:
        """Send or lose it; never raise, never wait."""


class StateMachine(Protocol):
    """What the log drives."""

    def apply(self, entries: Sequence[Entry]) -> Sequence[object]:
        """Apply committed entries in order and return a result each; a pure function of them."""


class Runner:
    """Runs one voter. Enter it to start, leave it to stop.

    `on_change` hears of a new role, term or leader; `on_fatal` of the end of this node. Both run
    on the loop.
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
    ) -> None:
        self._config = config
        self._storage = storage
        self._link = link
        self._machine = machine
        self._clock_ms = clock_ms
        self._rng = rng
        self.on_change: Callable[[Status], None] = lambda status: None
        self.on_fatal: Callable[[ConsensusError], None] = lambda error: None
        self.refused: Counter[str] = Counter()
        self._core: Raft | None = None
        self._inbox: deque[Event] = deque()
        self._outcomes = Outcomes(config.node_id, MAX_WAITING, config.max_entry_bytes)
        self._to_store: list[StoreBatch] = []
        self._to_apply: deque[Entry] = deque()
        self._held: deque[tuple[int, tuple[Message, ...]]] = deque()
        self._stored_batch = 0
        self._storing: asyncio.Task[None] | None = None
        self._drain_wanted = False
        self._timer: asyncio.TimerHandle | None = None
        self._seen: tuple[object, ...] = ()
        self._thread: ThreadPoolExecutor | None = None
        self._is_running = False

    async def __aenter__(self) -> Self:
        """Read the log back and begin.

        Raises:
            StorageError: the log cannot be trusted.
        """
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="raft-disk")
        loop = asyncio.get_running_loop()
        try:
            recovered = await loop.run_in_executor(self._thread, self._storage.recover)
        except BaseException:
            self._thread.shutdown(wait=True)
            self._storage.close()
            raise
        self._core = Raft(self._config, recovered, self._rng)
        self._is_running = True
        self._post(Tick())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stop()
        if self._storing is not None:
            await asyncio.wait([self._storing])
        if self._thread is not None:
            self._thread.shutdown(wait=True)
        self._storage.close()

    # -- what others use -----------------------------------------------------------------------

    def receive_from(self, sender: NodeId, data: bytes) -> None:
        """Take a message of a voter whom the transport has authenticated."""
        if len(self._inbox) >= MAX_INBOX:
            self.refused["inbox full"] += 1
            return
        try:
            message = decode_message(
                self._config.cluster_id, data, sender=sender, recipient=self._config.node_id
            )
        except MessageRefused as error:
            self.refused[error.fault.value] += 1
            return
        self._post(Received(message))

    def unreachable(self, peer: NodeId) -> None:
        """A hint: the connection to this voter is gone."""
        self._post(Unreachable(peer))

    async def propose(self, data: bytes, *, timeout_s: float = OUTCOME_TIMEOUT_S) -> Committed:
        """Have a command decided and applied, and return what applying it gave.

        Raises:
            NotLeader, ProposalsFull, ProposalTooLarge, Stopped: it never happens.
            OutcomeUnknown: it may have happened, or may yet.
        """
        if not self._is_running:
            raise Stopped(self._config.node_id)
        future = self._outcomes.propose(data)
        self._want_drain()
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise OutcomeUnknown(self._config.node_id, 0, self.status().term) from None

    async def transfer(self, timeout_s: float, target: NodeId | None = None) -> None:
        """Hand leadership over.

        Raises:
            TransferFailed: it stayed here.
        """
        future = self._outcomes.transfer()
        self._post(Transfer(target))
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
        """
        if self.status().applied >= index:
            return
        future = self._outcomes.applied(index)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            raise AppliedTimeout(self._config.node_id, index, self.status().applied) from None

    def status(self) -> Status:
        """Return a picture of this voter."""
        assert self._core is not None, "the runner was never entered"
        return self._core.status()

    def dropped(self) -> Mapping[str, int]:
        """Messages without effect, by reason."""
        assert self._core is not None
        return {reason.value: n for reason, n in self._core.dropped.items()} | self.refused

    # -- the loop ------------------------------------------------------------------------------

    def _post(self, event: Event) -> None:
        if self._is_running:
            self._inbox.append(event)
            self._want_drain()

    def _want_drain(self) -> None:
        if not self._drain_wanted and self._is_running:
            self._drain_wanted = True
            asyncio.get_running_loop().call_soon(self._drain)

    def _drain(self) -> None:
        """One turn: everything that has arrived, then what is due."""
        self._drain_wanted = False
        core = self._core
        if not self._is_running or core is None:
            return
        try:
            self._turn(core)
        except Exception as error:  # noqa: BLE001 - a core that raises must stop, not limp on
            self._die(NodeHalted(self._config.node_id, f"an error of its own: {error!r}"))

    def _turn(self, core: Raft) -> None:
        now_ms = self._clock_ms()
        while self._inbox:
            core.step(self._inbox.popleft(), now_ms=now_ms)
        proposals = self._outcomes.take_proposals()
        if proposals is not None:
            core.step(proposals, now_ms=now_ms)
        deadline_ms = core.deadline_ms
        if deadline_ms is not None and deadline_ms <= now_ms:
            core.step(Tick(), now_ms=now_ms)
        self._perform(core.take())
        self._arm()
        self._tell_change(core.status())

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline_ms = self._core.deadline_ms if self._core is not None else None
        if deadline_ms is not None and self._is_running:
            delay_s = max(0, deadline_ms - self._clock_ms()) / 1000
            # Not `_drain` itself: one more turn lets what has arrived come in first (R30).
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._want_drain)

    def _tell_change(self, status: Status) -> None:
        seen = (status.role, status.term, status.leader)
        if seen != self._seen:
            self._seen = seen
            self._outcomes.on_lead_lost(status.term if status.role is Role.LEADER else None)
            self.on_change(status)

    def _perform(self, effects: Effects) -> None:
        if effects.halt is not None:
            self._die(NodeHalted(self._config.node_id, effects.halt.value))
            return
        self._send(effects.send)
        if effects.store is not None:
            self._to_store.append(effects.store)
            if self._storing is None or self._storing.done():
                self._storing = asyncio.get_running_loop().create_task(self._store())
        if effects.send_stored:
            if effects.after <= self._stored_batch:
                self._send(effects.send_stored)
            else:
                self._held.append((effects.after, effects.send_stored))
        for result in effects.results:
            self._outcomes.on_result(result)
        if effects.apply:
            self._to_apply = deque(effects.apply)
            self._apply_some()

    def _send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._link.send(message.to, encode_message(self._config.cluster_id, message))

    # -- the disk ------------------------------------------------------------------------------

    async def _store(self) -> None:
        """Write what has queued, again and again, until nothing has."""
        loop = asyncio.get_running_loop()
        while self._to_store:
            batches, self._to_store = self._to_store, []
            while True:
                try:
                    await loop.run_in_executor(self._thread, self._storage.write, batches)
                    break
                except StorageFull:
                    self._post(StorageFailed(StorageFault.NO_SPACE))
                    if not self._is_running:
                        return
                    await asyncio.sleep(DISK_FULL_RETRY_S)
                except Exception as error:  # noqa: BLE001 - whatever it is, nothing was confirmed
                    broken = error if isinstance(error, StorageError) else None
                    self._die(broken or StorageBroken("the log", repr(error)))
                    return
            self._stored(batches[-1].batch)

    def _stored(self, batch: int) -> None:
        self._stored_batch = batch
        while self._held and self._held[0][0] <= batch:
            self._send(self._held.popleft()[1])
        self._post(Stored(batch))

    # -- applying ------------------------------------------------------------------------------

    def _apply_some(self) -> None:
        """Apply for a few milliseconds, then let the loop go on; a page may hold much work."""
        if not self._is_running:
            return
        until_ms = self._clock_ms() + APPLY_MS
        last = 0
        while self._to_apply and (not last or self._clock_ms() < until_ms):
            entry = self._to_apply.popleft()
            try:
                (result,) = self._machine.apply((entry,))
            except Exception as error:  # noqa: BLE001 - a machine that fails must stop this replica
                name = self._config.node_id
                self._die(MachineFailed(name, entry.index, entry.index, repr(error)))
                return
            last = entry.index
            self._outcomes.on_applied(entry, result, self.status().leader)
        if self._to_apply:
            asyncio.get_running_loop().call_soon(self._apply_some)
            return
        self._post(Applied(last))
        self._outcomes.on_applied_up_to(last)

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
        self._outcomes.stop()
