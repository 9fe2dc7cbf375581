"""The order of what arrives, whatever the network does to it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keys import PeerId
from p2p.pubsub.incoming import Delivered, Incoming
from p2p.pubsub.line import Items

A = PeerId("a" * 32)
Seen = list[tuple[int, int, bytes]]


def flat(delivered: list[Delivered]) -> Seen:
    """Every message with its number and the gap before it."""
    return [
        (first + at, lost if at == 0 else 0, payload)
        for first, lost, items in delivered
        for at, payload in enumerate(items)
    ]


def run(first: int, last: int) -> Items:
    return [b"%d" % n for n in range(first, last + 1)]


def numbers(delivered: list[Delivered]) -> list[tuple[int, int]]:
    return [(number, lost) for number, lost, _ in flat(delivered)]


def test_what_came_before_the_first_that_was_heard_is_no_gap() -> None:
    assert numbers(Incoming().take(A, "t", 1, 7, run(7, 8))) == [(7, 0), (8, 0)]


def test_a_gap_is_asked_for_and_what_follows_waits_for_it() -> None:
    incoming = Incoming()
    incoming.take(A, "t", 1, 1, run(1, 2))
    assert incoming.take(A, "t", 1, 5, run(5, 6)) == []
    [(sender, line)] = incoming.wants
    assert (sender, line.asked) == (A, (3, 4))
    assert numbers(incoming.repaired(line, 1, 3, run(3, 4))) == [(3, 0), (4, 0)]
    assert numbers(incoming.settled(A, line)) == [(5, 0), (6, 0)]


def test_what_is_no_longer_kept_is_counted_on_the_next_message() -> None:
    incoming = Incoming()
    incoming.take(A, "t", 1, 1, run(1, 1))
    incoming.take(A, "t", 1, 10, run(10, 10))
    line = incoming.line(A, "t")
    assert numbers(incoming.repaired(line, 1, 8, run(8, 9))) == [(8, 6), (9, 0)]
    assert numbers(incoming.settled(A, line)) == [(10, 0)]
    assert incoming.counts["lost"] == 6


def test_without_repair_the_gap_is_counted_at_once() -> None:
    incoming = Incoming(repair=False)
    incoming.take(A, "t", 1, 1, run(1, 1))
    assert numbers(incoming.take(A, "t", 1, 4, run(4, 4))) == [(4, 2)]
    assert not incoming.wants


def test_who_holds_too_much_gives_up() -> None:
    incoming = Incoming(held_messages=4)
    incoming.take(A, "t", 1, 1, run(1, 1))
    assert incoming.take(A, "t", 1, 3, run(3, 6)) == []
    assert numbers(incoming.take(A, "t", 1, 7, run(7, 7)))[0] == (3, 1)
    assert incoming.counts["given_up"] == 1
    line = incoming.line(A, "t")
    assert incoming.repaired(line, 1, 2, run(2, 2)) == []  # too late


def test_a_later_epoch_is_a_new_beginning_and_an_earlier_one_is_dropped() -> None:
    incoming = Incoming()
    incoming.take(A, "t", 5, 1, run(1, 9))
    assert numbers(incoming.take(A, "t", 6, 3, run(3, 3))) == [(3, 0)]
    assert incoming.take(A, "t", 5, 10, run(10, 10)) == []
    assert incoming.counts["stale"] == 1


def test_a_loss_at_the_end_is_found_by_the_head() -> None:
    incoming = Incoming()
    incoming.take(A, "t", 1, 1, run(1, 2))
    line = incoming.heads(A, "t", 1, 4)
    assert line is not None
    incoming.ask_rest(A, line)
    assert incoming.wants == [(A, line)]
    assert line.asked == (3, 4)
    assert numbers(incoming.repaired(line, 1, 3, run(3, 4))) == [(3, 0), (4, 0)]
    assert incoming.settled(A, line) == []
    assert incoming.heads(A, "t", 1, 4) is None


def test_a_head_that_is_heard_first_tells_a_loss_from_a_beginning() -> None:
    incoming = Incoming(repair=False)
    incoming.heads(A, "t", 1, 4)
    assert numbers(incoming.take(A, "t", 1, 7, run(7, 7))) == [(7, 2)]
    late = Incoming(repair=False)
    late.heads(A, "t", 1, 4)
    assert numbers(late.take(A, "t", 1, 3, run(3, 3))) == [(3, 0)]  # it was still under way


def test_replayed_messages_come_before_what_was_published_meanwhile() -> None:
    incoming = Incoming()
    incoming.replaying.add(A)
    assert incoming.take(A, "t", 1, 5, run(5, 6)) == []
    line = incoming.line(A, "t")
    assert numbers(incoming.replayed(line, 1, 3, run(3, 5))) == [(3, 0), (4, 0), (5, 0)]
    incoming.replaying.discard(A)
    assert numbers(incoming.settled(A, line)) == [(6, 0)]


def test_a_restricted_message_that_is_replayed_too_comes_once() -> None:
    incoming = Incoming()
    assert numbers(incoming.take_restricted(A, "other", (1, 9, 0, b"9"))) == [(9, 0)]
    assert incoming.take_restricted(A, "other", (1, 9, 0, b"9")) == []
    incoming.replaying.add(A)
    assert incoming.take_restricted(A, "t", (1, 2, 0, b"2")) == []
    assert incoming.take_restricted(A, "t", (1, 4, 2, b"4")) == []
    incoming.check_invariants()
    line = incoming.line(A, "t")
    assert numbers(incoming.replayed(line, 1, 1, run(1, 3))) == [(1, 0), (2, 0), (3, 0)]
    assert flat(incoming.settled(A, line)) == [(4, 0, b"4")]
    assert numbers(incoming.take(A, "t", 1, 4, [None, b"5"])) == [(5, 0)]


def test_what_was_not_meant_for_us_is_no_gap() -> None:
    incoming = Incoming()
    items: Items = [b"1", None, None, b"4", None]
    assert numbers(incoming.take(A, "t", 1, 1, items)) == [(1, 0), (4, 0)]
    assert numbers(incoming.take(A, "t", 1, 6, run(6, 6))) == [(6, 0)]


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=40),
    st.floats(0, 0.7),
    st.floats(0, 0.5),
    st.sampled_from(["at once", "late", "in part", "never"]),
    st.integers(1, 30),
    st.integers(0, 2**32),
)
@example([1] * 6, 0.25, 0.25, "at once", 1, 1)
def test_messages_come_once_and_in_order_and_every_loss_is_counted(
    sizes: list[int], loss: float, again: float, repair: str, held: int, seed: int
) -> None:
    rng = Random(seed)
    incoming = Incoming(held_messages=held)
    got: Seen = []
    first = 1
    for size in sizes:
        for _ in range(2 if rng.random() < again else 1):
            if first == 1 or rng.random() >= loss:
                items = run(first, first + size - 1)
                got += flat(incoming.take(A, "t", 1, first, items))
        incoming.check_invariants()
        if repair != "late" or rng.random() < 0.3:
            got += mended(incoming, repair, rng)
        first += size
    line = incoming.heads(A, "t", 1, first - 1)
    for _ in range(len(sizes) + 2):
        incoming.ask_rest(A, incoming.line(A, "t"))
        got += mended(incoming, repair, rng)
    incoming.check_invariants()
    assert not incoming.holding
    if got:
        due = 1
        for number, lost, payload in got:
            assert (number, payload) == (due + lost, b"%d" % number)
            due = number + 1
        assert due + incoming.line(A, "t").lost == first
    if repair == "at once" and held >= max(sizes):
        assert [number for number, _, _ in got] == list(range(1, first))
    assert line is None or line.next == first


def mended(incoming: Incoming, repair: str, rng: Random) -> Seen:
    """Answer what the lines want."""
    got: Seen = []
    while incoming.wants:
        sender, line = incoming.wants.pop()
        if line.asked is None:
            continue
        first, last = line.asked
        if repair != "never":
            if repair == "in part":
                first = rng.randint(first, last + 1)
            got += flat(incoming.repaired(line, line.epoch, first, run(first, last)))
        got += flat(incoming.settled(sender, line))
        incoming.check_invariants()
    return got


@pytest.mark.parametrize("seed", range(20))
def test_restarts_of_the_publisher_never_count_as_gaps(seed: int) -> None:
    print(f"seed {seed}")
    rng = Random(seed)
    incoming = Incoming()
    got: list[tuple[int, int]] = []
    for epoch in range(1, 6):
        first = 1
        for _ in range(rng.randint(1, 10)):
            size = rng.randint(1, 4)
            got += numbers(incoming.take(A, "t", epoch, first, run(first, first + size - 1)))
            first += size
    assert all(lost == 0 for _, lost in got)
