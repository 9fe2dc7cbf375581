"""The table of candidates: who is dialled when, one rule a test, on virtual time."""

from __future__ import annotations

from itertools import pairwise

import pytest
from candidates_lab import ANN, AT_ANN, AT_BOB, BOB, HOUR, LESSER, MINUTE, OWN, peer
from candidates_lab import CandidateBench as Bench

from keys import PeerId
from p2p.discovery import (
    Address,
    Banned,
    CandidateSettings,
    Dial,
    DialFailed,
    Drop,
    DropReason,
    Found,
    Introduced,
    Lost,
    NetworkChanged,
    NotNow,
    PeerGone,
    Source,
)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_an_empty_table_sleeps(bench: Bench) -> None:
    assert bench.table.deadline_ms is None


def test_a_peer_found_by_mdns_is_dialled_at_once(bench: Bench) -> None:
    bench.find(ANN, "10.0.0.1")
    assert bench.take_dial() == Dial(1, ANN, (AT_ANN,))


def test_of_two_that_find_each_other_the_greater_waits_a_moment(bench: Bench) -> None:
    bench.find(LESSER, "10.0.0.1")
    assert bench.dials == []
    bench.do(Introduced(LESSER))
    bench.pass_ms(HOUR)
    assert bench.dials == [], "it came to our door meanwhile"


def test_the_greater_does_not_wait_for_ever(bench: Bench) -> None:
    bench.find(LESSER, "10.0.0.1")
    bench.pass_ms(150)
    assert bench.take_dial().peer_id == LESSER


def test_a_seed_is_dialled_at_once_though_nobody_knows_whose_it_is(bench: Bench) -> None:
    bench.find(None, "10.0.0.1", source=Source.SEED)
    assert bench.take_dial() == Dial(1, None, (AT_ANN,))


def test_a_table_whose_peers_are_all_met_sleeps(bench: Bench) -> None:
    bench.find(ANN, "10.0.0.1")
    bench.meet(ANN)
    assert bench.table.deadline_ms is None
    bench.find(ANN, "10.0.0.1")
    bench.find(ANN, "10.0.0.7")
    assert bench.table.deadline_ms is None, "a live session is never dialled, whatever mDNS says"


def test_whom_nobody_wants_is_offered_again_more_and_more_seldom_and_with_others(
    bench: Bench,
) -> None:
    settings = CandidateSettings()
    bench.find(ANN, "10.0.0.1")
    bench.find(BOB, "10.0.0.2")
    offered = bench.dials
    bench.dials = []
    assert {dial.peer_id for dial in offered} == {ANN, BOB}
    bench.do(NotNow(tuple(dial.number for dial in offered)))
    assert not bench.dials
    times_ms = {ANN: [bench.now_ms], BOB: [bench.now_ms]}
    while len(times_ms[ANN]) < 8:
        bench.wait_for_dials()
        for dial in bench.dials:
            assert dial.peer_id is not None
            times_ms[dial.peer_id].append(bench.now_ms)
        offered, bench.dials = bench.dials, []
        bench.do(NotNow(tuple(dial.number for dial in offered)))
    pauses = [after - before for before, after in pairwise(times_ms[ANN])]
    assert pauses[0] >= 500, "not again in a moment"
    assert pauses[-1] > 10 * pauses[0]
    assert max(pauses) <= settings.backoff_max_ms + settings.unwanted_round_ms
    again_ms = {at_ms % settings.unwanted_round_ms for of in times_ms.values() for at_ms in of[1:]}
    assert len(again_ms) == 1, "all of them in one look"


def test_who_is_not_wanted_and_comes_by_itself_is_met(bench: Bench) -> None:
    bench.find(ANN, "10.0.0.1")
    bench.do(NotNow((bench.take_dial().number,)))
    bench.do(Introduced(ANN))
    bench.do(NotNow((1, 77)))
    assert bench.table.deadline_ms is None


