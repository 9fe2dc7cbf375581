"""A node's snapshots on asyncio: saving its own, sending the latest, receiving a leader's.

Files are written and checked in a thread of their own, so that the log's writes do not wait.

What this module does not know: when a snapshot is due or needed, what is in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from consensus.driver import Driver
from consensus.errors import ConsensusError, StorageBroken, StorageError, StorageFull
from consensus.raft import Config, InstallSnapshot, NodeId, Received, SnapshotMeta, SnapshotSent
from consensus.shipping import REPEAT_MS, Fate, Receiver, Sender
from consensus.snapshot_wire import (
    SnapshotFrame,
    SnapshotPart,
    SnapshotPartReply,
    decode_snapshot_frame,
    encode_snapshot_frame,
)

if TYPE_CHECKING:
    from consensus.runner import Link
    from consensus.storage import SnapshotStore, SnapshotWriter

KEPT_SNAPSHOTS = 2
RETRY_MS = 1_000  # after a transfer that failed; doubled with every further one
RETRY_DOUBLED = 5


class Snapshotting:
    """The snapshots of one runner. `on_broken` hears of a disk that failed."""

    def __init__(
        self,
        config: Config,
        store: SnapshotStore,
        driver: Driver,
        link: Link,
        clock_ms: Callable[[], int],
    ) -> None:
        self._config = config
        self._store = store
        self._driver = driver
        self._link = link
        self._clock_ms = clock_ms
        self.on_broken: Callable[[ConsensusError], None] = lambda error: None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="raft-snapshots")
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._failed: dict[NodeId, int] = {}  # transfers in a row
        self._retries: dict[NodeId, asyncio.TimerHandle] = {}
        self._sender = Sender(config.node_id, self._send)
        self._receiver = Receiver(
            config.node_id,
            self._send,
            store.receive,
            lambda writer: self._run(self._finish(writer)),
        )

    async def close(self) -> None:
        """Stop sending and receiving; what is being written is finished."""
        self.stop_shipping()
        self._receiver.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._thread.shutdown(wait=True)

    # -- our own -------------------------------------------------------------------------------

    def save(self, meta: SnapshotMeta, chunks: Sequence[bytes]) -> None:
        """Make a snapshot durable and tell the driver."""
        self._run(self._save(meta, chunks))

    async def _save(self, meta: SnapshotMeta, chunks: Sequence[bytes]) -> None:
        def write() -> None:
            self._store.write(meta, chunks)
            self._store.forget_older(KEPT_SNAPSHOTS)

        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, write)
        except StorageFull:
            self._driver.snapshot_failed()  # the log stays longer; the next one may succeed
        except Exception as error:  # noqa: BLE001 - whatever it is, the disk cannot be trusted
            self._driver.snapshot_failed()
            self.on_broken(_storage_error(error))
        else:
            self._driver.snapshot_saved(meta)

    # -- to others -----------------------------------------------------------------------------

    def ship(self, peer: NodeId, meta: SnapshotMeta) -> None:
        """Send this snapshot; the driver hears how it ended."""
        self._forget_retry(peer)
        try:
            reader = self._store.open(meta)
            fate = self._sender.begin(peer, self._driver.core.term, meta, reader, self._clock_ms())
        except StorageError as error:
            self.on_broken(error)
            return
        self._on_fate(peer, fate)
        self._arm()

    def stop_shipping(self) -> None:
        """This node leads no more."""
        self._sender.stop()
        self._failed.clear()
        for peer in list(self._retries):
            self._forget_retry(peer)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is None and self._sender.peers:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(REPEAT_MS / 2000, self._tick)

    def _tick(self) -> None:
        self._timer = None
        try:
            lost = self._sender.tick(self._clock_ms())
        except StorageError as error:
            self.on_broken(error)
            return
        for peer, fate in lost.items():
            self._on_fate(peer, fate)
        self._arm()

    def _on_fate(self, peer: NodeId, fate: Fate) -> None:
        if fate is Fate.FAILED:
            self._driver.begin_snapshot()  # ours may have rotted: the next one is sent
        if fate is Fate.ARRIVED:
            self._failed.pop(peer, None)
            self._driver.post(SnapshotSent(peer, True))
        elif fate is not Fate.GOES_ON:
            self._fail_later(peer)

    def _fail_later(self, peer: NodeId) -> None:
        """The core sends another one as soon as it hears of it. A follower whose disk is full would
        be sent the whole snapshot over and over, so it hears of it after a pause that grows."""
        self._forget_retry(peer)
        failed = self._failed.get(peer, 0)
        self._failed[peer] = failed + 1
        pause_s = RETRY_MS * 2 ** min(failed, RETRY_DOUBLED) / 1000
        loop = asyncio.get_running_loop()
        self._retries[peer] = loop.call_later(pause_s, self._fail, peer)

    def _fail(self, peer: NodeId) -> None:
        self._retries.pop(peer, None)
        self._driver.post(SnapshotSent(peer, False))

    def _forget_retry(self, peer: NodeId) -> None:
        retry = self._retries.pop(peer, None)
        if retry is not None:
            retry.cancel()

    # -- from others ---------------------------------------------------------------------------

    def receive(self, sender: NodeId, data: bytes) -> None:
        """Take a part or an answer.

        Raises:
            MessageRefused: the bytes are neither.
        """
        own = self._config.node_id
        cluster_id = self._config.cluster_id
        match decode_snapshot_frame(cluster_id, data, sender=sender, recipient=own):
            case SnapshotPart() as part:
                try:
                    self._receiver.on_part(part, self._driver.core.term)
                except StorageFull:
                    return  # the sender asks again
                except StorageError as error:
                    self.on_broken(error)
            case SnapshotPartReply() as reply:
                try:
                    fate = self._sender.on_reply(sender, reply, self._clock_ms())
                except StorageError as error:
                    self.on_broken(error)
                    return
                self._on_fate(sender, fate)

    async def _finish(self, writer: SnapshotWriter) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, writer.commit)
        except Exception as error:  # noqa: BLE001 - a snapshot that does not check out is refused
            self._receiver.finished(ok=False)
            if isinstance(error, StorageBroken):
                self.on_broken(error)
            return
        part = self._receiver.finished(ok=True)
        if part is not None:
            own = self._config.node_id
            self._driver.post(
                Received(
                    InstallSnapshot(
                        part.sender, own, part.term, part.meta, part.meta.membership_index
                    )
                )
            )

    def _send(self, frame: SnapshotFrame) -> None:
        self._link.send_part(frame.to, encode_snapshot_frame(self._config.cluster_id, frame))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _storage_error(error: Exception) -> StorageError:
    return error if isinstance(error, StorageError) else StorageBroken("a snapshot", repr(error))
