"""Restricted messages: a chain of their own that is mended apart."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from keys import PeerId
from p2p.pubsub.incoming import Delivered, Incoming
from p2p.pubsub.line import Items

A = PeerId("a" * 32)
PUBLIC, OURS, OTHERS = "public", "ours", "others"


def numbers(delivered: list[Delivered]) -> list[tuple[int, int]]:
    return [
        (first + at, 0 if at else lost)
        for first, lost, items in delivered
        for at in range(len(items))
    ]


def test_one_that_names_another_before_it_waits_until_that_was_asked_for() -> None:
    incoming = Incoming()
    assert numbers(incoming.take_restricted(A, "t", (1, 2, 0, b"2"))) == [(2, 0)]
    assert incoming.take_restricted(A, "t", (1, 9, 7, b"9")) == []
    assert incoming.take_restricted(A, "t", (1, 12, 9, b"12")) == []
    incoming.check_invariants()
    [(sender, line)] = incoming.wants_restricted
    assert (sender, line.chain.asked) == (A, (3, 7))
    found = incoming.repaired_restricted(line, 1, 3, [None, b"4", None, None, b"7"])
    assert numbers(found) == [(4, 0), (7, 0)]
    assert numbers(incoming.settled_restricted(A, line)) == [(9, 0), (12, 0)]
    assert incoming.counts["repaired"] == 2
    incoming.check_invariants()


def test_what_cannot_be_had_is_counted_on_the_next() -> None:
    incoming = Incoming()
    incoming.take_restricted(A, "t", (1, 2, 0, b"2"))
    incoming.take_restricted(A, "t", (1, 9, 7, b"9"))
    assert numbers(incoming.settled_restricted(A, incoming.line(A, "t"))) == [(9, 1)]
    assert incoming.counts["lost"] == 1
    hasty = Incoming(repair=False)
    hasty.take_restricted(A, "t", (1, 2, 0, b"2"))
    assert numbers(hasty.take_restricted(A, "t", (1, 9, 7, b"9"))) == [(9, 1)]


def test_what_was_there_before_the_first_run_that_was_heard_is_not_missing() -> None:
    incoming = Incoming()
    incoming.take(A, "t", 1, 5, [b"5"])
    assert numbers(incoming.take_restricted(A, "t", (1, 8, 4, b"8"))) == [(8, 0)]
    late = Incoming()
    late.take(A, "t", 1, 5, [b"5", None, b"7"])
    assert late.take_restricted(A, "t", (1, 8, 6, b"8")) == []


def test_the_last_one_is_missed_when_its_publisher_tells_of_it() -> None:
    incoming = Incoming()
    incoming.take(A, "t", 1, 1, [b"1", None])
    line = incoming.heads(A, "t", 1, 2, 2)
    assert line is not None
    incoming.ask_rest(A, line)
    assert incoming.wants == []
    assert incoming.wants_restricted == [(A, line)]
    assert numbers(incoming.repaired_restricted(line, 1, 2, [b"2"])) == [(2, 0)]
    assert incoming.settled_restricted(A, line) == []
    assert incoming.heads(A, "t", 1, 2, 2) is None


def test_a_later_epoch_begins_the_chain_anew_and_loses_nothing_that_is_held() -> None:
    incoming = Incoming()
    incoming.take(A, "t", 1, 1, [b"1"])
    assert incoming.take_restricted(A, "t", (1, 9, 7, b"old")) == []
    assert incoming.take_restricted(A, "t", (2, 3, 1, b"new")) == []
    assert numbers(incoming.take(A, "t", 2, 4, [b"4"])) == [(9, 1), (3, 0), (4, 0)]
    incoming.check_invariants()
    assert incoming.take_restricted(A, "t", (1, 10, 9, b"late")) == []
    assert incoming.counts["stale"] == 1


def test_who_holds_too_many_bytes_of_them_gives_up() -> None:
    incoming = Incoming(held_bytes=10)
    incoming.take_restricted(A, "t", (1, 1, 0, b""))
    assert incoming.take_restricted(A, "t", (1, 5, 4, bytes(6))) == []
    assert numbers(incoming.take_restricted(A, "t", (1, 6, 5, bytes(6)))) == [(5, 1), (6, 0)]
    incoming.check_invariants()


@given(
    st.lists(st.sampled_from([PUBLIC, OURS, OTHERS]), max_size=40),
    st.floats(0, 0.8),
    st.floats(0, 0.8),
    st.sampled_from(["at once", "late", "never"]),
    st.integers(0, 2**32),
)
def test_all_that_are_ours_come_once_and_in_order_or_are_counted(
    kinds: list[str], run_loss: float, note_loss: float, answers: str, seed: int
) -> None:
    rng = Random(seed)
    incoming = Incoming()
    kinds = [PUBLIC, *kinds]
    got: list[tuple[int, int]] = []
    previous = 0
    for number, kind in enumerate(kinds, 1):
        if number == 1 or rng.random() >= run_loss:
            item = b"%d" % number if kind == PUBLIC else None
            got += numbers(incoming.take(A, "t", 1, number, [item]))
        if kind == OURS:
            if rng.random() >= note_loss:
                link = (1, number, previous, b"%d" % number)
                got += numbers(incoming.take_restricted(A, "t", link))
            previous = number
        if answers != "late" or rng.random() < 0.2:
            got += answered(incoming, kinds[:number], answers)
        incoming.check_invariants()
    incoming.heads(A, "t", 1, len(kinds), previous)
    for _ in kinds:
        incoming.ask_rest(A, incoming.line(A, "t"))
        got += answered(incoming, kinds, answers)
    incoming.check_invariants()
    assert not incoming.holding
    ours = [number for number, _ in got if kinds[number - 1] == OURS]
    public = [number for number, _ in got if kinds[number - 1] == PUBLIC]
    assert ours == sorted(set(ours))
    assert public == sorted(set(public))
    assert all(kinds[number - 1] != OTHERS for number, _ in got)
    if answers != "never":
        assert len(ours) + len(public) == sum(kind != OTHERS for kind in kinds)
        assert incoming.counts["lost"] == 0
    else:
        assert bool(incoming.counts["lost"]) or len(ours) == kinds.count(OURS)


def answered(incoming: Incoming, kinds: list[str], how: str) -> list[tuple[int, int]]:
    """Answer what is wanted, as the publisher does."""
    got: list[tuple[int, int]] = []

    def kept(first: int, last: int, kind: str) -> Items:
        return [
            b"%d" % n if kinds[n - 1 : n] == [kind] else None
            for n in range(first, min(last, len(kinds)) + 1)
        ]

    while incoming.wants or incoming.wants_restricted:
        wants, incoming.wants = incoming.wants, []
        for sender, line in wants:
            if line.asked is not None:
                if how != "never":
                    items = kept(*line.asked, PUBLIC)
                    got += numbers(incoming.repaired(line, 1, line.asked[0], items))
                got += numbers(incoming.settled(sender, line))
        wants, incoming.wants_restricted = incoming.wants_restricted, []
        for sender, line in wants:
            if line.chain.asked is not None:
                if how != "never":
                    first, last = line.chain.asked
                    items = kept(first, last, OURS)
                    got += numbers(incoming.repaired_restricted(line, 1, first, items))
                got += numbers(incoming.settled_restricted(sender, line))
        incoming.check_invariants()
    return got
