"""Commands as bytes: fixed for ever, and garbage is a refusal on every replica alike."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kv_lab import ANNA, Lab

from consensus.kv import (
    Expiry,
    Kind,
    KvStore,
    Refusal,
    Request,
    SessionRef,
    What,
    decode,
    encode_acquire,
    encode_batch,
    encode_compare_set,
    encode_complete,
    encode_delete,
    encode_end_session,
    encode_expire,
    encode_keep_alive,
    encode_put,
    encode_register,
    encode_release,
    encode_renew,
    put,
)
from consensus.kv.model import MAX_EXPIRIES, MAX_OPS

REF = SessionRef(ANNA, 7, 3, 2)
VECTORS = [
    (encode_register(ANNA, 5000), [1, 1, ANNA, 5000]),
    (encode_keep_alive(ANNA, 7), [1, 2, ANNA, 7]),
    (encode_end_session(ANNA, 7), [1, 3, ANNA, 7]),
    (encode_expire([Expiry(What.LOCK, "l", 9)]), [1, 4, [["lock", "l", 9]]]),
    (encode_batch([put("k", b"v")], REF), [1, 5, [ANNA, 7, 3, 2], [[16, "k", b"v", None]]]),
    (encode_put("k", b"v", ttl_ms=9, session=REF), [1, 16, [ANNA, 7, 3, 2], "k", b"v", 9]),
    (encode_delete("k", version=4), [1, 17, None, "k", 4]),
    (encode_compare_set("k", b"o", b"v"), [1, 18, None, "k", b"o", b"v", None]),
    (encode_acquire("l", "anna", 500, tied=True), [1, 19, None, "l", "anna", 500, True]),
    (encode_renew("l", 9, 500), [1, 20, None, "l", 9, 500]),
    (encode_release("l", 9), [1, 21, None, "l", 9]),
    (encode_complete("l", 9, b"v"), [1, 22, None, "l", 9, b"v"]),
]


@pytest.mark.parametrize(("data", "row"), VECTORS)
def test_the_bytes_of_a_command_stay_what_they_are(data: bytes, row: list[Any]) -> None:
    assert data == msgpack.packb(row)
    request = decode(data)
    assert isinstance(request, Request)
    assert request.kind == row[1]


def test_every_kind_has_a_vector() -> None:
    assert {row[1] for _, row in VECTORS} == {int(kind) for kind in Kind}


@pytest.mark.parametrize(
    ("row", "refusal"),
    [
        ([2, 16, None, "k", b"v", None], Refusal.UNKNOWN_VERSION),
        ([0, 16], Refusal.UNKNOWN_VERSION),
        ([1, 6], Refusal.UNKNOWN_KIND),
        ([1, 23, None], Refusal.UNKNOWN_KIND),
        ([1, 5, None, [[16, "k", b"v", None], [23]]], Refusal.UNKNOWN_KIND),
    ],
)
def test_what_a_newer_node_wrote_stops_this_one_and_changes_nothing(
    row: list[Any], refusal: Refusal
) -> None:
    lab = Lab()
    lab.put("a")
    before = lab.store.digest()
    reply = lab.store.apply(2, 99_999, msgpack.packb(row))
    assert (reply.refusal, reply.needs_upgrade, reply.results) == (refusal, True, ())
    assert lab.store.digest() == before
    assert (lab.store.index, lab.store.time_ms) == (1, 1000)
    upgraded = lab.store.apply(2, 1000, encode_put("b", b""))  # the same entry, understood
    assert upgraded.refusal is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x90",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 5000,
        encode_put("k", b"v") + b"\x00",
        encode_put("k", b"v")[:-1],
        *map(
            msgpack.packb,
            [
                None,
                {},
                [1],
                [True, 16],
                ["1", 16],
                [1, "16"],
                [1, True],
                [1, 16],
                [1, 16, 5, "k", b"v", None],
                [1, 16, [ANNA, 7, 3], "k", b"v", None],
                [1, 16, [ANNA, 7, 3, -1], "k", b"v", None],
                [1, 16, [5, 7, 3, 2], "k", b"v", None],
                [1, 16, [ANNA, True, 3, 2], "k", b"v", None],
                [1, 5, None],
                [1, 5, None, []],
                [1, 5, None, [[16, "k", b"v", None]] * (MAX_OPS + 1)],
                [1, 5, None, [[1, ANNA, 5000]]],
                [1, 5, None, [[5, None, []]]],
                [1, 4],
                [1, 4, 5],
                [1, 4, [["key", "k", 1]] * (MAX_EXPIRIES + 1)],
                [1, 2, ANNA],
                [1, 3, "short", 7],
                [1, 3, ANNA, -7],
            ],
        ),
    ],
)
def test_what_is_no_command_is_malformed_and_time_still_counts(data: bytes) -> None:
    lab = Lab()
    reply = lab.apply(data)
    assert (reply.refusal, reply.needs_upgrade) == (Refusal.MALFORMED, False)
    assert (lab.store.index, lab.store.time_ms, len(lab.store)) == (1, 1000, 0)


def test_malformed_operations_of_a_batch_fail_alone() -> None:
    lab = Lab()
    bad: list[Any] = [
        5,
        [],
        ["16"],
        [16],
        [16, "k", "text", None],
        [16, b"k", b"v", None],
        [16, "k", b"v", 1.5],
        [16, "k", b"v", True],
        [17, "k"],
        [17, "k", "1"],
        [18, "k", 1.5, b"v", None],
        [18, "k", b"v", None],
        [19, "l", "anna", 1000],
        [19, "l", "anna", 1000, 1],
        [19, "l", "anna", "1000", False],
        [19, "l", 5, 1000, False],
        [20, "l", 1],
        [20, "l", 1, None],
        [20, "l", "1", 1000],
        [21, "l"],
        [21, 5, 1],
        [22, "l", 1],
        [22, "l", 1, "text"],
        [22, "l", -1, b"v"],
    ]
    reply = lab.apply(msgpack.packb([1, 5, None, [*bad, [16, "good", b"", None]]]))
    assert [r.refusal for r in reply.results] == [Refusal.MALFORMED] * len(bad) + [None]
    assert [listed.key for listed in lab.store.list()] == ["good"]


def test_malformed_expiries_fail_alone() -> None:
    lab = Lab()
    items = [5, [], ["key", "k"], ["odd", "k", 1], ["key", 5, 1], ["key", "k", -1], [None, "k", 1]]
    reply = lab.apply(msgpack.packb([1, 4, items]))
    assert [r.refusal for r in reply.results] == [Refusal.MALFORMED] * len(items)


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.sampled_from([ANNA, "key", "lock", "session", "k"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=12,
)
kinds = st.sampled_from([int(kind) for kind in Kind])


@given(st.lists(st.tuples(kinds, st.lists(junk, max_size=5)), max_size=5), st.binary(max_size=40))
def test_no_bytes_make_apply_raise_and_replicas_agree(
    rows: list[tuple[int, list[Any]]], raw: bytes
) -> None:
    stores = KvStore(), KvStore()
    commands = [raw, *(msgpack.packb([1, kind, *rest]) for kind, rest in rows)]
    commands += [msgpack.packb([1, 5, None, [[kind, *rest] for kind, rest in rows]])]
    for index, command in enumerate(commands, 1):
        first, second = (store.apply(index, 5, command) for store in stores)
        assert first == second
        stores[0].check_invariants()
    assert stores[0].digest() == stores[1].digest()


@given(st.integers(0, len(VECTORS) - 1), st.integers(0, 80), st.integers(0, 255))
def test_no_changed_byte_makes_apply_raise(number: int, place: int, value: int) -> None:
    data = bytearray(VECTORS[number][0])
    data[place % len(data)] = value
    store = KvStore()
    store.apply(1, 0, encode_register(ANNA, 5000))
    store.apply(2, 0, bytes(data))
    store.check_invariants()
