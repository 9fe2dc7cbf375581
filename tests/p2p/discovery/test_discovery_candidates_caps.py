"""The table of candidates under floods: every cap holds and nobody is starved."""

from __future__ import annotations

import pytest
from candidates_lab import ANN, peer
from candidates_lab import CandidateBench as Bench

from p2p.discovery import (
    DialFailed,
    Found,
    Introduced,
    Source,
    Told,
)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_flood_of_fakes_stays_within_every_cap() -> None:
    bench = Bench(max_candidates=200)
    for number in range(20_000):
        bench.find(peer(number), f"10.0.{number % 200}.1")
        bench.now_ms += 1
        if number % 50 == 0:
            bench.fail_all("no route")
    counters = bench.table.counters()
    assert counters["candidates"] <= 200
    assert counters["dropped: too many new names"] > 19_000
    assert counters["dials pending"] <= 12


def test_one_host_cannot_fill_the_table(bench: Bench) -> None:
    for number in range(50):
        bench.find(peer(number), "10.0.0.66", port=5_000 + number)
    counters = bench.table.counters()
    assert (counters["candidates"], counters["dropped: too many at one host"]) == (32, 18)


def test_who_is_told_of_many_at_once_knows_of_all_before_the_first_is_dialled(
    bench: Bench,
) -> None:
    told = Told(tuple(Found(Source.GOSSIP, peer(n), ("10.0.0.66",), 5_000 + n) for n in range(50)))
    bench.do(told)
    counters = bench.table.counters()
    assert (counters["candidates"], counters["dropped: too many at one host"]) == (32, 18)
    assert counters["dials"] == 12
    for dial in bench.dials[:2]:  # two of them are met, so two more may be said
        assert dial.peer_id is not None
        bench.do(Introduced(dial.peer_id, dial.addresses[0], dial.number))
    bench.do(told)
    assert bench.table.counters()["candidates"] == 34


def test_peers_that_were_met_leave_room_for_others_on_the_same_host(bench: Bench) -> None:
    for number in range(90):
        bench.find(peer(number), "10.0.0.66", port=5_000 + number)
        bench.meet(peer(number))
    assert bench.table.counters()["connected"] == 90


def test_a_full_table_gives_up_whoever_failed_most_for_a_newcomer() -> None:
    bench = Bench(max_candidates=10)
    for number in range(10):
        bench.find(peer(number), f"10.0.0.{number + 1}")
    assert bench.fail_all() == 10
    bench.pass_ms(250)
    dial = bench.dials[0]
    bench.do(DialFailed(dial.number, ()))
    bench.find(ANN, "10.0.0.99")
    known = {report.peer_id for report in bench.table.why(bench.now_ms)}
    assert ANN in known
    assert dial.peer_id not in known


def test_a_full_table_still_takes_a_seed() -> None:
    bench = Bench(max_candidates=4)
    for number in range(4):
        bench.find(peer(number), f"10.0.0.{number + 1}")
    bench.dials.clear()
    bench.find(None, "10.0.0.200", source=Source.SEED)
    assert bench.take_dial().peer_id is None


def test_dead_old_friends_do_not_keep_a_living_neighbour_waiting(bench: Bench) -> None:
    for number in range(64):
        bench.find(peer(number), f"10.0.0.{number + 1}", source=Source.LAST_GOOD)
    assert len(bench.dials) == 12, "all of them hang"
    bench.dials.clear()
    bench.find(ANN, "10.0.0.200")
    assert bench.take_dial().peer_id == ANN


def test_a_flood_of_hints_does_not_keep_a_seed_waiting(bench: Bench) -> None:
    for number in range(64):
        bench.find(peer(number), f"10.0.0.{number + 1}")
    assert len(bench.dials) == 12
    bench.dials.clear()
    bench.find(None, "10.0.0.200", source=Source.SEED)
    assert bench.take_dial().peer_id is None
