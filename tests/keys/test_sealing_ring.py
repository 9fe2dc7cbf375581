"""The keys of a node: renewed daily, kept for a while, thrown away, durable before shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keys_lab import DAY_MS, HOUR_MS, NOW_MS, key

from keys import HomeDamaged, HomeUnreadable, InsecurePermissions
from keys.sealing import SealingRing, Suite, hybrid_problem
from keys.sealing import ring as ring_module

ADA = key(11)
X25519 = Suite.X25519


def opened(home: Path, now_ms: int = NOW_MS, suite: Suite = X25519) -> SealingRing:
    return SealingRing.open(home, ADA, suite, now_ms)


def test_a_key_is_kept_over_a_restart_and_renewed_after_a_day(tmp_path: Path) -> None:
    ring = opened(tmp_path)
    first = ring.statement
    assert ring.was_new
    assert not ring.renew(NOW_MS + 23 * HOUR_MS)
    ring = opened(tmp_path, NOW_MS + HOUR_MS)
    assert not ring.was_new
    assert ring.statement == first
    assert ring.renew(NOW_MS + DAY_MS)
    assert ring.statement.number > first.number
    old = ring.secret_of(first.number)
    assert old is not None
    assert old.public == first.public


def test_old_secrets_go_when_nothing_can_be_young_enough_for_them(tmp_path: Path) -> None:
    ring = opened(tmp_path)
    first = ring.statement.number
    for day in range(1, 20):
        now_ms = NOW_MS + day * DAY_MS
        ring.renew(now_ms)
        if ring.due(now_ms):
            ring.forget(now_ms)
        if day == 9:
            assert ring.secret_of(first) is not None
        assert not ring.due(now_ms)
        assert len(ring.numbers) <= 10
    assert ring.secret_of(first) is None
    assert opened(tmp_path, now_ms).numbers == ring.numbers


def test_nothing_is_thrown_away_by_looking_at_a_wrong_clock(tmp_path: Path) -> None:
    ring = opened(tmp_path)
    first = ring.statement.number
    ring.renew(NOW_MS + 400 * DAY_MS)  # until the time service puts it right
    assert ring.due(NOW_MS + 400 * DAY_MS)
    assert not ring.due(NOW_MS + HOUR_MS)
    assert ring.renew(NOW_MS + HOUR_MS)  # the key of the future is no good now
    assert ring.statement.holds_at(NOW_MS + HOUR_MS)
    assert ring.secret_of(first) is not None
    assert list(ring.numbers) == sorted(ring.numbers)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 100 * DAY_MS), max_size=40))
def test_numbers_grow_and_the_present_key_holds_whatever_the_clock_does(
    tmp_path_factory: pytest.TempPathFactory, jumps: list[int]
) -> None:
    ring = opened(tmp_path_factory.mktemp("home"))
    highest = ring.statement.number
    for now_ms in jumps:
        ring.renew(NOW_MS + now_ms)
        assert ring.statement.number >= highest
        assert ring.statement.holds_at(NOW_MS + now_ms)
        highest = ring.statement.number
        assert len(ring.numbers) <= ring_module.MAX_KEYS


def test_a_key_is_not_shown_before_it_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = opened(tmp_path)
    first = ring.statement

    def full(path: Path, data: bytes) -> None:
        raise HomeUnreadable(path, "write", "no space left on device")

    monkeypatch.setattr(ring_module, "write_atomic", full)
    with pytest.raises(HomeUnreadable):
        ring.renew(NOW_MS + DAY_MS)
    assert ring.statement == first


def test_the_file_is_private_and_useless_to_others(tmp_path: Path) -> None:
    ring = opened(tmp_path)
    path = tmp_path / "sealing.ring"
    assert path.stat().st_mode & 0o777 == 0o600
    secret = ring.secret_of(ring.statement.number)
    assert secret is not None
    assert secret.export_secret() not in path.read_bytes()
    with pytest.raises(HomeDamaged, match="sealing keys of this node"):
        SealingRing.open(tmp_path, key(12), X25519, NOW_MS)
    path.chmod(0o644)
    with pytest.raises(InsecurePermissions):
        opened(tmp_path)


def test_a_ring_with_a_changed_byte_is_named_and_not_overwritten(tmp_path: Path) -> None:
    opened(tmp_path)
    path = tmp_path / "sealing.ring"
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(HomeDamaged, match=r"sealing\.ring"):
            opened(tmp_path)
        assert path.read_bytes() == changed
    path.write_bytes(whole[:50])
    with pytest.raises(HomeDamaged):
        opened(tmp_path)


@pytest.mark.skipif(hybrid_problem() is not None, reason=f"no hybrid here: {hybrid_problem()}")
def test_another_suite_makes_a_new_key_and_keeps_the_old(tmp_path: Path) -> None:
    first = opened(tmp_path).statement
    ring = opened(tmp_path, NOW_MS + 1, Suite.HYBRID)
    assert ring.statement.suite is Suite.HYBRID
    assert ring.secret_of(first.number) is not None
    again = opened(tmp_path, NOW_MS + 2, Suite.HYBRID)
    assert again.statement == ring.statement
