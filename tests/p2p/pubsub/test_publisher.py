"""What a publisher remembers."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from keys import Above, NetworkId, PeerId, Principal, Role, permissions_of
from p2p.pubsub.publisher import Only, Publisher, Restricted


def member(name: str, roles: Role = Role.SERVICE) -> Principal:
    return Principal(
        PeerId(name[0] * 32),
        name,
        bytes(32),
        roles,
        permissions_of(roles),
        (),
        b"",
        b"",
        2**60,
        Above(NetworkId("n" * 32), "lab", b"", b""),
    )


def publish(publisher: Publisher, topic: str, *payloads: bytes) -> int:
    run = publisher.open(topic, b"")
    run.items.extend(payloads)
    run.size_bytes = sum(map(len, payloads))
    epoch = publisher.close(run)
    publisher.check_invariants()
    return epoch


def test_each_topic_counts_from_one() -> None:
    publisher = Publisher(100)
    publish(publisher, "a", b"1", b"2")
    publish(publisher, "b", b"x")
    assert publisher.head("a") == (100, 2)
    assert publisher.head("b") == (100, 1)
    assert publisher.head("c") == (0, 0)


def test_a_range_is_read_across_runs() -> None:
    publisher = Publisher(1)
    publish(publisher, "a", b"1", b"2", b"3")
    publish(publisher, "a", b"4", b"5", b"6")
    assert publisher.read("a", 2, 5) == ([b"2", b"3", b"4", b"5"], 2)
    assert publisher.read("a", 6, 99) == ([b"6"], 6)
    assert publisher.read("a", 7, 99) == ([], 7)


def test_old_messages_give_way_and_the_reader_is_told_where_the_rest_begins() -> None:
    publisher = Publisher(1, messages=3)
    for n in range(1, 11):
        publish(publisher, "a", b"%d" % n)
    assert publisher.read("a", 1, 99) == ([b"8", b"9", b"10"], 8)


def test_a_message_over_the_bytes_of_its_topic_is_not_kept() -> None:
    publisher = Publisher(1, bytes_=4)
    publish(publisher, "a", b"12345")
    assert publisher.read("a", 1, 1) == ([], 2)
    publisher.keep("a", 10, 100)
    publish(publisher, "a", b"12345")
    assert publisher.read("a", 1, 9) == ([b"12345"], 2)


def test_a_forgotten_topic_comes_back_in_a_later_epoch() -> None:
    publisher = Publisher(50, topics=2)
    assert publish(publisher, "a", b"1", b"2") == 50
    publish(publisher, "b", b"")
    publish(publisher, "c", b"")
    assert publish(publisher, "a", b"3") > 50
    assert publisher.head("a")[1] == 1


def test_the_subtree_lists_what_is_below_it() -> None:
    publisher = Publisher(1)
    for topic in ("t/2", "t/1/x", "tt", "t"):
        publish(publisher, topic, b"")
    assert list(publisher.below("t/")) == ["t/1/x", "t/2"]


def test_it_is_remembered_who_may_read_the_last_restricted_messages() -> None:
    counts: Counter[str] = Counter()
    publisher = Publisher(1, counts=counts)
    ada, eve, oz = member("ada"), member("eve"), member("oz", Role.OBSERVER)

    def restricted(only: Only) -> None:
        run = publisher.open("a", b"")
        run.items.append(Restricted(b"", only))
        publisher.close(run)

    assert publisher.restricted("a", ada) == 0
    restricted(lambda who: who.name == "ada")
    publish(publisher, "a", b"for all")
    restricted(lambda who: who.name == "eve")
    restricted(lambda who: who.name != "oz")
    assert publisher.restricted("a", ada) == 4
    assert publisher.restricted("a", ada, below=4) == 1
    assert publisher.restricted("a", eve, below=4) == 3
    assert publisher.restricted("a", oz) == 0
    restricted(lambda who: bool(1 // 0))
    assert publisher.restricted("a", eve) == 4
    assert counts["predicates_failed"] == 1


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.lists(st.binary(max_size=30), min_size=1)),
        max_size=60,
    ),
    st.integers(1, 6),
    st.integers(1, 20),
    st.integers(1, 100),
    st.integers(1, 200),
)
def test_the_last_messages_are_kept_within_all_bounds(
    runs: list[tuple[str, list[bytes]]], topics: int, messages: int, bytes_: int, total: int
) -> None:
    publisher = Publisher(1, topics=topics, messages=messages, bytes_=bytes_, total_bytes=total)
    said: dict[tuple[str, int], list[bytes]] = {}
    for topic, payloads in runs:
        epoch = publish(publisher, topic, *payloads)
        said.setdefault((topic, epoch), []).extend(payloads)
        _, head = publisher.head(topic)
        assert head == len(said[topic, epoch])
        found, first = publisher.read(topic, 1, head)
        assert found == said[topic, epoch][first - 1 :]
