"""The state of one agent, look by look."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.health import (
    MAX_REASON,
    Health,
    HealthCore,
    HealthSettings,
    Sample,
    Verdict,
    restart_delay_ms,
    said_of,
)

H, D, F = Health.HEALTHY, Health.DEGRADED, Health.FAILED
WORDS = {"h": H, "d": D, "f": F}
EVERY_MS = 2_000


def told(core: HealthCore, looks: str, now_ms: int = 0) -> str:
    """The states after each look, as letters."""
    states = ""
    for letter in looks:
        now_ms += EVERY_MS
        core.look(Sample(), Verdict(WORDS[letter], letter), now_ms)
        core.check_invariants()
        states += core.now.state.value[0]
    return states


@pytest.mark.parametrize(
    ("looks", "states"),
    [
        ("hhhh", "hhhh"),
        ("hdhdhd", "hhhhhh"),  # one bad look now and then changes nothing
        ("hddd", "hhdd"),
        ("ff", "hd"),  # two looks are at least that bad
        ("fff", "hdf"),
        ("fdf", "hdd"),
        ("dddhhh", "hddddh"),
        ("fffhhh", "hdfffh"),
        ("fffddd", "hdfffd"),
        ("fffdhh", "hdfffd"),  # no better than the worst of the last three
        ("ddhdhdhd", "hddddddd"),
    ],
)
def test_a_state_follows_when_looks_agree(looks: str, states: str) -> None:
    assert told(HealthCore(0), looks) == states


def test_a_state_gets_better_only_after_a_while() -> None:
    core = HealthCore(0, HealthSettings(hold_ms=20_000))
    assert told(core, "dd" + "h" * 9) == "hd" + "d" * 9
    assert core.look(Sample(), Verdict(H), 4_000 + 20_000) is not None
    assert core.now.state is H


def test_who_falls_again_soon_is_held_longer_each_time() -> None:
    core, now_ms, held = HealthCore(0), 0, []
    for _ in range(12):
        began_ms = now_ms
        while core.now.state is H:
            now_ms += EVERY_MS
            core.look(Sample(), Verdict(D), now_ms)
        began_ms = now_ms
        while core.now.state is not H:
            now_ms += EVERY_MS
            core.look(Sample(), Verdict(H), now_ms)
        held.append(now_ms - began_ms)
    assert held == sorted(held)
    assert held[0] <= 8_000
    assert held[-1] == 300_000
    now_ms += 100_000
    for _ in range(2):
        now_ms += EVERY_MS
        core.look(Sample(), Verdict(D), now_ms)
    assert told(core, "hhhh", now_ms) == "ddhh"  # a good while makes up for it


@given(st.lists(st.tuples(st.sampled_from([H, D, F]), st.integers(1, 100_000)), max_size=60))
def test_one_look_never_changes_a_state(looks: list[tuple[Health, int]]) -> None:
    core, now_ms, seen = HealthCore(0), 0, [H]
    for state, took_ms in looks:
        now_ms += took_ms
        before = core.now
        core.look(Sample(), Verdict(state), now_ms)
        core.check_invariants()
        seen.append(state)
        after = core.now.state
        if after.badness > before.state.badness:
            assert all(s.badness >= after.badness for s in seen[-2:])
        if after.badness < before.state.badness:
            assert len(seen) > 3
            assert all(s.badness <= after.badness for s in seen[-3:])
            assert now_ms - before.since_ms >= 5_000
        assert (core.now.since_ms == now_ms) or core.now == before


def seen(samples: list[Sample]) -> HealthCore:
    core = HealthCore(0)
    for turn, sample in enumerate(samples):
        core.look(sample, None, (turn + 1) * EVERY_MS)
    return core


def test_half_of_all_failing_is_degraded_and_no_share_is_failed() -> None:
    bad = seen([Sample(ended=20 * n, failed=20 * n) for n in range(40)])
    assert bad.now.state is D
    assert "failed" in bad.now.reason
    few = seen([Sample(ended=min(n, 9), failed=min(n, 9)) for n in range(40)])
    assert few.now.state is H
    some = seen([Sample(ended=20 * n, failed=9 * n) for n in range(40)])
    assert some.now.state is H


def test_between_two_limits_nothing_changes() -> None:
    fine = seen([Sample(busy_permille=900)] * 9)
    assert fine.now.state is H
    full = seen([Sample(busy_permille=1000)] * 3 + [Sample(busy_permille=900)] * 20)
    assert full.now.state is D
    free = seen([Sample(busy_permille=1000)] * 3 + [Sample(busy_permille=700)] * 20)
    assert free.now.state is H


@pytest.mark.parametrize(
    ("sample", "state", "words"),
    [
        (Sample(stuck=1, threads=4), D, "1 handler(s)"),
        (Sample(stuck=4, threads=4), F, "4 handlers have not ended"),
        (Sample(lag_ms=200), D, "200 ms late"),
        (Sample(lag_ms=199), H, ""),
    ],
)
def test_what_is_seen_and_what_follows(sample: Sample, state: Health, words: str) -> None:
    core = seen([sample] * 4)
    assert core.now.state is state
    assert words in core.now.reason


def test_the_agents_own_word_counts_instead() -> None:
    core = HealthCore(0)
    for turn in range(5):
        core.look(Sample(stuck=9), Verdict(H), turn * EVERY_MS)
    assert core.now.state is H


def test_a_restart_is_on_trial() -> None:
    core = HealthCore(0)
    core.failed("it fell over", 1_000)
    assert core.restarted(2_000).state is D
    assert core.now.reason == "it was restarted after: it fell over"
    assert told(core, "hhh", 2_000) == "ddh"


def test_failing_again_does_not_begin_a_new_failure() -> None:
    core = HealthCore(0)
    core.failed("one", 1_000)
    core.failed("two" * 100, 9_000)
    assert (core.now.since_ms, len(core.now.reason)) == (1_000, MAX_REASON)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (None, Verdict(H)),
        (True, Verdict(H)),
        (False, Verdict(F, "its health check says so")),
        ("healthy", Verdict(H)),
        ("degraded", Verdict(D, "its health check says so")),
        (("failed", "no disk"), Verdict(F, "no disk")),
        (Health.DEGRADED, Verdict(D, "its health check says so")),
        ((False, "no disk"), Verdict(F, "no disk")),
    ],
)
def test_what_a_check_may_return(value: object, verdict: Verdict) -> None:
    assert said_of(value) == verdict


@pytest.mark.parametrize("value", [3, "fine", ("healthy",), (1, "x"), [], b"failed"])
def test_what_a_check_may_not_return(value: object) -> None:
    with pytest.raises(ValueError, match="a health check returns one of healthy"):
        said_of(value)


def test_restarts_wait_longer_each_time_but_a_minute_at_most() -> None:
    assert [restart_delay_ms(n, 1.0) for n in range(8)] == [
        1000,
        2000,
        4000,
        8000,
        16000,
        32000,
        60000,
        60000,
    ]
    assert restart_delay_ms(3, 0.0) == 4000
    assert restart_delay_ms(10**6, 0.5) == 45_000
