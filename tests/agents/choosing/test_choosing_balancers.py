"""Who is asked first: shares, stability, and what a slow provider does to the rest."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from choosing_lab import chooser_of, finish, latencies
from hypothesis import given
from hypothesis import strategies as st
from loads_lab import figures

from agents.choosing import BALANCERS, DEFAULT_BALANCE, FULL, Chooser, Outcome

PEERS = st.sets(st.text("abcdef0123456789", min_size=4, max_size=8), min_size=1, max_size=12)


def picks(chooser: Chooser, balance: str, count: int, key: str | None = None) -> list[str]:
    out = []
    for _ in range(count):
        one = chooser.choose(balance, key, 0)
        assert one is not None
        out.append(one.peer)
        finish(chooser, one, Outcome.ANSWERED, 0)
    return out


@given(PEERS)
def test_in_turn_everyone_is_asked_once_a_round(peers: set[str]) -> None:
    chooser = Chooser(random.Random(1), 0)
    chooser.set_providers(dict.fromkeys(peers, 1), "round_robin")
    assert picks(chooser, "", 2 * len(peers)) == sorted(peers) * 2


def test_a_round_goes_on_where_it_was_when_a_provider_goes() -> None:
    chooser = Chooser(random.Random(1), 0)
    chooser.set_providers({"a": 1, "b": 1, "c": 1}, "round_robin")
    assert picks(chooser, "", 1) == ["a"]
    chooser.set_providers({"b": 1, "c": 1}, "round_robin")
    assert picks(chooser, "", 3) == ["b", "c", "b"]


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.integers(1, 9), min_size=1))
def test_weights_are_kept_exactly_over_a_round(weights: dict[str, int]) -> None:
    chooser = Chooser(random.Random(1), 0)
    chooser.set_providers(weights, "weighted")
    assert Counter(picks(chooser, "", sum(weights.values()))) == Counter(weights)
    assert Counter(picks(chooser, "", sum(weights.values()))) == Counter(weights)


def test_weights_are_interleaved_and_not_served_in_blocks() -> None:
    chooser = Chooser(random.Random(1), 0)
    chooser.set_providers({"a": 5, "b": 1, "c": 1}, "weighted")
    assert picks(chooser, "", 7) == ["a", "a", "b", "a", "c", "a", "a"]


def test_the_shortest_queue_is_asked_and_ties_are_spread() -> None:
    chooser = chooser_of(4, seed=3)
    for _ in range(8):
        one = chooser.choose("least_outstanding", None, 0)
        assert one is not None
        chooser.begin(one, 0)
    assert [d.outstanding for d in chooser.providers] == [2, 2, 2, 2]
    shares = Counter(picks(chooser_of(4, seed=4), "least_outstanding", 4000))
    assert all(900 < share < 1100 for share in shares.values()), shares


def test_the_slow_are_asked_less_but_tried_again_when_the_news_are_old() -> None:
    chooser = chooser_of(2, seed=5)
    slow, quick = chooser.providers
    chooser.choose("fastest", None, 0)
    finish(chooser, slow, Outcome.ANSWERED, 0, 900_000)
    finish(chooser, quick, Outcome.ANSWERED, 0, 2_000)
    assert all(chooser.choose("fastest", None, 10) is quick for _ in range(50))
    assert quick.latency_us(10) < slow.latency_us(10)
    finish(chooser, quick, Outcome.ANSWERED, 60_000, 2_000)
    assert chooser.choose("fastest", None, 60_000) is slow


def test_failing_at_once_makes_nobody_quick() -> None:
    chooser = chooser_of(2, seed=6)
    failing, _ = chooser.providers
    chooser.choose("fastest", None, 0)
    finish(chooser, failing, Outcome.ANSWERED, 0, 50_000)
    finish(chooser, failing, Outcome.FAILED, 1, 10)
    assert failing.latency_us(1) > 49_000


@given(PEERS, st.integers(0, 11), st.integers())
def test_when_a_provider_goes_only_its_own_keys_move(
    peers: set[str], index: int, salt: int
) -> None:
    keys = [f"{salt}-{n}" for n in range(64)]
    chooser = Chooser(random.Random(1), 0)

    def owners() -> dict[str, str]:
        chosen = {key: chooser.choose("consistent_hash", key, 0) for key in keys}
        return {key: one.peer for key, one in chosen.items() if one is not None}

    chooser.set_providers(dict.fromkeys(peers, 1), "")
    before = owners()
    gone = sorted(peers)[index % len(peers)]
    chooser.set_providers(dict.fromkeys(peers - {gone}, 1), "")
    after = owners()
    assert all(after[key] == before[key] for key in after if before[key] != gone)
    chooser.set_providers(dict.fromkeys(peers, 1), "")
    assert owners() == before


def test_calls_without_a_key_do_not_all_go_to_one_place() -> None:
    chooser = chooser_of(4)
    chooser.set_providers({d.peer: 1 for d in chooser.providers}, "consistent_hash")
    assert len(set(picks(chooser, "", 100))) == 4
    assert len(set(picks(chooser, "", 100, key="k"))) == 1


def test_keys_spread_evenly_and_those_of_one_that_goes_too() -> None:
    chooser = chooser_of(10)
    owner = {}
    for n in range(10_000):
        one = chooser.choose("consistent_hash", f"key {n}", 0)
        assert one is not None
        owner[n] = one.peer
    assert all(850 < share < 1150 for share in Counter(owner.values()).values())
    gone = "p03"
    chooser.set_providers({d.peer: 1 for d in chooser.providers if d.peer != gone}, "")
    moved = Counter(
        one.peer
        for n in range(10_000)
        if owner[n] == gone and (one := chooser.choose("consistent_hash", f"key {n}", 0))
    )
    assert len(moved) == 9
    assert max(moved.values()) < 2 * min(moved.values()), moved


@pytest.mark.parametrize("balance", BALANCERS)
def test_a_lone_provider_is_asked_whatever_the_way(balance: str) -> None:
    assert picks(chooser_of(1), balance, 3, key="k") == ["p00"] * 3


def test_the_default_does_not_drown_in_one_slow_provider() -> None:
    speeds = [1.0] * 9 + [0.2]
    tail = {}
    for balance in ("round_robin", DEFAULT_BALANCE):
        took_ms = latencies(balance, 1, speeds, 0.8, seed=1, calls=4000)
        tail[balance] = took_ms[len(took_ms) * 99 // 100]
    assert tail[DEFAULT_BALANCE] * 4 < tail["round_robin"], tail


# -- what providers say of their load ----------------------------------------------------------


def test_of_a_tie_the_idle_have_five_chances_and_the_full_have_one() -> None:
    chooser = Chooser(random.Random(6), 0)
    chooser.set_providers(dict.fromkeys("abc", 1), "", (), {"b": FULL, "c": 2})
    shares = Counter(picks(chooser, "least_outstanding", 9000))
    assert 4800 < shares["a"] < 5200, shares
    assert 850 < shares["b"] < 1150, shares


def test_an_attempt_of_our_own_counts_more_than_any_load_that_is_told() -> None:
    chooser = Chooser(random.Random(7), 0)
    chooser.set_providers({"a": 1, "b": 1}, "", (), {"b": FULL})
    idle, full = chooser.providers
    chooser.begin(idle, 0)
    assert all(chooser.choose("least_outstanding", None, 0) is full for _ in range(20))


def test_a_full_one_has_half_of_its_weight() -> None:
    chooser = Chooser(random.Random(8), 0)
    chooser.set_providers({"a": 3, "b": 3, "c": 1}, "weighted", (), {"b": FULL})
    assert Counter(picks(chooser, "", 1100)) == {"a": 600, "b": 300, "c": 200}


def test_who_says_no_more_that_it_is_busy_is_idle() -> None:
    chooser = Chooser(random.Random(9), 0)
    chooser.set_providers({"a": 1, "b": 1}, "weighted", (), {"b": FULL})
    chooser.set_providers({"a": 1, "b": 1}, "weighted")
    assert Counter(picks(chooser, "", 10)) == {"a": 5, "b": 5}


@pytest.mark.parametrize(
    ("scene", "share"),
    [
        ("100 callers of 10, half of them used by others", 0.5),
        ("100 callers of 20, half of them half as quick", 0.8),
        ("30 callers of 10 equal", 1.15),
        ("10 callers of 3 equal", 1.15),
    ],
)
def test_what_is_told_helps_where_others_use_the_providers_and_never_gathers_callers(
    scene: str, share: float
) -> None:
    silent = figures(scene, "least_outstanding", are_told=False, calls=4000)
    told = figures(scene, "least_outstanding", are_told=True, calls=4000)
    assert told[0] <= share * silent[0]
    assert told[1] <= share * silent[1]
