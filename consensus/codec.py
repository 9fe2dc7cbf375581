"""Messages as bytes: a fixed header, the fields of the kind, and a checksum over everything.

    header   version u8 | kind u8 | cluster 16 bytes
             sender u16 + UTF-8 | recipient u16 + UTF-8 | term u64
    body     fixed fields of the kind; appends end with their entries
    entry    index u64 | term u64 | kind u8 | size u32 | data
    trailer  CRC-32 of all before it

The cluster's id is hashed to 16 bytes, so that a message of another cluster is told apart whatever
its node ids. What this module does not know: who sent the bytes (the caller says), and whether a
message makes sense.
"""

from __future__ import annotations

import hashlib
import struct
import zlib

from consensus.errors import MessageFault, MessageRefused
from consensus.raft.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    Message,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from consensus.raft.types import Entry, EntryKind, NodeId

VERSION = 1
MAX_NUMBER = 2**62  # what every storage can hold

_HEAD = struct.Struct(">BB16s")
_SIZE = struct.Struct(">H")
_TERM = struct.Struct(">Q")
_ENTRY = struct.Struct(">QQBI")
_CRC = struct.Struct(">I")

# Kind number -> (class, layout of its fields after term).
_KINDS: dict[int, tuple[type, struct.Struct]] = {
    1: (PreVote, struct.Struct(">QQ")),
    2: (PreVoteReply, struct.Struct(">?")),
    3: (RequestVote, struct.Struct(">QQ?")),
    4: (RequestVoteReply, struct.Struct(">?")),
    5: (AppendEntries, struct.Struct(">QQQI")),
    6: (AppendEntriesReply, struct.Struct(">?QQQ")),
    7: (Heartbeat, struct.Struct(">Q")),
    8: (HeartbeatReply, struct.Struct(">")),
    9: (TimeoutNow, struct.Struct(">")),
}
_NUMBERS = {kind: number for number, (kind, _) in _KINDS.items()}


def cluster_tag(cluster_id: str) -> bytes:
    """The 16 bytes that stand for a cluster."""
    return hashlib.blake2b(cluster_id.encode(), digest_size=16).digest()


def encode_message(cluster_id: str, message: Message) -> bytes:
    """The message as bytes."""
    number = _NUMBERS[type(message)]
    parts = [
        _HEAD.pack(VERSION, number, cluster_tag(cluster_id)),
        _text(message.sender),
        _text(message.to),
        _TERM.pack(message.term),
        _fields(number, message),
    ]
    if isinstance(message, AppendEntries):
        for entry in message.entries:
            parts.append(_ENTRY.pack(entry.index, entry.term, entry.kind, len(entry.data)))
            parts.append(entry.data)
    body = b"".join(parts)
    return body + _CRC.pack(zlib.crc32(body))


def decode_message(cluster_id: str, data: bytes, *, sender: NodeId, recipient: NodeId) -> Message:
    """The message in these bytes, from a sender whom the transport has authenticated.

    Raises:
        MessageRefused: they are none, or none for us; `fault` says why.
    """
    if len(data) < _HEAD.size + _CRC.size:
        raise MessageRefused(MessageFault.TRUNCATED)
    body = memoryview(data)[: -_CRC.size]
    version, number, tag = _HEAD.unpack_from(body)
    if version != VERSION:
        raise MessageRefused(MessageFault.VERSION)
    if _CRC.unpack(data[-_CRC.size :])[0] != zlib.crc32(body):
        raise MessageRefused(MessageFault.CHECKSUM)
    if tag != cluster_tag(cluster_id):
        raise MessageRefused(MessageFault.CLUSTER)
    if number not in _KINDS:
        raise MessageRefused(MessageFault.KIND)
    try:
        return _read(number, body, sender, recipient)
    except (struct.error, UnicodeDecodeError):
        raise MessageRefused(MessageFault.TRUNCATED) from None


def _read(number: int, body: memoryview, sender: NodeId, recipient: NodeId) -> Message:
    said_sender, at = _read_text(body, _HEAD.size)
    said_recipient, at = _read_text(body, at)
    if said_sender != sender:
        raise MessageRefused(MessageFault.SENDER)
    if said_recipient != recipient:
        raise MessageRefused(MessageFault.RECIPIENT)
    (term,) = _TERM.unpack_from(body, at)
    kind, layout = _KINDS[number]
    fields = layout.unpack_from(body, at + _TERM.size)
    if max((term, *fields)) > MAX_NUMBER:
        raise MessageRefused(MessageFault.RANGE)
    at += _TERM.size + layout.size
    if kind is AppendEntries:
        entries, at = _read_entries(body, at, fields[3])
        fields = (*fields[:3], entries)
    if at != len(body):
        raise MessageRefused(MessageFault.TRAILING)
    message: Message = kind(sender, recipient, term, *fields)
    return message


def _fields(number: int, message: Message) -> bytes:
    layout = _KINDS[number][1]
    match message:
        case PreVote():
            return layout.pack(message.last_index, message.last_term)
        case RequestVote():
            return layout.pack(message.last_index, message.last_term, message.transfer)
        case PreVoteReply() | RequestVoteReply():
            return layout.pack(message.granted)
        case AppendEntries():
            return layout.pack(
                message.prev_index, message.prev_term, message.commit, len(message.entries)
            )
        case AppendEntriesReply():
            return layout.pack(
                message.accepted, message.index, message.hint_index, message.hint_term
            )
        case Heartbeat():
            return layout.pack(message.commit)
        case HeartbeatReply() | TimeoutNow():
            return b""


def _read_entries(body: memoryview, at: int, count: int) -> tuple[tuple[Entry, ...], int]:
    if count * _ENTRY.size > len(body) - at:
        raise MessageRefused(MessageFault.ENTRIES)
    entries: list[Entry] = []
    for _ in range(count):
        index, term, kind, size = _ENTRY.unpack_from(body, at)
        at += _ENTRY.size
        if max(index, term) > MAX_NUMBER:
            raise MessageRefused(MessageFault.RANGE)
        if size > len(body) - at or kind not in (EntryKind.NOOP, EntryKind.COMMAND):
            raise MessageRefused(MessageFault.ENTRIES)
        entries.append(Entry(index, term, EntryKind(kind), bytes(body[at : at + size])))
        at += size
    return tuple(entries), at


def _text(text: str) -> bytes:
    raw = text.encode()
    return _SIZE.pack(len(raw)) + raw


def _read_text(body: memoryview, at: int) -> tuple[str, int]:
    (size,) = _SIZE.unpack_from(body, at)
    at += _SIZE.size
    if size > len(body) - at:
        raise MessageRefused(MessageFault.TRUNCATED)
    return str(body[at : at + size], "utf-8"), at + size
