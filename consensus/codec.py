"""Messages as bytes: a fixed header, the fields of the kind, and a checksum over everything.

    header   version u8 | kind u8 | cluster 16 bytes
             sender u16 + UTF-8 | recipient u16 + UTF-8 | term u64
    body     fixed fields of the kind; appends end with their entries, installs with a meta
    entry    index u64 | term u64 | kind u8 | size u32 | data
    meta     index u64 | term u64 | membership index u64 | size u32 | membership
    trailer  CRC-32 of all before it

The cluster's id is hashed to 16 bytes, so that a message of another cluster is told apart whatever
its node ids. An entry of kind MEMBERSHIP is read far enough to know that it is one: the core takes
it for granted. A membership of size 0 stands for one that nobody knew yet.

What this module does not know: who sent the bytes (the caller says), and whether a message makes
sense.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Any, NoReturn

from consensus.errors import MembershipInvalid, MessageFault, MessageRefused
from consensus.raft.membership import Membership, NodeId
from consensus.raft.messages import (
    AppendEntries,
    AppendEntriesReply,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from consensus.raft.types import Entry, EntryKind, SnapshotMeta

VERSION = 2
MAX_NUMBER = 2**62  # what every storage can hold

_HEAD = struct.Struct(">BB16s")
_SIZE = struct.Struct(">H")
_TERM = struct.Struct(">Q")
_ENTRY = struct.Struct(">QQBI")
_META = struct.Struct(">QQQI")
_CRC = struct.Struct(">I")
_ENTRY_KINDS = tuple(EntryKind)
_MEMBERSHIP = EntryKind.MEMBERSHIP

_Fields = Callable[[Any], tuple[int, ...]]


def _fields(*names: str) -> _Fields:
    if len(names) == 1:
        (name,) = names
        return lambda message: (getattr(message, name),)
    return attrgetter(*names) if names else lambda message: ()


# Kind number -> (class, layout of its fields after term, how to get them). The order is that of
# the class, except that what has no fixed size stands last: entries (as a count) and the meta.
_KINDS: dict[int, tuple[type, struct.Struct, _Fields]] = {
    1: (PreVote, struct.Struct(">QQQ"), _fields("last_index", "last_term", "config_index")),
    2: (PreVoteReply, struct.Struct(">?QQ"), _fields("granted", "commit", "commit_term")),
    3: (
        RequestVote,
        struct.Struct(">QQ?Q"),
        _fields("last_index", "last_term", "transfer", "config_index"),
    ),
    4: (RequestVoteReply, struct.Struct(">?QQ"), _fields("granted", "commit", "commit_term")),
    5: (
        AppendEntries,
        struct.Struct(">QQQQI"),
        lambda m: (m.prev_index, m.prev_term, m.commit, m.config_index, len(m.entries)),
    ),
    6: (
        AppendEntriesReply,
        struct.Struct(">?QQQ"),
        _fields("accepted", "index", "hint_index", "hint_term"),
    ),
    7: (
        Heartbeat,
        struct.Struct(">QQQQQ"),
        _fields("commit", "config_index", "read", "known_commit", "echo_ms"),
    ),
    8: (HeartbeatReply, struct.Struct(">QQ"), _fields("read", "stamp_ms")),
    9: (TimeoutNow, struct.Struct(">"), _fields()),
    10: (InstallSnapshot, struct.Struct(">Q"), _fields("config_index")),
}
_NUMBERS = {kind: (number, layout, get) for number, (kind, layout, get) in _KINDS.items()}


@lru_cache(maxsize=64)
def cluster_tag(cluster_id: str) -> bytes:
    """The 16 bytes that stand for a cluster."""
    return hashlib.blake2b(cluster_id.encode(), digest_size=16).digest()


def encode_message(cluster_id: str, message: Message) -> bytes:
    """The message as bytes."""
    number, layout, get = _NUMBERS[type(message)]
    parts = [
        bytes((VERSION, number)),
        _address(cluster_id, message.sender, message.to),
        _TERM.pack(message.term),
        layout.pack(*get(message)),
    ]
    if type(message) is AppendEntries:
        parts.append(_encode_entries(message.entries))
    elif type(message) is InstallSnapshot:
        parts.append(encode_meta(message.meta))
    body = b"".join(parts)
    return body + _CRC.pack(zlib.crc32(body))


_latest: tuple[tuple[Entry, ...], bytes] = ((), b"")


def _encode_entries(entries: tuple[Entry, ...]) -> bytes:
    """The entries as bytes. A leader sends the same page to its followers one after the other: it
    is encoded once. It is known again by being the same object, which is held here so long."""
    global _latest
    if entries is not _latest[0]:
        pack = _ENTRY.pack
        parts: list[bytes] = []
        for index, term, kind, data in entries:
            parts += (pack(index, term, kind, len(data)), data)
        _latest = (entries, b"".join(parts))
    return _latest[1]


def decode_message(cluster_id: str, data: bytes, *, sender: NodeId, recipient: NodeId) -> Message:
    """The message in these bytes, from a sender whom the transport has authenticated.

    Raises:
        MessageRefused: they are none, or none for us; `fault` says why.
    """
    number, body, at = opened(cluster_id, data, sender=sender, recipient=recipient)
    if number not in _KINDS:
        raise MessageRefused(MessageFault.KIND)
    try:
        return _read(number, body, at, sender, recipient)
    except struct.error:
        raise MessageRefused(MessageFault.TRUNCATED) from None


def opened(
    cluster_id: str, data: bytes, *, sender: NodeId, recipient: NodeId
) -> tuple[int, bytes, int]:
    """The kind number, the bytes without their checksum, and where the term stands in them.

    Raises:
        MessageRefused: they are not sealed like this, or not from there to here.
    """
    if len(data) < _HEAD.size + _CRC.size:
        raise MessageRefused(MessageFault.TRUNCATED)
    if data[0] != VERSION:
        raise MessageRefused(MessageFault.VERSION)
    body = data[: -_CRC.size]
    if _CRC.unpack_from(data, len(body))[0] != zlib.crc32(body):
        raise MessageRefused(MessageFault.CHECKSUM)
    address = _address(cluster_id, sender, recipient)
    if not body.startswith(address, 2):
        _refuse_address(cluster_id, body, sender, recipient)
    return body[1], body, 2 + len(address)


def sealed(number: int, cluster_id: str, sender: NodeId, to: NodeId, *parts: bytes) -> bytes:
    """The opposite of `opened`: the parts behind a header, with their checksum."""
    body = b"".join((bytes((VERSION, number)), _address(cluster_id, sender, to), *parts))
    return body + _CRC.pack(zlib.crc32(body))


def encode_meta(meta: SnapshotMeta) -> bytes:
    """What a snapshot stands for, as bytes: equal ones give equal bytes."""
    membership = meta.membership.encode() if meta.membership.voters else b""
    head = _META.pack(meta.index, meta.term, meta.membership_index, len(membership))
    return head + membership


def decode_meta(data: bytes, at: int = 0) -> tuple[SnapshotMeta, int]:
    """The meta that begins at `at`, and where it ends.

    Raises:
        MessageRefused: there is none.
    """
    if len(data) - at < _META.size:
        raise MessageRefused(MessageFault.TRUNCATED)
    index, term, membership_index, size = _META.unpack_from(data, at)
    at += _META.size
    if size > len(data) - at:
        raise MessageRefused(MessageFault.TRUNCATED)
    if max(index, term) > MAX_NUMBER or membership_index > index:
        raise MessageRefused(MessageFault.RANGE)
    membership = _membership(data[at : at + size]) if size else Membership()
    return SnapshotMeta(index, term, membership, membership_index), at + size


def _read(number: int, body: bytes, at: int, sender: NodeId, recipient: NodeId) -> Message:
    (term,) = _TERM.unpack_from(body, at)
    kind, layout, _ = _KINDS[number]
    fields: tuple[Any, ...] = layout.unpack_from(body, at + _TERM.size)
    if max((term, *fields)) > MAX_NUMBER:
        raise MessageRefused(MessageFault.RANGE)
    at += _TERM.size + layout.size
    if kind is AppendEntries:
        *first, config_index, count = fields
        entries, at = _read_entries(body, at, count)
        fields = (*first, entries, config_index)
    elif kind is InstallSnapshot:
        meta, at = decode_meta(body, at)
        fields = (meta, *fields)
    if at != len(body):
        raise MessageRefused(MessageFault.TRAILING)
    message: Message = kind(sender, recipient, term, *fields)
    return message


def _read_entries(body: bytes, at: int, count: int) -> tuple[tuple[Entry, ...], int]:
    end = len(body)
    if count * _ENTRY.size > end - at:
        raise MessageRefused(MessageFault.ENTRIES)
    entries: list[Entry] = []
    unpack, head, kinds = _ENTRY.unpack_from, _ENTRY.size, _ENTRY_KINDS
    known, add, new, limit = len(kinds), entries.append, tuple.__new__, MAX_NUMBER
    for _ in range(count):
        index, term, number, size = unpack(body, at)
        at += head
        if index > limit or term > limit:
            raise MessageRefused(MessageFault.RANGE)
        if size > end - at or number >= known:
            raise MessageRefused(MessageFault.ENTRIES)
        data = body[at : at + size]
        kind = kinds[number]
        if kind is _MEMBERSHIP:
            _membership(data)
        add(new(Entry, (index, term, kind, data)))  # what `Entry` does, without a call in Python
        at += size
    return tuple(entries), at


def _membership(data: bytes) -> Membership:
    """Only in the one form that `Membership.encode` gives: what is decided is the bytes."""
    try:
        membership = Membership.decode(data)
        if membership.encode() == data:
            return membership
    except (MembershipInvalid, UnicodeError):
        pass
    raise MessageRefused(MessageFault.ENTRIES)


@lru_cache(maxsize=1024)
def _address(cluster_id: str, sender: NodeId, recipient: NodeId) -> bytes:
    """What stands between the kind and the term: the same in every message of two nodes."""
    return cluster_tag(cluster_id) + _text(sender) + _text(recipient)


def _refuse_address(cluster_id: str, body: bytes, sender: NodeId, recipient: NodeId) -> NoReturn:
    """Say what of the address is wrong."""
    if body[2 : _HEAD.size] != cluster_tag(cluster_id):
        raise MessageRefused(MessageFault.CLUSTER)
    said_sender, at = _read_text(body, _HEAD.size)
    if said_sender != sender.encode():
        raise MessageRefused(MessageFault.SENDER)
    said_recipient, _ = _read_text(body, at)
    assert said_recipient != recipient.encode()
    raise MessageRefused(MessageFault.RECIPIENT)


def _text(text: str) -> bytes:
    raw = text.encode()
    return _SIZE.pack(len(raw)) + raw


def _read_text(body: bytes, at: int) -> tuple[bytes, int]:
    if len(body) - at < _SIZE.size:
        raise MessageRefused(MessageFault.TRUNCATED)
    (size,) = _SIZE.unpack_from(body, at)
    at += _SIZE.size
    if size > len(body) - at:
        raise MessageRefused(MessageFault.TRUNCATED)
    return body[at : at + size], at + size
