"""Snapshots: equal stores give equal bytes, and damage never gets in."""

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kv_histories import LIMITS, History
from kv_lab import ANNA, BEN, Lab, restored
from kv_model import Model

from consensus import SnapshotInvalid as AnySnapshotInvalid
from consensus.kv import (
    FeedCompacted,
    KvStore,
    Limits,
    SessionRef,
    SnapshotFault,
    SnapshotInvalid,
    StoreChanged,
    acquire,
    encode,
    encode_put,
    put,
)
from consensus.kv.framed import CHUNK_BYTES


def played(seed: int, steps: int = 120) -> KvStore:
    store, model, history = KvStore(LIMITS), Model(LIMITS), History(random.Random(seed))
    for _ in range(steps):
        command = history.next(model)
        model.begin(history.index, history.now_ms)
        getattr(model, command.method)(*command.args)
        history.heard(command, store.apply(history.index, history.now_ms, command.data))
    return store


def rich() -> Lab:
    """A store with everything that can be in a snapshot."""
    lab = Lab()
    number = lab.register(ANNA)
    lab.register(BEN)
    lab.do(put("k", b"v", ttl_ms=500), SessionRef(ANNA, number, 1))
    lab.do(acquire("tied", "anna", 5000, tied=True), SessionRef(ANNA, number, 3, 1))
    lab.put("other", bytes(5000))
    lab.taken("lock")
    lab.release(lab.taken("free"), "free")
    return lab


def body(store: KvStore) -> bytes:
    return b"".join(store.snapshot())


def records(data: bytes) -> list[Any]:
    unpacker = msgpack.Unpacker(raw=False)
    unpacker.feed(data[:-34])
    return list(unpacker)


def sealed(rows: list[Any]) -> bytes:
    """Rows as bytes, with a checksum that fits."""
    raw = b"".join(msgpack.packb(row) for row in rows)
    return raw + msgpack.packb(hashlib.blake2b(raw, digest_size=32).digest())


def fault_of(data: bytes, limits: Limits | None = None) -> SnapshotFault | None:
    try:
        KvStore(limits).restore([data])
    except SnapshotInvalid as invalid:
        return invalid.fault
    return None


@pytest.mark.parametrize("seed", range(10))
def test_a_restored_store_gives_the_same_chunks(seed: int) -> None:
    store = played(seed)
    other = restored(store)
    assert list(other.snapshot()) == list(store.snapshot())
    assert other.digest() == store.digest() == body(store)[-32:]


def test_stores_that_differ_give_different_digests() -> None:
    digests = {played(0, steps).digest() for steps in range(40)}
    assert len(digests) == 40


@given(st.lists(st.integers(0, 9000), max_size=5))
def test_a_snapshot_may_be_cut_anywhere(cuts: list[int]) -> None:
    store = rich().store
    data = body(store)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    other = KvStore()
    other.restore(data[a:b] for a, b in pairwise(places))
    assert body(other) == data


def test_chunks_are_of_64_kib() -> None:
    lab = Lab()
    for number in range(10):
        lab.put(f"{number}", bytes(20_000))
    sizes = [len(chunk) for chunk in lab.store.snapshot()]
    assert sizes[:-1] == [CHUNK_BYTES] * (len(sizes) - 1)
    assert 0 < sizes[-1] <= CHUNK_BYTES
    assert len(sizes) == 4


def test_nothing_may_be_applied_while_a_snapshot_is_taken() -> None:
    lab = Lab()
    for number in range(10):
        lab.put(f"{number}", bytes(20_000))
    chunks = lab.store.snapshot()
    next(chunks)
    lab.put("k")
    with pytest.raises(StoreChanged, match="from index 10 to 11"):
        list(chunks)


def test_the_feed_begins_at_the_snapshot() -> None:
    lab = rich()
    other = restored(lab.store)
    assert other.changes_since(lab.index - 1) == FeedCompacted(lab.index)
    other.apply(lab.index + 1, 0, encode_put("new", b""))
    changes = other.changes_since(lab.index)
    assert not isinstance(changes, FeedCompacted)
    assert [change.key for change in changes.changes] == ["new"]


def test_a_restore_replaces_everything() -> None:
    lab, other = rich(), rich()
    other.put("only here")
    other.taken("held here")
    other.store.restore(lab.store.snapshot())
    other.store.check_invariants()
    assert body(other.store) == body(lab.store)


def test_a_restore_that_fails_changes_nothing() -> None:
    lab = rich()
    before = body(lab.store), lab.store.changes_since(0)
    with pytest.raises(AnySnapshotInvalid, match="its checksum does not match; fetch another"):
        lab.store.restore([body(Lab().store)[:-1] + b"x"])
    assert (body(lab.store), lab.store.changes_since(0)) == before


def test_every_cut_and_every_changed_byte_is_noticed() -> None:
    data = body(rich().store)
    for end in range(0, len(data), 61):
        assert fault_of(data[:end]) is not None, end
    for place in (*range(700), *range(700, len(data), 97), *range(len(data) - 40, len(data))):
        damaged = bytearray(data)
        damaged[place] ^= 0x41
        assert fault_of(bytes(damaged)) is not None, place
    assert fault_of(data + b"\x00") is not None


