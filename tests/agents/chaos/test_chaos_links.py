"""What a switch does with frames when its links are bad."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.switching import Links, LinkTrouble, Trouble
from agents.switching.links import MAX_LINK_BYTES, MIN_QUEUE_BYTES, STRAY_US

ALL = bytes([0xFF] * 6)
MDNS = bytes.fromhex("01005e0000fb")


def address(name: str) -> bytes:
    return bytes([2, 0, 0, 0, 0, ord(name)])


def switch(names: str = "ab", seed: int = 0) -> Links:
    links = Links(random.Random(seed))
    for name in names:
        links.add(name, address(name))
    return links


def frame(to: str, number: int = 0, size: int = 100, from_: str = "a") -> bytes:
    return (address(to) + address(from_) + number.to_bytes(4, "big")).ljust(size, b".")


def number_of(data: bytes) -> int:
    return int.from_bytes(data[12:16], "big")


def trouble(a: str = "a", b: str = "b", **fields: object) -> Trouble:
    return Trouble(links=((a, b, LinkTrouble(**fields)),))  # type: ignore[arg-type]


def test_a_clean_link_passes_at_once_and_to_its_target_only() -> None:
    links = switch("abc")
    assert list(links.arrived("a", frame("b"), 0)) == ["b"]
    assert links.deadline_us is None


@pytest.mark.parametrize("to", [ALL, MDNS, bytes([2, 0, 0, 0, 0, 1])])
def test_what_goes_to_a_group_or_to_nobody_known_goes_to_all_but_its_sender(to: bytes) -> None:
    links = switch("abc")
    links.apply(Trouble(frozenset({("a", "c")})), 0)
    data = to + address("a") + bytes(50)
    assert list(links.arrived("b", data, 0)) == ["a", "c"]
    assert list(links.arrived("a", data, 0)) == ["b"], "the cut is one of this way, too"


def test_what_is_too_short_for_addresses_goes_nowhere() -> None:
    links = switch()
    assert list(links.arrived("a", frame("b")[:11], 0)) == []
    assert links.counts["malformed"] == 1


def test_a_cut_is_of_one_way() -> None:
    links = switch()
    links.apply(Trouble(frozenset({("a", "b")})), 0)
    assert list(links.arrived("a", frame("b"), 0)) == []
    assert list(links.arrived("b", frame("a", from_="b"), 0)) == ["a"]
    assert links.counts == {"cut": 1, "passed": 1}


def test_what_is_delayed_comes_in_order_and_between_the_bounds() -> None:
    links = switch()
    links.apply(trouble(delay_ms=(20.0, 80.0)), 0)
    for number in range(100):
        assert list(links.arrived("a", frame("b", number), number)) == []
    assert list(links.due(19_999)) == []
    came = []
    while (deadline_us := links.deadline_us) is not None:
        assert 20_000 <= deadline_us <= 80_100
        came += [number_of(data) for _, data in links.due(deadline_us)]
    assert came == list(range(100))


def test_a_slow_link_carries_no_more_than_it_can_and_drops_what_has_no_room() -> None:
    links = switch()
    links.apply(trouble(bytes_per_s=64_000.0), 0)
    for number in range(200):
        links.arrived("a", frame("b", number, 1000), 0)
    links.check_invariants()
    came = [number_of(data) for _, data in links.due(1_000_000)]
    assert came == list(range(64)), "64 KB in its first second"
    rest = list(links.due(10_000_000))
    assert sum(len(data) for _, data in rest) <= MIN_QUEUE_BYTES
    assert links.counts["no room"] == 200 - 64 - len(rest) > 0


def test_a_share_is_lost_and_a_share_comes_twice() -> None:
    links = switch()
    links.apply(trouble(loss=0.5, duplicate=0.5), 0)
    for number in range(4000):
        links.arrived("a", frame("b", number), number)
    came = [number_of(data) for _, data in links.due(10_000)]
    assert came == sorted(came)
    assert 1600 < len(set(came)) < 2400  # 12 standard deviations
    assert 0.4 < len(came) / len(set(came)) - 1 < 0.6


def test_a_share_is_overtaken_and_nothing_else_is_out_of_order() -> None:
    links = switch()
    links.apply(trouble(reorder=0.2), 0)
    for number in range(1000):
        links.arrived("a", frame("b", number), 0)
    at_once = [number_of(data) for _, data in links.due(0)]
    late = [number_of(data) for _, data in links.due(STRAY_US[1])]
    assert at_once == sorted(at_once)
    assert sorted(at_once + late) == list(range(1000))
    assert 100 < len(late) < 300


def test_what_waits_goes_on_when_its_link_is_mended_and_is_gone_when_it_is_cut() -> None:
    links = switch("abc")
    slow = LinkTrouble(delay_ms=(1000.0, 1000.0))
    links.apply(Trouble(links=(("a", "b", slow), ("a", "c", slow), ("b", "c", slow))), 0)
    for number in range(3):
        links.arrived("a", frame("b", number), number)
    links.arrived("a", frame("c"), 0)
    links.arrived("b", frame("c", 9, from_="b"), 0)
    links.apply(Trouble(frozenset({("a", "c")}), links=(("b", "c", slow),)), 500)
    assert [(to, number_of(data)) for to, data in links.due(500)] == [("b", n) for n in range(3)]
    assert links.counts["cut"] == 1
    assert links.deadline_us == 1_000_000, "what has not changed keeps its time"
    links.check_invariants()


def test_no_link_holds_more_than_it_may() -> None:
    links = switch()
    links.apply(trouble(delay_ms=(1000.0, 1000.0)), 0)
    for number in range(MAX_LINK_BYTES // 1500 + 100):
        links.arrived("a", frame("b", number, 1500), 0)
    links.check_invariants()
    assert links.counts["no room"] >= 100


SHARES = st.sampled_from([0.0, 0.3, 0.9])
TROUBLES = st.builds(
    LinkTrouble,
    loss=SHARES,
    duplicate=SHARES,
    reorder=SHARES,
    delay_ms=st.sampled_from([(0.0, 0.0), (1.0, 1.0), (5.0, 50.0)]),
    bytes_per_s=st.sampled_from([None, 1.0, 1e5, 1e9]),
)
PAIRS = st.sampled_from([(a, b) for a in "abc" for b in "abc" if a != b])
STEPS = st.one_of(
    st.tuples(st.just("frame"), PAIRS, st.integers(12, 1514)),
    st.tuples(st.just("all"), PAIRS, st.integers(12, 1514)),
    st.tuples(st.just("wait"), st.integers(0, 60_000), st.none()),
    st.tuples(st.just("trouble"), st.frozensets(PAIRS), st.dictionaries(PAIRS, TROUBLES)),
)


@given(st.lists(STEPS, max_size=60), st.integers(0, 9))
def test_every_frame_is_accounted_for_whatever_happens(steps: list, seed: int) -> None:  # type: ignore[type-arg]
    links, now_us, offered, came = switch("abc", seed), 0, 0, 0
    for what, first, second in steps:
        if what in ("frame", "all"):
            source, target = first
            data = (address(target) if what == "frame" else ALL).ljust(second, b".")
            offered += 1 if what == "frame" else 2
            came += len(links.arrived(source, data, now_us))
        elif what == "wait":
            now_us += first
            came += len(list(links.due(now_us)))
            assert links.deadline_us is None or links.deadline_us > now_us
        else:
            links.apply(Trouble(first, tuple((a, b, t) for (a, b), t in second.items())), now_us)
        links.check_invariants()
    held = len(list(links.due(1 << 60)))
    dropped = sum(links.counts[word] for word in ("cut", "lost", "no room"))
    assert came + held == links.counts["passed"]
    assert offered + links.counts["doubled"] == links.counts["passed"] + dropped
