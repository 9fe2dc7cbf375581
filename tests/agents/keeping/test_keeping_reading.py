"""Reading one replica's store: pages that fit into an answer, feeds, ages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.keeping import reading
from agents.keeping.wire import MAX_ANSWER_BYTES, What
from consensus import Role, Status
from consensus.kv import Changes, FeedCompacted, KvStore, encode_batch, encode_put, put

FOLLOWER = Status("a", Role.FOLLOWER, 1, "b", 5, 5, 5, ("a", "b", "c"))


def store_of(values: dict[str, bytes]) -> KvStore:
    kv = KvStore()
    for index, (key, value) in enumerate(values.items(), start=1):
        kv.apply(index, 0, encode_put(key, value))
    return kv


def test_pages_cover_every_key_once_and_fit_into_an_answer() -> None:
    values = {f"k/{n:03}": b"x" * 100_000 for n in range(40)}
    kv = store_of(values)
    seen: list[str] = []
    after, has_more = None, True
    while has_more:
        rows, has_more = reading.answer(kv, What.LIST, ["k/", after, 1000])
        assert sum(len(row[1][0]) for row in rows) <= MAX_ANSWER_BYTES
        seen += [key for key, _ in rows]
        after = seen[-1]
    assert seen == sorted(values)


def test_a_feed_is_cut_between_commands_only() -> None:
    kv = KvStore()
    for index in range(1, 11):
        kv.apply(index, 0, encode_batch([put(f"{index}/{n}", b"x" * 50_000) for n in range(5)]))
    told: list[int] = []
    since = 0
    while since < 10:
        found = reading.changes(kv, "", since)
        assert isinstance(found, Changes)
        assert sum(len(change.value or b"") for change in found.changes) <= MAX_ANSWER_BYTES
        assert found.changes[-1].log_index == found.through
        told += [change.log_index for change in found.changes]
        since = found.through
    assert told == [index for index in range(1, 11) for _ in range(5)]


def test_a_command_that_is_over_the_limit_alone_is_given_whole() -> None:
    kv = KvStore()
    kv.apply(1, 0, encode_batch([put(str(n), b"x" * 200_000) for n in range(6)]))
    kv.apply(2, 0, encode_put("last", b""))
    found = reading.changes(kv, "", 0)
    assert isinstance(found, Changes)
    assert (len(found.changes), found.through) == (6, 1)


def test_a_feed_that_does_not_reach_back_says_so() -> None:
    kv = store_of({"a": b"1"})
    kv.restore(list(kv.snapshot()))
    assert isinstance(reading.changes(kv, "", 0), FeedCompacted)


def test_nobody_is_younger_than_a_leader_that_may_be_deposed() -> None:
    assert reading.DEPOSED_MS >= 1600
    assert reading.age_ms(replace(FOLLOWER, role=Role.LEADER), 9000, leads=True) == (
        reading.DEPOSED_MS
    )
    assert reading.age_ms(replace(FOLLOWER, role=Role.LEADER), 9000, leads=False) is None
    assert reading.age_ms(FOLLOWER, 9000, leads=False) is None
    fresh = replace(FOLLOWER, fresh_ms=8900)
    assert reading.age_ms(fresh, 9000, leads=False) == 100 + reading.DEPOSED_MS


@pytest.mark.parametrize(
    ("what", "arguments"),
    [(What.GET, []), (What.GET, [3]), (What.LIST, ["a"]), (What.LOCK, ["a", None, 1])],
)
def test_a_question_that_is_none_is_refused(what: What, arguments: list[object]) -> None:
    with pytest.raises(ValueError, match="not the arguments"):
        reading.answer(KvStore(), what, arguments)
