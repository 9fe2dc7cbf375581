"""Harnesses for the log and the store: messages, commands, snapshots, files."""

from __future__ import annotations

import hashlib
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
from fuzz_lab import Harness, as_payload
from fuzz_wire import of_value

import consensus.kv as kv
from agents.cluster import Cluster, ClusterDamaged
from agents.electorate import Electorate
from consensus import MembershipInvalid, MessageRefused, SnapshotInvalid
from consensus.codec import decode_message, decode_meta, encode_message, encode_meta
from consensus.kv import snapshot_rows as kv_rows
from consensus.machine import Replica
from consensus.node.peers import parse_address
from consensus.raft import (
    AppendEntries,
    Config,
    Entry,
    EntryKind,
    Heartbeat,
    InstallSnapshot,
    Membership,
    Recovered,
    RequestVote,
    RequestVoteReply,
    SnapshotMeta,
)
from consensus.snapshot_wire import (
    PartStatus,
    SnapshotPart,
    SnapshotPartReply,
    decode_snapshot_frame,
    encode_snapshot_frame,
)
from consensus.storage.snapshot_format import Checker, Damaged, file_pieces
from keys import PeerId
from p2p import PayloadError, decode_payload

A, B = PeerId("a"), PeerId("b")
_MEMBERS = Membership(("a", "b", "c"), ("a", "b", "d"), ("e",), ("d",))
_META = SnapshotMeta(40, 3, _MEMBERS, 12)
_ENTRIES = (
    Entry(8, 3, EntryKind.COMMAND, b"put"),
    Entry(9, 3, EntryKind.MEMBERSHIP, _MEMBERS.encode()),
)
_RAFT = [
    encode_message("lan", message)
    for message in (
        RequestVote(A, B, 3, 7, 2, True, 1),
        RequestVoteReply(A, B, 3, True, 5, 2),
        AppendEntries(A, B, 3, 7, 2, 6, _ENTRIES, 1),
        Heartbeat(A, B, 3, 6, 1, 9, 6, 1000),
        InstallSnapshot(A, B, 3, _META, 1),
    )
]
_PARTS = [
    encode_snapshot_frame("lan", SnapshotPart(A, B, 3, 5, _META, 100, 10, b"x" * 20)),
    encode_snapshot_frame("lan", SnapshotPartReply(A, B, 5, 30, PartStatus.GO_ON)),
]


def _checksum(data: bytes) -> bytes:
    body = data[:-4]
    return body + struct.pack(">I", zlib.crc32(body))


def _membership(data: bytes) -> None:
    Membership.decode(data)
    Electorate().learn_from_wire([1, "0" * 32, 5, data])


def _learn(value: Any) -> None:
    Electorate().learn_from_wire(value, Cluster(1, "0" * 32))


# -- snapshots of the machines: records, and a digest of them at the end -------------------------


def digested(data: bytes) -> bytes:
    """Whose digest fits again."""
    body = data[:-34]
    return body + as_payload(hashlib.blake2b(body, digest_size=32).digest())


def records_of(chunks: Iterable[bytes]) -> bytes:
    unpacker = msgpack.Unpacker(raw=False)
    unpacker.feed(b"".join(chunks)[:-34])
    return as_payload(list(unpacker))


