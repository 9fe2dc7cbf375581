"""What the watch over our own addresses makes of what it sees; also of any series of looks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2p.discovery import Moved, NetworkWatch, Place, Woken
from p2p.discovery.netwatch import NAP_MS, PAUSE_MS

HOME = Place(("192.168.1.7",), ("192.168.1.0/24",))
CAFE = Place(("10.1.2.3",), ("10.1.2.0/24",))
BOTH = Place(("192.168.1.7", "10.1.2.3"), ("192.168.1.0/24", "10.1.2.0/24"))
NOWHERE = Place((), ())


def watch() -> NetworkWatch:
    return NetworkWatch(HOME, 0)


def test_the_same_place_is_no_news() -> None:
    here = watch()
    assert [here.look(HOME, at) for at in range(1000, 60_000, 1000)] == [None] * 59


def test_another_place_is_told_at_once_and_once() -> None:
    here = watch()
    assert here.look(CAFE, 1000) == Moved(CAFE, lost=True)
    assert here.look(CAFE, 2000) is None
    assert here.look(CAFE, 9000) is None


def test_one_more_address_loses_none() -> None:
    assert watch().look(BOTH, 1000) == Moved(BOTH, lost=False)


def test_nothing_is_told_while_there_is_no_network() -> None:
    here = watch()
    assert [here.look(NOWHERE, at) for at in (1000, 2000, 9000)] == [None] * 3


def test_back_at_the_same_address_is_a_move() -> None:
    here = watch()
    here.look(NOWHERE, 1000)
    assert here.look(HOME, 2000) == Moved(HOME, lost=True)


def test_a_machine_that_started_without_a_network_gets_one() -> None:
    assert NetworkWatch(NOWHERE, 0).look(HOME, 1000) == Moved(HOME, lost=False)


def test_a_move_soon_after_another_waits_and_is_not_forgotten() -> None:
    here = watch()
    here.look(CAFE, 1000)
    assert here.look(HOME, 2000) is None
    assert here.look(CAFE, 3000) is None
    told = here.look(CAFE, 1000 + PAUSE_MS)
    assert told == Moved(CAFE, lost=True), "it was away, and connections may have died of it"


def test_a_nap_is_noticed() -> None:
    here = watch()
    assert here.look(HOME, NAP_MS - 1) is None
    assert here.look(HOME, 2 * NAP_MS - 1) == Woken(NAP_MS)
    assert here.look(CAFE, 9 * NAP_MS) == Moved(CAFE, lost=True), "a move says all that a nap says"


@given(st.lists(st.tuples(st.sampled_from((HOME, CAFE, BOTH, NOWHERE)), st.integers(0, 20_000))))
def test_what_was_told_last_is_where_we_are(looks: list[tuple[Place, int]]) -> None:
    """However it flaps: moves are paced, and the last place that lasts is told."""
    here, told, told_ms, now_ms, last = watch(), HOME, -PAUSE_MS, 0, HOME
    for place, later_ms in looks:
        now_ms += later_ms
        change = here.look(place, now_ms)
        if isinstance(change, Moved):
            assert change.place == place
            assert place.hosts
            assert now_ms - told_ms >= PAUSE_MS
            told, told_ms = place, now_ms
        last = place
    change = here.look(last, now_ms + PAUSE_MS)
    if isinstance(change, Moved):
        told = change.place
    assert told == last or not last.hosts