def test_tries_back_off_from_a_quarter_second_to_half_a_minute(bench: Bench) -> None:
    bench.find(None, "10.0.0.1", source=Source.SEED)
    gaps: list[int] = []
    for _ in range(12):
        bench.fail_all()
        before_ms = bench.now_ms
        bench.dials = [bench.next_dial()]
        gaps.append(bench.now_ms - before_ms)
    assert 125 <= gaps[0] <= 250
    assert all(15_000 <= gap <= 30_000 for gap in gaps[8:])
    assert len(set(gaps[8:])) > 1, "jitter"


def test_a_peer_that_only_came_to_us_is_forgotten_when_it_is_gone(bench: Bench) -> None:
    bench.do(Introduced(ANN))
    bench.do(PeerGone(ANN))
    assert bench.table.counters()["candidates"] == 0
    assert bench.table.deadline_ms is None


def test_seeds_are_tried_for_ever(bench: Bench) -> None:
    bench.find(None, "10.0.0.1", source=Source.SEED)
    bench.pass_ms(30 * HOUR, failing="no route")
    assert bench.next_dial().addresses == (AT_ANN,)


def test_a_peer_that_is_gone_is_knocked_at_soon_then_slowly_for_a_day(bench: Bench) -> None:
    bench.find(ANN, "10.0.0.1")
    bench.meet(ANN)
    bench.do(PeerGone(ANN))
    bench.pass_ms(250)
    assert len(bench.dials) == 1
    bench.pass_ms(20 * HOUR, failing="no route")
    bench.dials.clear()
    before = bench.table.counters()["dials"]
    bench.pass_ms(HOUR, failing="no route")
    assert 30 <= bench.table.counters()["dials"] - before <= 60, "once in one or two minutes"
    bench.pass_ms(4 * HOUR, failing="no route")
    assert bench.table.counters()["candidates"] == 0
    assert bench.table.deadline_ms is None


def test_a_peer_that_is_gone_and_named_anew_is_dialled_at_once(bench: Bench) -> None:
    bench.find(ANN, "10.0.0.1")
    bench.meet(ANN)
    bench.do(PeerGone(ANN))
    bench.pass_ms(HOUR, failing="no route")
    bench.find(ANN, "10.0.0.3", port=9)
    assert Address("10.0.0.3", 9) in bench.take_dial().addresses


def test_where_it_was_met_comes_first_whatever_mdns_says_later(bench: Bench) -> None:
    bench.find(ANN, "10.0.0.1")
    bench.meet(ANN)
    bench.find(ANN, "10.0.0.66")
    bench.do(PeerGone(ANN))
    bench.pass_ms(250)
    assert bench.take_dial().addresses == (AT_ANN, Address("10.0.0.66", 4747))


def test_a_goodbye_of_mdns_does_not_touch_a_live_session(bench: Bench) -> None:
    bench.find(ANN, "10.0.0.1")
    bench.meet(ANN)
    bench.do(Lost(Source.MDNS, ANN))
    bench.do(PeerGone(ANN))
    bench.pass_ms(250)
    assert bench.take_dial().addresses == (AT_ANN,)


def test_a_goodbye_of_somebody_never_met_forgets_it(bench: Bench) -> None:
    bench.find(ANN, "10.0.0.1")
    bench.do(Lost(Source.MDNS, ANN))
    assert bench.table.counters()["candidates"] == 0
    bench.do(DialFailed(bench.take_dial().number, ()))
    assert bench.table.deadline_ms is None


def test_a_hint_that_nobody_repeats_is_forgotten_after_an_hour(bench: Bench) -> None:
    bench.find(ANN, "10.0.0.1")
    bench.pass_ms(HOUR - MINUTE, failing="no route")
    bench.find(ANN, "10.0.0.1")
    bench.pass_ms(HOUR - MINUTE, failing="no route")
    assert bench.table.counters()["candidates"] == 1
    bench.pass_ms(3 * MINUTE, failing="no route")
    assert bench.table.counters()["candidates"] == 0


def test_a_door_that_says_no_is_asked_rarely(bench: Bench) -> None:
    bench.find(ANN, "10.0.0.1")
    dial = bench.take_dial()
    bench.do(DialFailed(dial.number, ((AT_ANN, "other network"),), is_refusal=True))
    bench.pass_ms(149_000)
    assert bench.dials == []
    assert bench.next_dial().peer_id == ANN
    assert 150_000 <= bench.now_ms - 1_000 <= 300_000


