"""What was said, as a lattice: S2 pair by pair, and any order, loss or repetition of sayings."""

from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st
from swim_lab import an_id, sign_as

from keys import PeerId
from p2p.membership.swim.statements import Say, Statement, signed
from p2p.membership.swim.table import MAX_ACCUSERS, Merged, Table

SUBJECT = an_id(0)
ACCUSERS = sorted(an_id(number) for number in range(1, 7))


def alive(number: int, mark: bytes = b"a", subject: PeerId = SUBJECT) -> Statement:
    return _signed(Say.ALIVE, subject, number, subject, mark)


def left(number: int, subject: PeerId = SUBJECT) -> Statement:
    return _signed(Say.LEFT, subject, number, subject, b"a")


def accused(number: int, by: int = 0, subject: PeerId = SUBJECT) -> Statement:
    return _signed(Say.ACCUSED, subject, number, ACCUSERS[by], b"")


def _signed(say: Say, subject: PeerId, number: int, signer: PeerId, mark: bytes) -> Statement:
    return signed(say, subject, number, signer, mark, lambda body: sign_as(signer, body))


def table_of(*statements: Statement) -> Table:
    table = Table()
    for statement in statements:
        table.merge(statement)
        table.check_invariants()
    return table


def held(table: Table) -> tuple[Statement, ...]:
    record = table.get(SUBJECT)
    return () if record is None else record.statements()


def test_s2_alive_beats_an_accusation_only_of_a_lower_number() -> None:
    assert held(table_of(alive(1), accused(1), alive(1))) == (alive(1), accused(1))
    assert held(table_of(alive(1), accused(1), alive(2))) == (alive(2),)


def test_s2_an_accusation_counts_beside_alive_of_its_number_only() -> None:
    table = table_of(alive(2))
    assert table.merge(accused(1)) is Merged.STALE
    assert table.merge(accused(3)) is Merged.UNPROVEN
    assert table.merge(accused(2)) is Merged.NEWS
    assert table.merge(accused(2)) is Merged.KNOWN


def test_s2_a_goodbye_beats_alive_and_accusations_of_its_number_and_below() -> None:
    assert held(table_of(alive(2), accused(2), left(2))) == (left(2),)
    assert held(table_of(left(2), alive(2), accused(2))) == (left(2),)
    assert held(table_of(left(2), alive(3))) == (alive(3),)
    assert held(table_of(alive(3), left(2))) == (alive(3),)


def test_an_accusation_of_one_that_nobody_has_heard_of_does_not_count() -> None:
    table = Table()
    assert table.merge(accused(1)) is Merged.UNPROVEN
    assert len(table) == 0


def test_s4_the_accusers_are_distinct_and_few_and_the_same_for_all() -> None:
    everyone = [accused(1, by) for by in range(6)]
    for order in itertools.permutations(everyone):
        table = table_of(alive(1), *order)
        record = table.get(SUBJECT)
        assert record is not None
        assert [each.signer for each in record.accusations] == ACCUSERS[:MAX_ACCUSERS]


def test_s5_two_words_of_one_number_are_a_conflict_and_all_keep_the_same_one() -> None:
    one, other = table_of(alive(1, b"a")), table_of(alive(1, b"b"))
    assert one.merge(alive(1, b"b")) is Merged.CONFLICT
    assert other.merge(alive(1, b"a")) is Merged.CONFLICT
    assert held(one) == held(other) == (alive(1, b"a"),)
    assert one.digest == other.digest


SAYINGS = st.lists(
    st.one_of(
        st.builds(alive, st.integers(1, 4), st.sampled_from([b"a", b"b"])),
        st.builds(left, st.integers(1, 4)),
        st.builds(accused, st.integers(1, 4), st.integers(0, 5)),
    ),
    max_size=12,
)


@given(SAYINGS, st.randoms(use_true_random=False))
def test_tables_that_tell_each_other_all_end_alike(
    said: list[Statement], rng: random.Random
) -> None:
    """As anti-entropy does: whatever each heard, in whatever order, with repetitions."""
    one, other = Table(), Table()
    for table in (one, other):
        mine = [each for each in said if rng.random() < 0.7]
        rng.shuffle(mine)
        for each in (*mine, *mine[:3]):
            table.merge(each)
            table.check_invariants()
    for _ in range(2):
        for giver, taker in ((one, other), (other, one)):
            for each in held(giver):
                taker.merge(each)
    assert held(one) == held(other)
    assert one.digest == other.digest
    assert one.buckets() == other.buckets()


@given(SAYINGS)
def test_numbers_never_fall_and_merging_again_changes_nothing(said: list[Statement]) -> None:
    table = Table()
    number = 0
    for each in said:
        table.merge(each)
        record = table.get(SUBJECT)
        assert record is None or record.incarnation >= number
        number = 0 if record is None else record.incarnation
    before = held(table)
    for each in before:
        assert table.merge(each) is Merged.KNOWN
    assert held(table) == before


def test_digests_follow_what_is_held_and_forgotten() -> None:
    other = an_id(9)
    table = table_of(alive(1), alive(1, subject=other))
    table.forget(other)
    table.check_invariants()
    assert table.digest == table_of(alive(1)).digest
    assert table.clone().digest == table.digest
