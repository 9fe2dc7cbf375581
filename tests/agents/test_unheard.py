"""Who must say that a blank member was never heard (R23): the rule, and what is no answer."""

from __future__ import annotations

from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.unheard import Word, who_is_missing
from consensus import Membership
from keys import PeerId

OWN = "v"
PLACE = (0, 5)
NOT_HEARD = Word(heard=False, place=PLACE, founded=False)


def names(text: str) -> tuple[PeerId, ...]:
    return tuple(PeerId(name) for name in text)


def missing(membership: Membership, said: str, *, is_first: bool, word: Word = NOT_HEARD) -> str:
    words = dict.fromkeys(names(said), word)
    return "".join(who_is_missing(OWN, membership, PLACE, words, is_first=is_first))


def test_a_first_voter_needs_the_word_of_all_others_that_decide() -> None:
    five = Membership(tuple("abcdv"))
    assert missing(five, "abc", is_first=True) == "d"
    assert missing(five, "abcd", is_first=True) == ""
    assert missing(five, "abcxyz", is_first=True) == "d", "others do not count"
    assert missing(Membership(tuple("v")), "", is_first=True) == ""
    joint = Membership(tuple("abv"), tuple("bcv"))
    assert missing(joint, "ab", is_first=True) == "c", "who is on the way out may have heard it"


def test_any_other_member_needs_a_majority_of_each_half() -> None:
    three = Membership(tuple("abc"), (), (OWN,))
    assert missing(three, "a", is_first=False) == "bc"
    assert missing(three, "ac", is_first=False) == ""
    joint = Membership(tuple("abc"), tuple("cde"))
    assert missing(joint, "abc", is_first=False) == "de"
    assert missing(joint, "bcd", is_first=False) == ""


def test_the_word_of_one_that_knows_other_voters_waits_for_those() -> None:
    later = Word(heard=False, place=(0, 6), founded=False)
    earlier = Word(heard=False, place=(0, 0), founded=False)
    three = Membership(tuple("abv"))
    assert missing(three, "ab", is_first=True, word=later) == "ab"
    assert missing(three, "ab", is_first=True, word=earlier) == ""
    assert missing(Membership(tuple("abc")), "abc", is_first=False, word=later) == "abc"


def test_the_founders_word_is_enough_for_a_first_voter_alone() -> None:
    founder = Word(heard=False, place=PLACE, founded=True)
    five = Membership(tuple("abcdv"))
    assert missing(five, "a", is_first=True, word=founder) == ""
    assert missing(Membership(tuple("abc")), "a", is_first=False, word=founder) == "bc"


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_nothing_that_was_decided_with_a_forgotten_vote_can_be_decided_otherwise(size: int) -> None:
    """All that Raft could have done: a majority with V decided, and those of it that lead wrote V
    down. Whoever may lead later with a blank V has somebody beside V who was in that majority."""
    others = "abcd"[: size - 1]
    membership, majority = Membership((*others, OWN)), size // 2 + 1
    for decided in combinations(others, majority - 1):
        for heard_by in product([False, True], repeat=len(decided)):
            knowing = {who for who, has in zip(decided, heard_by, strict=True) if has}
            if not knowing:
                continue  # then V's word was never counted
            for here in range(len(others) + 1):
                for said in combinations(others, here):
                    if knowing & set(said):
                        continue  # it is told that it was heard, and stops
                    assert missing(membership, "".join(said), is_first=True)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.binary() | st.text(), st.lists))
def test_what_is_no_word_is_none(value: object) -> None:
    word = Word.from_plain(value)
    assert word is None or Word.from_plain(word.to_plain()) == word


@given(st.booleans(), st.integers(), st.integers(), st.booleans(), st.lists(st.integers()))
def test_a_word_survives_its_plain_form_and_what_is_behind_is_ignored(
    heard: bool, generation: int, index: int, founded: bool, behind: list[int]
) -> None:
    word = Word(heard, (generation, index), founded)
    assert Word.from_plain([*word.to_plain(), *behind]) == word


@pytest.mark.parametrize(
    "wrong", [True, False, None, [], [False], [0, 0, 0, False], [False, True, 0, False]]
)
def test_a_word_of_another_shape_clears_nobody(wrong: object) -> None:
    assert Word.from_plain(wrong) is None
