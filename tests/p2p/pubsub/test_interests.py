"""Who listens to what: what is said, how it is read, and who is found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from keys import PeerId
from p2p.pubsub import Interests, decode_interest, encode_interest
from p2p.pubsub.interests import MAX_NAMES
from p2p.pubsub.names import is_below

PEERS = [PeerId(letter * 52) for letter in "abc"]
LEVELS = st.lists(st.sampled_from(["a", "b", "cc"]), min_size=1, max_size=3)
TOPICS = LEVELS.map("/".join)
NAMES = st.frozensets(st.one_of(TOPICS, TOPICS.map(lambda name: name + "/")), max_size=6)


def said(names: frozenset[str]) -> frozenset[str]:
    entry = encode_interest(names)
    return decode_interest(entry) if entry is not None else frozenset()


@given(st.lists(st.tuples(st.sampled_from(PEERS), NAMES), max_size=12), TOPICS)
def test_those_are_found_whose_last_word_has_a_name_that_hears_the_topic(
    words: list[tuple[PeerId, frozenset[str]]], topic: str
) -> None:
    interests, last = Interests(), dict[PeerId, frozenset[str]]()
    for peer_id, names in words:
        interests.take(peer_id, said(names))
        last[peer_id] = names
        interests.check_invariants()
    wanted = {p for p, names in last.items() if any(is_below(topic, name) for name in names)}
    assert interests.listeners(topic) == wanted
    assert bool(interests) == any(last.values())


@given(st.integers(1, 4 * MAX_NAMES), st.booleans())
def test_whoever_listens_to_very_many_is_found_by_more_and_never_by_less(
    count: int, has_levels: bool
) -> None:
    names = frozenset(f"metrics/{n}" if has_levels else f"metrics{n}" for n in range(count))
    interests = Interests()
    interests.take(PEERS[0], said(names))
    assert all(interests.listeners(name) for name in names)
    assert bool(interests.listeners("other")) == (count > MAX_NAMES and not has_levels)


def test_what_is_no_name_is_left_out() -> None:
    assert decode_interest(b"\xc1") == frozenset()
    assert decode_interest(b"\x93\xa3a/b\xa3a\nb\x07") == {"a/b"}
    too_many = encode_interest({f"n{n}" for n in range(MAX_NAMES)})
    assert too_many is not None
    assert len(decode_interest(too_many)) == MAX_NAMES
