"""How the parts of a snapshot travel: frames between two shells, never messages to the core.

    header   as every message of `codec`; the kinds are 64 (a part) and 65 (its answer)
    part     term u64 | transfer u64 | size u64 | offset u64 | data size u32 | meta | data
    answer   transfer u64 | wanted offset u64 | status u8
    trailer  CRC-32 of all before it

The CRC covers one part. Whether the parts together are the snapshot is decided by the digest at the
end of the file that they make (`storage.snapshots`).

What this module does not know: which transfer is under way, how many parts may be on the way.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from consensus.codec import MAX_NUMBER, decode_meta, encode_meta, opened, sealed
from consensus.errors import MessageFault, MessageRefused
from consensus.raft.membership import NodeId
from consensus.raft.types import SnapshotMeta

MAX_PART_BYTES = 256 * 1024

_PART_KIND = 64
_REPLY_KIND = 65
_PART = struct.Struct(">QQQQI")
_REPLY = struct.Struct(">QQB")


class PartStatus(IntEnum):
    """What the receiver makes of a transfer. Numbers are sent: never reuse one."""

    GO_ON = 0
    DONE = 1  # all of it is durable and verified at the receiver
    REFUSED = 2  # begin again with another one, or not at all


@dataclass(frozen=True, slots=True)
class SnapshotPart:
    """Bytes `offset` to `offset + len(data)` of the snapshot file of `size` bytes."""

    sender: NodeId
    to: NodeId
    term: int
    transfer: int  # the sender's number for this one sending
    meta: SnapshotMeta
    size: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SnapshotPartReply:
    """Everything before `wanted` has arrived."""

    sender: NodeId
    to: NodeId
    transfer: int
    wanted: int
    status: PartStatus


SnapshotFrame = SnapshotPart | SnapshotPartReply


def is_snapshot_frame(data: bytes) -> bool:
    """Whether these bytes are for `decode_snapshot_frame` and not for the core's codec."""
    return len(data) > 1 and data[1] in (_PART_KIND, _REPLY_KIND)


def encode_snapshot_frame(cluster_id: str, frame: SnapshotFrame) -> bytes:
    """The frame as bytes."""
    if isinstance(frame, SnapshotPart):
        assert len(frame.data) <= MAX_PART_BYTES, "a part is too large"
        head = _PART.pack(frame.term, frame.transfer, frame.size, frame.offset, len(frame.data))
        parts = (head, encode_meta(frame.meta), frame.data)
        return sealed(_PART_KIND, cluster_id, frame.sender, frame.to, *parts)
    answer = _REPLY.pack(frame.transfer, frame.wanted, frame.status)
    return sealed(_REPLY_KIND, cluster_id, frame.sender, frame.to, answer)


def decode_snapshot_frame(
    cluster_id: str, data: bytes, *, sender: NodeId, recipient: NodeId
) -> SnapshotFrame:
    """The frame in these bytes, from a sender whom the transport has authenticated.

    Raises:
        MessageRefused: they are none, or none for us; `fault` says why.
    """
    kind, body, at = opened(cluster_id, data, sender=sender, recipient=recipient)
    try:
        if kind == _PART_KIND:
            return _read_part(body, at, sender, recipient)
        if kind == _REPLY_KIND:
            return _read_reply(body, at, sender, recipient)
    except struct.error:
        raise MessageRefused(MessageFault.TRUNCATED) from None
    raise MessageRefused(MessageFault.KIND)


def _read_part(body: bytes, at: int, sender: NodeId, to: NodeId) -> SnapshotPart:
    term, transfer, size, offset, length = _PART.unpack_from(body, at)
    meta, at = decode_meta(body, at + _PART.size)
    if max(term, size, offset) > MAX_NUMBER or length > min(MAX_PART_BYTES, size):
        raise MessageRefused(MessageFault.RANGE)
    if offset + length > size:
        raise MessageRefused(MessageFault.RANGE)
    if length != len(body) - at:
        fault = MessageFault.TRUNCATED if length > len(body) - at else MessageFault.TRAILING
        raise MessageRefused(fault)
    return SnapshotPart(sender, to, term, transfer, meta, size, offset, body[at:])


def _read_reply(body: bytes, at: int, sender: NodeId, to: NodeId) -> SnapshotPartReply:
    transfer, wanted, status = _REPLY.unpack_from(body, at)
    if len(body) != at + _REPLY.size:
        raise MessageRefused(MessageFault.TRAILING)
    if wanted > MAX_NUMBER or status not in iter(PartStatus):
        raise MessageRefused(MessageFault.RANGE)
    return SnapshotPartReply(sender, to, transfer, wanted, PartStatus(status))