def test_a_dial_whose_outcome_nobody_reports_frees_its_place(bench: Bench) -> None:
    bench.find(ANN, "10.0.0.1")
    dial = bench.take_dial()
    bench.pass_ms(15_500)
    assert bench.take_dial().peer_id == ANN
    (report,) = bench.table.why(bench.now_ms)
    assert report.failures == ((AT_ANN, "no outcome in time"),)
    late = bench.do(DialFailed(dial.number, ()))
    assert late == [Drop(None, DropReason.UNKNOWN_DIAL, "1")]


def test_the_outcome_of_an_old_dial_does_not_end_the_new_one(bench: Bench) -> None:
    bench.find(ANN, "10.0.0.1")
    old = bench.take_dial()
    bench.do(Lost(Source.MDNS, ANN))
    bench.find(ANN, "10.0.0.1")
    new = bench.take_dial()
    bench.do(DialFailed(old.number, ()))
    (report,) = bench.table.why(bench.now_ms)
    assert report.state == "dialling"
    bench.do(Introduced(ANN, AT_ANN, new.number))
    assert bench.table.counters()["dials pending"] == 0


def test_a_dial_that_fails_after_the_peer_came_to_us_is_no_failure(bench: Bench) -> None:
    bench.find(ANN, "10.0.0.1")
    bench.fail_all("no route")
    dial = bench.next_dial()
    bench.do(Introduced(ANN))
    bench.do(DialFailed(dial.number, ((AT_ANN, "no route"),)))
    (report,) = bench.table.why(bench.now_ms)
    assert (report.state, report.attempts, report.failures) == ("connected", 0, ())


def test_meeting_through_a_seed_makes_the_seed_part_of_that_peer(bench: Bench) -> None:
    bench.find(None, "10.0.0.1", source=Source.SEED)
    bench.meet(ANN)
    bench.find(None, "10.0.0.1", source=Source.SEED)
    assert bench.table.deadline_ms is None, "the seed is met, not dialled twice"
    (report,) = bench.table.why(bench.now_ms)
    assert (report.peer_id, report.sources, report.state) == (ANN, (Source.SEED,), "connected")


def test_a_seed_outlives_the_peer_that_was_met_there(bench: Bench) -> None:
    bench.find(None, "10.0.0.1", source=Source.SEED)
    bench.meet(ANN)
    bench.do(Banned(ANN))
    dial = bench.next_dial()
    assert (dial.peer_id, dial.addresses) == (None, (AT_ANN,))


def test_an_address_that_changed_hands_goes_to_whom_we_met_there(bench: Bench) -> None:
    bench.find(None, "10.0.0.1", source=Source.SEED)
    bench.meet(ANN)
    bench.do(PeerGone(ANN))
    bench.pass_ms(250)
    bench.meet(BOB)
    bench.pass_ms(HOUR)
    assert bench.dials == [], "Ann has no address left, Bob is here"
    reports = {report.peer_id: report for report in bench.table.why(bench.now_ms)}
    assert reports[BOB].sources == (Source.SEED,)
    assert ANN not in reports


def test_a_peer_met_elsewhere_keeps_its_other_addresses(bench: Bench) -> None:
    bench.do(Found(Source.GOSSIP, ANN, ("10.0.0.1", "10.0.0.5"), 4747))
    bench.meet(BOB)
    assert bench.next_dial().addresses == (Address("10.0.0.5", 4747),)


def test_dialling_ourselves_is_a_refusal(bench: Bench) -> None:
    bench.find(None, "10.0.0.9", source=Source.SEED)
    bench.meet(OWN)
    bench.pass_ms(2 * MINUTE)
    assert bench.dials == []
    (report,) = bench.table.why(bench.now_ms)
    assert report.failures[0][1] == "it is ourselves"


def test_a_banned_peer_is_never_dialled_until_it_passes_the_door_again(bench: Bench) -> None:
    bench.find(ANN, "10.0.0.1")
    bench.meet(ANN)
    bench.do(Banned(ANN))
    (drop,) = bench.find(ANN, "10.0.0.1")
    assert isinstance(drop, Drop)
    assert drop.reason is DropReason.BANNED
    bench.do(PeerGone(ANN))
    bench.pass_ms(HOUR)
    assert bench.dials == []
    bench.do(Introduced(ANN))
    assert bench.table.counters()["connected"] == 1