def test_faults_have_names() -> None:
    data = body(rich().store)
    header, *rows, end = records(data)
    assert fault_of(data) is None
    assert fault_of(data, Limits(max_keys=7)) is SnapshotFault.LIMITS
    assert fault_of(b"") is SnapshotFault.TRUNCATED
    assert fault_of(data[:-1]) is not None
    assert fault_of(sealed([["other", *header[1:]], end])) is SnapshotFault.FOREIGN
    assert fault_of(sealed([[header[0], 2, *header[2:]], end])) is SnapshotFault.VERSION
    assert fault_of(sealed([header, *rows])) is SnapshotFault.TRUNCATED
    assert fault_of(sealed([header, *rows, end, end])) is SnapshotFault.TRAILING
    assert fault_of(sealed([header, [9], end])) is SnapshotFault.MALFORMED
    assert fault_of(sealed([header, rows[-1], rows[0], end])) is SnapshotFault.MALFORMED
    assert fault_of(b"\xc1" * 99) is SnapshotFault.MALFORMED


Mutation = Callable[[list[Any]], Any]


def _row(tag: int, place: int, value: Any) -> Mutation:
    """Set one field of the first record with this tag."""

    def mutate(rows: list[Any]) -> None:
        next(row for row in rows if row[0] == tag)[place] = value

    return mutate


def _twice(tag: int) -> Mutation:
    def mutate(rows: list[Any]) -> None:
        at = next(n for n, row in enumerate(rows) if row[0] == tag)
        rows.insert(at, rows[at])

    return mutate


@pytest.mark.parametrize(
    "mutate",
    [
        *(_twice(tag) for tag in (1, 2, 3, 4)),
        *(_row("conclave kv", place, value) for place in (2, 3) for value in (-1, 2**63, None)),
        _row("conclave kv", 2, 3),  # younger records
        *(_row(1, place, value) for place in (1, 2) for value in (None, 5)),
        *(_row(1, place, value) for place in (3, 4) for value in (0, True, 99)),
        *(_row(1, 1, value) for value in ("", "x" * 513, "zz")),
        *(_row(1, 5, value) for value in (0, -1, "1", 2**60)),
        *(_row(2, 1, value) for value in ("", "A" * 32, 7)),
        *(_row(2, place, value) for place in (2, 5) for value in (0, 99, None)),
        *(_row(2, place, value) for place in (3, 4) for value in (0, None, 2**60)),
        *(_row(2, 6, value) for value in (-1, None)),
        *(_row(2, 7, value) for value in (None, [1], [[1, 3, []]], [[70, 3, [[None, 0, 0, 0]]]])),
        *(_row(2, 7, [[n, 3, [result]]]) for n, result in ((0, [None, 0, 0, 0]), (1, ["odd"]))),
        *(_row(2, 7, [[1, 3, [[refusal, 0, 0, 0]]]]) for refusal in (5, "unheard of")),
        *(_row(3, place, value) for place in (1, 3) for value in ("", None)),
        *(_row(3, place, value) for place in (2, 4) for value in (0, 2**60, None)),
        *(_row(3, 5, value) for value in ("f" * 32, 5)),
        *(_row(4, 1, value) for value in ("", "lock", None)),
        *(_row(4, 2, value) for value in (0, 99)),
    ],
)
def test_records_that_no_store_would_write_are_refused(mutate: Mutation) -> None:
    rows = records(body(rich().store))
    mutate(rows)
    assert fault_of(sealed(rows)) in (SnapshotFault.MALFORMED, SnapshotFault.INCONSISTENT)


def test_a_snapshot_beyond_its_own_limits_is_refused() -> None:
    lab = rich()
    rows = records(body(lab.store))
    rows[0][4] = [1, 2**20, 9, 9]
    assert fault_of(sealed(rows), Limits(1, 2**20, 9, 9)) is SnapshotFault.INCONSISTENT


@given(st.binary(max_size=300))
def test_random_bytes_are_no_snapshot(data: bytes) -> None:
    assert fault_of(data) is not None


_PLAY = """
import sys
sys.path[:0] = [{folder!r}, {root!r}]
from test_kv_snapshot import played
print([played(seed).digest().hex() for seed in range(5)])
"""


def test_processes_with_other_hash_seeds_come_to_equal_digests() -> None:
    folder = Path(__file__).parent
    code = _PLAY.format(folder=str(folder), root=str(folder.parents[2]))
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1] == f"{[played(seed).digest().hex() for seed in range(5)]}\n"


def _many(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield encode_put(f"key/{number:06}", b"%d" % number, ttl_ms=number + 1)


def test_a_hundred_thousand_keys_go_through_a_snapshot() -> None:
    store = KvStore()
    for index, command in enumerate(_many(100_000), 1):
        store.apply(index, 0, command)
    other = restored(store)
    assert other.digest() == store.digest()
    assert other.list("key/0999", limit=3) == store.list("key/0999", limit=3)
    assert other.expired(50, 100) == store.expired(50, 100)
    assert len(other) == 100_000


def _calls(store: KvStore, command: bytes) -> int:
    """Calls of Python functions that one more command takes."""
    calls = 0

    def count(frame: Any, event: str, arg: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        store.apply(store.index + 1, 0, command)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    "command",
    [
        encode_put("key/new", b"v"),
        encode_put("key/000007", b"v", ttl_ms=10**6),
        encode(("not", "known")),  # refused
        encode(acquire("lock", "anna", 1000)),
    ],
)
def test_the_work_of_a_command_does_not_grow_with_the_keys(command: bytes) -> None:
    counts = []
    for size in (100, 20_000):
        store = KvStore()
        for index, each in enumerate(_many(size), 1):
            store.apply(index, 0, each)
        counts.append(_calls(store, command))
    assert counts[1] <= counts[0] + 10, counts