def of_records(restore: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Mutations are of the records, and the digest always fits."""

    def decode(data: bytes) -> None:
        value = decode_payload(data)
        if isinstance(value, list):
            restore(digested(b"".join(map(as_payload, value)) + bytes(34)))

    return decode


# -- the store ----------------------------------------------------------------------------------

_SESSION = kv.SessionRef(kv.ClientId("client"), 1, 1, 0)
_KV = [
    kv.encode_register(kv.ClientId("client"), 10_000),
    kv.encode_put("key", b"value", ttl_ms=5000, session=_SESSION),
    kv.encode_put("other", b"value"),
    kv.encode_acquire("lock", "me", 5000),
    kv.encode_renew("lock", 4, 5000),
    kv.encode_compare_set("key", 2, b"new"),
    kv.encode_batch([kv.put("a", b"1"), kv.delete("b")]),
    kv.encode_expire([kv.Expiry(kv.What.KEY, "key", 2)]),
    kv.encode_delete("other"),
    kv.encode_release("lock", 4),
    kv.encode_keep_alive(kv.ClientId("client"), 1),
]


def _kv_command(data: bytes) -> None:
    store = kv.KvStore()
    for number, command in enumerate((_KV[0], _KV[1], _KV[3], data, data), 1):
        store.apply(number, 1000 * number, command)
    store.check_invariants()


def _kv_store() -> kv.KvStore:
    store = kv.KvStore()
    for number, command in enumerate(_KV[:7], 1):
        store.apply(number, 1000 * number, command)
    return store


def _kv_snapshot(data: bytes) -> None:
    store = kv.KvStore()
    store.restore([data])
    store.check_invariants()


# -- snapshot files -----------------------------------------------------------------------------


def _snapshot_file(data: bytes) -> None:
    checker = Checker()
    for start in range(0, len(data), 50):
        checker.feed(data[start : start + 50])
    checker.finish()


_FILE = b"".join(file_pieces("lan", _META, [b"body" * 30]))


def _rehashed(data: bytes) -> bytes:
    body = data[:-32]
    return body + hashlib.blake2b(body, digest_size=32).digest()


class _Machine:
    def apply(self, entries: Any) -> Any:
        return [None for _ in entries]

    def snapshot(self) -> Any:
        return iter([b"one", b"two"])

    def restore(self, chunks: Any) -> None:
        for _ in chunks:
            pass


def _replica() -> Replica:
    config = Config("a", "lan")
    return Replica(_Machine(), config, Recovered(), snapshot_entries=5, max_bytes=1000)


_COUNTERS = struct.pack(">BQQ", 1, 5, 6)
_BODY = len(_COUNTERS).to_bytes(4, "big") + _COUNTERS + b"\0\0\0\x03one\0\0\0\x03two"


def _body(data: bytes) -> None:
    _replica().restore(_META, [data[start : start + 9] for start in range(0, len(data), 9)])


# -- files --------------------------------------------------------------------------------------

_KEPT = tempfile.TemporaryDirectory(prefix="fuzz-raft-")
_HOME = Path(_KEPT.name)
(_HOME / "raft").mkdir(mode=0o700)
_CLUSTER = Cluster(1, "0" * 32)
_CLUSTER.save(_HOME)
_FOLLOWED = next((_HOME / "raft").iterdir())
_CLUSTER_SEED = _FOLLOWED.read_bytes()


def _cluster(data: bytes) -> None:
    _FOLLOWED.write_bytes(data)
    Cluster.load(_HOME)


HARNESSES = [
    Harness(
        "raft-message",
        lambda data: decode_message("lan", data, sender="a", recipient="b"),
        _RAFT,
        (MessageRefused,),
        ("consensus.codec:decode_message",),
        mend=_checksum,
    ),
    Harness(
        "snapshot-part",
        lambda data: decode_snapshot_frame("lan", data, sender="a", recipient="b"),
        _PARTS,
        (MessageRefused,),
        ("consensus.snapshot_wire:decode_snapshot_frame",),
        mend=_checksum,
    ),
    Harness(
        "snapshot-meta",
        decode_meta,
        [encode_meta(_META)],
        (MessageRefused,),
        ("consensus.codec:decode_meta",),
    ),
    Harness(
        "membership",
        _membership,
        [_MEMBERS.encode(), b'[1,["a"],[],[],[]]'],
        (MembershipInvalid,),
        ("consensus.raft.membership:Membership.decode",),
        is_text=True,
    ),
    Harness(
        "electorate",
        of_value(_learn),
        [as_payload([2, "1" * 32, 5, _MEMBERS.encode()])],
        (PayloadError,),
        ("agents.electorate:Electorate.learn_from_wire",),
    ),
    Harness("kv-command", _kv_command, _KV, (), ("consensus.kv.commands:decode",)),
    Harness(
        "kv-rows",
        of_value(
            *(
                lambda value, parse=parse: parse(value, 50) if isinstance(value, list) else None
                for parse in (
                    kv_rows.parse_entry,
                    kv_rows.parse_lock,
                    kv_rows.parse_free,
                    kv_rows.parse_session,
                )
            )
        ),
        [
            as_payload(["key", b"v", 5, 3, 1000]),
            as_payload(["lock", 5, "me", 1000, "client"]),
            as_payload(["lock", 5]),
            as_payload(["client", 1, 10_000, 20_000, 5, 1, [[2, 5, [[None, 1, 2, 3]]]]]),
        ],
        (PayloadError,),
        tuple(
            f"consensus.kv.snapshot_rows:parse_{x}" for x in ("entry", "lock", "free", "session")
        ),
    ),
    Harness(
        "kv-snapshot",
        _kv_snapshot,
        [b"".join(_kv_store().snapshot())],
        (SnapshotInvalid,),
        mend=digested,
    ),
    Harness(
        "kv-snapshot-records",
        of_records(_kv_snapshot),
        [records_of(_kv_store().snapshot())],
        (SnapshotInvalid, PayloadError),
    ),
    Harness("snapshot-file", _snapshot_file, [_FILE], (Damaged,), mend=_rehashed),
    Harness("replica-body", _body, [_BODY], (SnapshotInvalid,)),
    Harness(
        "cluster-file",
        _cluster,
        [_CLUSTER_SEED],
        (ClusterDamaged,),
        ("agents.cluster:Cluster.load",),
        is_text=True,
    ),
    Harness(
        "address",
        lambda data: parse_address(data.decode("utf-8", "replace")),
        [b"127.0.0.1:4747"],
        (ValueError,),
        ("consensus.node.peers:parse_address",),
        is_text=True,
    ),
]