@pytest.mark.parametrize(
    ("source", "host", "port", "reason"),
    [
        (Source.MDNS, "8.8.8.8", 53, DropReason.NOT_ON_LAN),
        (Source.MDNS, "example.org", 80, DropReason.NOT_ON_LAN),
        (Source.MDNS, "127.0.0.1", 22, DropReason.NOT_ON_LAN),
        (Source.MDNS, "::ffff:8.8.8.8", 53, DropReason.NOT_ON_LAN),
        (Source.MDNS, "0.0.0.0", 4747, DropReason.MALFORMED),
        (Source.MDNS, "10.0.0.1", 0, DropReason.MALFORMED),
        (Source.GOSSIP, "10.0.0.1", 65_536, DropReason.MALFORMED),
        (Source.GOSSIP, "x" * 300, 4747, DropReason.MALFORMED),
    ],
)
def test_an_address_that_must_not_be_dialled_is_dropped_and_counted(
    bench: Bench, source: Source, host: str, port: int, reason: DropReason
) -> None:
    (drop,) = bench.find(ANN, host, port, source)
    assert isinstance(drop, Drop)
    assert drop.reason is reason
    assert bench.table.counters()[f"dropped: {reason}"] == 1
    assert bench.table.deadline_ms is None


def test_hearing_of_ourselves_is_dropped(bench: Bench) -> None:
    (drop,) = bench.find(OWN, "10.0.0.9")
    assert isinstance(drop, Drop)
    assert drop.reason is DropReason.OURSELVES


def test_those_never_tried_come_before_those_that_failed(bench: Bench) -> None:
    for number in range(30):
        bench.find(peer(number), f"10.0.0.{number + 1}", source=Source.LAST_GOOD)
    tried: set[PeerId | None] = set()
    for _ in range(3):
        bench.pass_ms(400)
        tried |= {dial.peer_id for dial in bench.dials}
        bench.fail_all()
    assert len(tried) == 30


def test_a_changed_network_tries_everybody_again_at_once(bench: Bench) -> None:
    bench.find(None, "192.168.5.5", source=Source.SEED)
    bench.find(ANN, "10.0.0.1", source=Source.GOSSIP)
    bench.pass_ms(HOUR, failing="network is unreachable")
    bench.dials.clear()
    bench.do(NetworkChanged(("192.168.5.9/24",)))
    bench.pass_ms(250)
    assert len(bench.dials) == 2


def test_why_tells_what_was_tried_and_what_failed(bench: Bench) -> None:
    bench.find(None, "10.0.0.2", source=Source.SEED)
    bench.fail_all("connection refused")
    (report,) = bench.table.why(bench.now_ms)
    assert report.sources == (Source.SEED,)
    assert report.failures == ((AT_BOB, "connection refused"),)
    assert report.attempts == 1
    assert report.state.startswith("next try in 0.")


def test_no_source_crowds_out_the_word_of_another(bench: Bench) -> None:
    bench.do(Found(Source.MDNS, LESSER, tuple(f"10.0.0.{n}" for n in range(1, 9)), 666))
    bench.find(LESSER, "172.16.0.5", source=Source.GOSSIP)
    bench.pass_ms(150)
    addresses = bench.take_dial().addresses
    assert len(addresses) == 8
    assert Address("172.16.0.5", 4747) in addresses


def test_a_talkative_member_does_not_hide_what_the_lan_says(bench: Bench) -> None:
    bench.do(Found(Source.GOSSIP, LESSER, tuple(f"172.16.0.{n}" for n in range(1, 9)), 666))
    bench.find(LESSER, "10.0.0.5")
    bench.pass_ms(150)
    assert bench.take_dial().addresses[0] == Address("10.0.0.5", 4747)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_dials_per_class": 16},
        {"backoff_min_ms": 0},
        {"backoff_min_ms": 60_000},
        {"max_candidates": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        CandidateSettings(**wrong)
