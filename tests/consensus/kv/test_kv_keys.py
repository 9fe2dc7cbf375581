"""Keys: what each operation does, every reason to refuse it, listing, running out."""

import pytest
from kv_lab import SMALL, Lab

from consensus.kv import (
    Cause,
    Change,
    Changes,
    Expiry,
    FeedCompacted,
    Limits,
    Refusal,
    Result,
    What,
    compare_set,
    delete,
    put,
)
from consensus.kv.model import MAX_DURATION_MS, MAX_VALUE_BYTES


def test_a_key_carries_the_indexes_of_its_making_and_its_last_change() -> None:
    lab = Lab()
    assert lab.put("k", b"one") == Result(None, version=1)
    assert lab.put("k", b"two") == Result(None, version=2)
    entry = lab.store.get("k")
    assert entry is not None
    assert (entry.value, entry.version, entry.modified_index, entry.created_index) == (
        b"two",
        2,
        2,
        1,
    )
    assert lab.store.get("other") is None


def test_a_key_is_removed_and_made_anew() -> None:
    lab = Lab()
    lab.put("k")
    assert lab.delete("k") == Result(None)
    assert lab.delete("k").refusal is Refusal.NOT_FOUND
    lab.put("k")
    entry = lab.store.get("k")
    assert entry is not None
    assert entry.created_index == 4


def test_a_removal_can_ask_for_a_version() -> None:
    lab = Lab()
    lab.put("k")
    assert lab.delete("k", version=7) == Result(Refusal.VERSION_MISMATCH, version=1)
    assert lab.delete("k", version=1).accepted


def test_compare_and_set_by_version() -> None:
    lab = Lab()
    assert lab.compare_set("k", 1).refusal is Refusal.NOT_FOUND
    version = lab.put("k").version
    assert lab.compare_set("k", version + 1) == Result(Refusal.VERSION_MISMATCH, version)
    assert lab.compare_set("k", version).accepted
    assert lab.compare_set("k", version).refusal is Refusal.VERSION_MISMATCH


def test_compare_and_set_by_value() -> None:
    lab = Lab()
    assert lab.compare_set("k", b"").refusal is Refusal.NOT_FOUND
    version = lab.put("k", b"old").version
    assert lab.compare_set("k", b"other") == Result(Refusal.VALUE_MISMATCH, version)
    assert lab.compare_set("k", b"old", b"new").accepted
    assert lab.value("k") == b"new"


def test_compare_and_set_where_nothing_may_be() -> None:
    lab = Lab()
    assert lab.compare_set("k", None, b"first").accepted
    assert lab.compare_set("k", None, b"second") == Result(Refusal.EXISTS, version=1)
    assert lab.value("k") == b"first"


def test_operations_of_a_batch_see_those_before_and_fail_alone() -> None:
    lab = Lab()
    results = lab.batch(
        put("k", b"one"),
        compare_set("k", None, b"no"),
        compare_set("k", 1, b"two"),  # the version that this very command gives
        delete("other"),
        compare_set("k", b"two", b"three"),
    )
    assert [result.refusal for result in results] == [
        None,
        Refusal.EXISTS,
        None,
        Refusal.NOT_FOUND,
        None,
    ]
    assert lab.value("k") == b"three"
    assert [result.version for result in results] == [1, 1, 1, 0, 1]


def test_names_and_values_have_bounds() -> None:
    lab = Lab()
    assert lab.put("\u00e9" * 256).accepted
    assert lab.put("\u00e9" * 256 + "a").refusal is Refusal.KEY_INVALID
    assert lab.put("").refusal is Refusal.KEY_INVALID
    assert lab.delete("").refusal is Refusal.KEY_INVALID
    assert lab.put("k", bytes(MAX_VALUE_BYTES)).accepted
    assert lab.put("k", bytes(MAX_VALUE_BYTES + 1)).refusal is Refusal.VALUE_TOO_LARGE
    assert lab.put("k", b"", ttl_ms=0).refusal is Refusal.OUT_OF_RANGE
    assert lab.put("k", b"", ttl_ms=MAX_DURATION_MS + 1).refusal is Refusal.OUT_OF_RANGE


def test_the_store_is_bounded_by_keys() -> None:
    lab = Lab(SMALL)
    for key in "abcd":
        lab.put(key)
    assert lab.put("e").refusal is Refusal.TOO_MANY_KEYS
    assert lab.put("a", b"still possible").accepted
    lab.delete("b")
    assert lab.put("e").accepted


def test_the_store_is_bounded_by_bytes() -> None:
    lab = Lab(SMALL)
    assert lab.put("\u00e9", bytes(98)).accepted
    assert lab.store.total_bytes == 100
    assert lab.put("b", b"").refusal is Refusal.STORE_FULL
    assert lab.put("\u00e9", bytes(99)) == Result(Refusal.STORE_FULL, version=1)
    assert lab.put("\u00e9", bytes(50)).accepted
    assert lab.put("b", bytes(47)).accepted
    assert lab.store.total_bytes == 100


