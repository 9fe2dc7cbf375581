"""Keys in order: like a sorted list, with buckets small enough to split in a test."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.kv import sorted_keys
from consensus.kv.sorted_keys import SortedKeys

keys = st.text(alphabet="ab\u00e9\U0001f600", min_size=1, max_size=4)


@pytest.fixture(autouse=True, scope="module")
def small_buckets():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_keys, "MAX_BUCKET", 4)
        yield


@given(st.lists(st.tuples(st.booleans(), keys), max_size=80), keys, st.booleans())
def test_it_is_like_a_sorted_list(moves: list[tuple[bool, str]], first: str, after: bool) -> None:
    ours, plain = SortedKeys(), set[str]()
    for add, key in moves:
        if add and key not in plain:
            ours.add(key)
            plain.add(key)
        elif not add and key in plain:
            ours.remove(key)
            plain.remove(key)
        ours.check()
    assert list(ours) == sorted(plain)
    assert len(ours) == len(plain)
    wanted = [key for key in sorted(plain) if key > first or (key == first and not after)]
    assert list(ours.from_(first, after=after)) == wanted


def test_order_is_that_of_the_utf_8_bytes() -> None:
    ours = SortedKeys()
    names = ["\uffff", "\U00010000", "z", "\u00e9", "a"]
    for name in names:
        ours.add(name)
    assert list(ours) == sorted(names, key=str.encode)


def test_a_walk_reads_no_more_than_it_is_asked_for() -> None:
    ours = SortedKeys()
    for number in range(100):
        ours.add(f"{number:03}")
    assert list(islice(ours.from_("050"), 2)) == ["050", "051"]
