"""The snapshots of one simulated process: its own, those it sends, those it receives.

The same senders and receivers as in `snapshotting`, on virtual time: parts are frames on the
simulated network, files take as long as the simulated disk takes, and may be cut short by a crash.

What this module does not know: when a snapshot is due or needed, which faults come when.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from consensus.driver import Driver
from consensus.errors import ConsensusError
from consensus.raft import InstallSnapshot, NodeId, Received, SnapshotMeta, SnapshotSent
from consensus.shipping import REPEAT_MS, Fate, Receiver, Sender
from consensus.sim.disk import Disk
from consensus.sim.marks import Marks
from consensus.sim.weather import CLUSTER
from consensus.snapshot_wire import (
    SnapshotFrame,
    SnapshotPart,
    SnapshotPartReply,
    decode_snapshot_frame,
    encode_snapshot_frame,
)
from consensus.storage import SnapshotWriter

KEPT_SNAPSHOTS = 2


class Freight:
    """The snapshots of one process.

    Args:
        send: carries bytes to a node.
        later: runs something after a delay, if this process still lives then.
        now_ms: this machine's clock.
    """

    def __init__(
        self,
        name: NodeId,
        disk: Disk,
        driver: Driver,
        send: Callable[[NodeId, bytes], None],
        later: Callable[[int, Callable[[], None]], None],
        now_ms: Callable[[], int],
        marks: Marks,
        on_broken: Callable[[], None],
    ) -> None:
        self._on_broken = on_broken
        self._name = name
        self._disk = disk
        self._driver = driver
        self._send_bytes = send
        self._later = later
        self._now_ms = now_ms
        self._marks = marks
        self._is_ticking = False
        self._sender = Sender(name, self._send)
        self._receiver = Receiver(name, self._send, disk.snapshots.receive, self._finish)

    # -- our own -------------------------------------------------------------------------------

    def save(self, meta: SnapshotMeta, chunks: Sequence[bytes]) -> None:
        """Make a snapshot durable and tell the driver."""
        store, driver = self._disk.snapshots, self._driver

        def write() -> None:
            store.write(meta, chunks)
            store.forget_older(KEPT_SNAPSHOTS)

        self._disk.write_file(
            write, lambda: driver.snapshot_saved(meta), driver.snapshot_failed, self._on_broken
        )

    # -- to others -----------------------------------------------------------------------------

    def ship(self, peer: NodeId, meta: SnapshotMeta) -> None:
        """Send this snapshot; the driver hears how it ended."""
        reader = self._disk.snapshots.open(meta)
        self._marks.hit("snapshot sent")
        self._sender.begin(peer, self._driver.core.term, meta, reader, self._now_ms())
        self._arm()

    def stop_shipping(self) -> None:
        """This node leads no more."""
        self._sender.stop()

    def _arm(self) -> None:
        if not self._is_ticking and self._sender.peers:
            self._is_ticking = True
            self._later(REPEAT_MS // 2, self._tick)

    def _tick(self) -> None:
        self._is_ticking = False
        for peer in self._sender.tick(self._now_ms()):
            self._marks.hit("snapshot given up")
            self._driver.post(SnapshotSent(peer, False))
        self._arm()

    # -- from others ---------------------------------------------------------------------------

    def receive(self, sender: NodeId, data: bytes) -> None:
        """Take a part or an answer.

        Raises:
            MessageRefused: the bytes are neither.
        """
        match decode_snapshot_frame(CLUSTER, data, sender=sender, recipient=self._name):
            case SnapshotPart() as part:
                self._receiver.on_part(part, self._driver.core.term)
            case SnapshotPartReply() as reply:
                fate = self._sender.on_reply(sender, reply, self._now_ms())
                if fate is Fate.FAILED:
                    self._marks.hit("snapshot refused")
                if fate is not Fate.GOES_ON:
                    self._driver.post(SnapshotSent(sender, fate is Fate.ARRIVED))

    def _finish(self, writer: SnapshotWriter) -> None:
        problems: list[ConsensusError] = []

        def write() -> None:
            try:
                writer.commit()
            except ConsensusError as error:
                problems.append(error)

        self._disk.write_file(
            write,
            lambda: self._finished(ok=not problems),
            lambda: self._finished(ok=False),
            self._on_broken,
        )

    def _finished(self, *, ok: bool) -> None:
        part = self._receiver.finished(ok=ok)
        if part is None:
            return
        at = part.meta.membership_index
        message = InstallSnapshot(part.sender, self._name, part.term, part.meta, at)
        self._driver.post(Received(message))

    def _send(self, frame: SnapshotFrame) -> None:
        self._send_bytes(frame.to, encode_snapshot_frame(CLUSTER, frame))
