"""The feed of changes: bounded, whole commands, nothing missed and nothing twice."""

from hypothesis import given
from hypothesis import strategies as st

from consensus.kv.feed import OVERHEAD_BYTES, Feed
from consensus.kv.model import Cause, Change, Changes, FeedCompacted

commands = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.lists(st.tuples(st.sampled_from(["a", "ab", "b"]), st.sampled_from(Cause)), max_size=4),
    ),
    max_size=30,
)


def change(index: int, key: str, value: bytes | None = b"v") -> Change:
    return Change(index, Cause.PUT if value is not None else Cause.DELETED, key, value)


@given(commands, st.integers(1, 3), st.integers(1, 8), st.sampled_from(["", "a", "b"]))
def test_a_watcher_who_keeps_up_sees_everything_once(
    history: list[tuple[int, list[tuple[str, Cause]]]], limit: int, ring: int, prefix: str
) -> None:
    feed = Feed(ring, 10_000)
    everything: list[Change] = []
    index = 0
    for step, changed in history:
        index += step
        for key, cause in changed:
            everything.append(Change(index, cause, key, b"v" if cause is Cause.PUT else None))
            feed.add(*everything[-1])
        feed.check(index)
    for start in range(index + 2):
        seen, at = [], start
        while True:
            got = feed.since(at, limit, index, prefix=prefix)
            if isinstance(got, FeedCompacted):
                assert at == start < got.first_index
                break
            seen += got.changes
            if not got.changes or got.through == index:
                wanted = [c for c in everything if c.log_index > start and c.key.startswith(prefix)]
                assert seen == wanted
                break
            at = got.through


def test_it_forgets_whole_commands_by_bytes() -> None:
    feed = Feed(100, 3 * (OVERHEAD_BYTES + 5))
    for index in (1, 1, 2):
        feed.add(*change(index, "k"))
    assert feed.since(0, 10, 2) == Changes((change(1, "k"), change(1, "k"), change(2, "k")), 2)
    feed.add(*change(3, "k"))
    assert feed.since(0, 10, 3) == FeedCompacted(1)
    assert feed.since(1, 10, 3) == Changes((change(2, "k"), change(3, "k")), 3)


def test_a_command_larger_than_the_feed_is_not_shown_in_part() -> None:
    feed = Feed(2, 10_000)
    for _ in range(5):
        feed.add(*change(1, "k"))
    assert feed.since(0, 10, 1) == FeedCompacted(1)
    assert feed.since(1, 10, 1) == Changes((), 1)


def test_one_key_is_not_a_prefix() -> None:
    feed = Feed(10, 10_000)
    feed.add(*change(1, "a"))
    feed.add(*change(2, "ab"))
    assert feed.since(0, 10, 2, key="a") == Changes((change(1, "a"),), 2)
    assert feed.since(0, 10, 2, key="") == Changes((), 2)


def test_after_a_restart_the_past_is_compacted() -> None:
    feed = Feed(10, 10_000)
    feed.add(*change(1, "a"))
    feed.restart(7)
    assert feed.since(6, 10, 7) == FeedCompacted(7)
    assert feed.since(7, 10, 7) == Changes((), 7)