def test_a_key_runs_out_by_decision_only() -> None:
    lab = Lab()
    assert lab.put("k", b"v", ttl_ms=500) == Result(None, version=1, deadline_ms=1500)
    lab.now_ms = 9000
    lab.put("other")
    assert lab.value("k") == b"v"
    assert lab.store.expired(9000) == [Expiry(What.KEY, "k", 1)]
    assert lab.expire_all() == (None,)
    assert lab.value("k") is None
    assert lab.store.expired(9000) == []


def test_an_expiry_is_judged_again_when_it_is_applied() -> None:
    lab = Lab()
    lab.put("k", b"v", ttl_ms=500)
    due = Expiry(What.KEY, "k", 1)
    assert lab.expire(due) == (Refusal.NOT_DUE,)
    lab.put("k", b"again", ttl_ms=500)
    lab.now_ms = 1500
    assert lab.expire(due, Expiry(What.KEY, "none", 1)) == (Refusal.NOT_FOUND,) * 2
    assert lab.value("k") == b"again"
    assert lab.expire(Expiry(What.KEY, "k", 3)) == (None,)


def test_a_plain_put_takes_the_deadline_away() -> None:
    lab = Lab()
    lab.put("k", b"v", ttl_ms=500)
    lab.put("k", b"v")
    assert lab.store.expired(10**9) == []
    assert lab.store.next_deadline_ms() is None


def test_what_runs_out_is_given_earliest_first_and_paged() -> None:
    lab = Lab()
    for key, ttl_ms in (("b", 300), ("a", 300), ("c", 100), ("d", 400)):
        lab.put(key, b"", ttl_ms=ttl_ms)
    assert lab.store.next_deadline_ms() == 1100
    assert [item.name for item in lab.store.expired(1300, 2)] == ["c", "a"]
    assert [item.name for item in lab.store.expired(1300, 9)] == ["c", "a", "b"]
    assert [item.name for item in lab.store.expired(1399)] == ["c", "a", "b"]


def test_ledger_time_never_goes_back() -> None:
    lab = Lab()
    lab.put("a")
    lab.now_ms = 10
    assert lab.put("k", b"v", ttl_ms=5).deadline_ms == 1005
    lab.now_ms = 2**60  # no reading of any clock
    assert lab.put("k", b"v", ttl_ms=5).deadline_ms == 1005
    lab.now_ms = -5
    lab.put("k")
    assert lab.store.time_ms == 1000


def test_keys_are_listed_by_prefix_in_pages() -> None:
    lab = Lab()
    for key in ("b/2", "a", "b/1", "b", "c", "b/3"):
        lab.put(key, key.encode())
    names = [listed.key for listed in lab.store.list("b/")]
    assert names == ["b/1", "b/2", "b/3"]
    assert [x.key for x in lab.store.list("b/", limit=2)] == ["b/1", "b/2"]
    assert [x.key for x in lab.store.list("b/", after="b/2")] == ["b/3"]
    assert [x.key for x in lab.store.list("b/", after="a")] == names
    assert [x.key for x in lab.store.list("b/", after="c")] == []
    assert [x.key for x in lab.store.list()] == ["a", "b", "b/1", "b/2", "b/3", "c"]
    assert lab.store.list("b/", limit=0) == lab.store.list("b/", limit=-1) == []
    assert lab.store.list("a")[0].entry == lab.store.get("a")


def test_watchers_see_every_change_and_its_cause() -> None:
    lab = Lab()
    lab.put("k", b"v", ttl_ms=1)
    lab.now_ms = 5000
    lab.expire_all()
    lab.batch(put("k", b"w"), delete("k"), put("x", b""))
    assert lab.store.changes_since(0, prefix="k") == Changes(
        (
            Change(1, Cause.PUT, "k", b"v"),
            Change(2, Cause.EXPIRED, "k", None),
            Change(3, Cause.PUT, "k", b"w"),
            Change(3, Cause.DELETED, "k", None),
        ),
        3,
    )
    assert lab.store.changes_since(2, key="x") == Changes((Change(3, Cause.PUT, "x", b""),), 3)
    assert lab.store.changes_since(3) == Changes((), 3)


def test_a_watcher_who_is_too_late_is_told_where_to_begin() -> None:
    lab = Lab(feed_changes=2)
    for _ in range(3):
        lab.put("k")
    assert lab.store.changes_since(0) == FeedCompacted(1)
    assert isinstance(lab.store.changes_since(1), Changes)


def test_refused_operations_are_counted_and_change_nothing() -> None:
    lab = Lab()
    lab.put("k")
    before = lab.store.get("k"), lab.store.changes_since(0)
    lab.compare_set("k", None)
    lab.delete("other")
    assert (lab.store.get("k"), lab.store.changes_since(0)[:1]) == (before[0], before[1][:1])
    assert lab.store.refused == {Refusal.EXISTS: 1, Refusal.NOT_FOUND: 1}


def test_limits_are_positive() -> None:
    with pytest.raises(AssertionError):
        Limits(max_keys=0)
