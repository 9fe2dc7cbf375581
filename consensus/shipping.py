"""Snapshots on their way: parts in order, a window of them, and what is missing is asked for.

    sender    begin -> parts up to the window -> each answer moves it -> done, refused, or given up
    receiver  part at the wanted offset -> written; anything else is answered with what is wanted;
              the last one -> checked and durable -> the core hears of it

Whoever sends is a leader: parts of a term that is over are not taken. One snapshot comes in at a
time; a part of a newer transfer replaces an older one.

What this module does not know: sockets, files, the core's rules.

Invariants: at most `WINDOW` parts are unanswered; a transfer ends exactly once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from consensus.errors import StorageError
from consensus.raft import NodeId, SnapshotMeta
from consensus.snapshot_wire import PartStatus, SnapshotPart, SnapshotPartReply

if TYPE_CHECKING:
    from consensus.storage import SnapshotReader, SnapshotWriter

PART_BYTES = 128 * 1024
WINDOW = 8
REPEAT_MS = 500
GIVE_UP_MS = 10_000


class Fate(Enum):
    """How a transfer stands after a step."""

    GOES_ON = "goes on"
    ARRIVED = "arrived"
    FAILED = "failed"  # the file is not what it was: another one is needed
    GIVEN_UP = "given up"


@dataclass(slots=True)
class _Sending:
    transfer: int
    term: int
    meta: SnapshotMeta
    reader: SnapshotReader
    heard_ms: int
    sent_ms: int
    acked: int = 0
    sent: int = 0


class Sender:
    """Snapshots that this node sends, one to each follower that needs one."""

    def __init__(self, own: NodeId, send: Callable[[SnapshotPart], None]) -> None:
        self._own = own
        self._send = send
        self._sendings: dict[NodeId, _Sending] = {}
        self._last_transfer = 0

    @property
    def peers(self) -> tuple[NodeId, ...]:
        """Those that are being sent one."""
        return tuple(self._sendings)

    def begin(
        self, peer: NodeId, term: int, meta: SnapshotMeta, reader: SnapshotReader, now_ms: int
    ) -> Fate:
        """Start, or start again from the beginning."""
        self.stop(peer)
        self._last_transfer += 1
        sending = _Sending(self._last_transfer, term, meta, reader, now_ms, now_ms)
        self._sendings[peer] = sending
        return self._fill(peer, sending, now_ms)

    def on_reply(self, peer: NodeId, reply: SnapshotPartReply, now_ms: int) -> Fate:
        """The follower says what it wants next."""
        sending = self._sendings.get(peer)
        if sending is None or reply.transfer != sending.transfer:
            return Fate.GOES_ON
        sending.heard_ms = now_ms
        if reply.status is not PartStatus.GO_ON:
            self.stop(peer)
            return Fate.ARRIVED if reply.status is PartStatus.DONE else Fate.FAILED
        # Less than before: a receiver that has restarted begins anew, and would answer for ever to
        # parts that it cannot use. Or it is a late answer; then the next one puts that right. So
        # what is wanted is sent again with the repeats, not at once.
        if reply.wanted < sending.acked:
            sending.acked = reply.wanted
            return Fate.GOES_ON
        sending.acked = min(reply.wanted, sending.reader.size)
        sending.sent = max(sending.sent, sending.acked)
        return self._fill(peer, sending, now_ms)

    def tick(self, now_ms: int) -> dict[NodeId, Fate]:
        """Repeat what was not answered; those that were given up, and those whose file is gone."""
        lost: dict[NodeId, Fate] = {}
        for peer, sending in list(self._sendings.items()):
            if now_ms - sending.heard_ms >= GIVE_UP_MS:
                lost[peer] = Fate.GIVEN_UP
                self.stop(peer)
            elif now_ms - max(sending.heard_ms, sending.sent_ms) >= REPEAT_MS:
                sending.sent = sending.acked
                if self._fill(peer, sending, now_ms) is Fate.FAILED:
                    lost[peer] = Fate.FAILED
        return lost

    def stop(self, peer: NodeId | None = None) -> None:
        """Send no more, to this follower or at all."""
        for name in list(self._sendings) if peer is None else [peer]:
            sending = self._sendings.pop(name, None)
            if sending is not None:
                sending.reader.close()

    def _fill(self, peer: NodeId, sending: _Sending, now_ms: int) -> Fate:
        size = sending.reader.size
        while sending.sent < size and sending.sent - sending.acked < WINDOW * PART_BYTES:
            data = sending.reader.read(sending.sent, PART_BYTES)
            if not data:  # somebody has cut the file since it was opened
                self.stop(peer)
                return Fate.FAILED
            self._send(
                SnapshotPart(
                    self._own,
                    peer,
                    sending.term,
                    sending.transfer,
                    sending.meta,
                    size,
                    sending.sent,
                    data,
                )
            )
            sending.sent += len(data)
            sending.sent_ms = now_ms
        return Fate.GOES_ON


@dataclass(slots=True)
class _Receiving:
    first: SnapshotPart  # without its data, what the transfer is
    writer: SnapshotWriter
    at: int = 0
    is_finishing: bool = False


class Receiver:
    """The snapshot that this node is being sent.

    Args:
        reply: sends an answer.
        open_writer: begins a file; raises what the disk raises.
        finish: makes a whole file durable; `finished` follows.
    """

    def __init__(
        self,
        own: NodeId,
        reply: Callable[[SnapshotPartReply], None],
        open_writer: Callable[[SnapshotMeta, int], SnapshotWriter],
        finish: Callable[[SnapshotWriter], None],
    ) -> None:
        self._own = own
        self._reply = reply
        self._open = open_writer
        self._finish = finish
        self._receiving: _Receiving | None = None
        self._done: SnapshotPart | None = None

    def on_part(self, part: SnapshotPart, term: int) -> None:
        """Take the part if it is the next one.

        Raises:
            StorageError: the disk refused; the transfer is over here.
        """
        if part.term < term:
            self._answer(part, 0, PartStatus.REFUSED)
            return
        if self._done is not None and _same(self._done, part):
            self._answer(part, part.size, PartStatus.DONE)
            return
        receiving = self._receiving
        if receiving is not None and receiving.is_finishing:
            return
        if receiving is None or not _same(receiving.first, part):
            self.stop()
            writer = self._open(part.meta, part.size)
            receiving = self._receiving = _Receiving(replace(part, data=b""), writer)
        if part.offset == receiving.at:
            try:
                receiving.writer.append(part.offset, part.data)
            except StorageError:
                self.stop()
                raise
            receiving.at += len(part.data)
        if receiving.at >= part.size:
            receiving.is_finishing = True
            self._finish(receiving.writer)
        else:
            self._answer(part, receiving.at, PartStatus.GO_ON)

    def finished(self, *, ok: bool) -> SnapshotPart | None:
        """The file is durable, or it was refused; the transfer, if all is well."""
        receiving, self._receiving = self._receiving, None
        if receiving is None:
            return None
        status = PartStatus.DONE if ok else PartStatus.REFUSED
        self._answer(receiving.first, receiving.at, status)
        if not ok:
            return None
        self._done = receiving.first
        return receiving.first

    def stop(self) -> None:
        """Forget what has come so far."""
        receiving, self._receiving = self._receiving, None
        if receiving is not None and not receiving.is_finishing:
            receiving.writer.abort()

    def _answer(self, part: SnapshotPart, wanted: int, status: PartStatus) -> None:
        self._reply(SnapshotPartReply(self._own, part.sender, part.transfer, wanted, status))


def _same(one: SnapshotPart, other: SnapshotPart) -> bool:
    """Whether two parts are of one transfer; numbers alone begin anew with a sender's process."""
    return (one.sender, one.transfer, one.term, one.meta, one.size) == (
        other.sender,
        other.transfer,
        other.term,
        other.meta,
        other.size,
    )
