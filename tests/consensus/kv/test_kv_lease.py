"""The holder's side of a lease: it ends before anyone else's view of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.kv import HeldLease, LeaseOver

times = st.integers(0, 10**12)


def lease(sent_ms: int = 1000, lease_ms: int = 8000, margin_ms: int = 10) -> HeldLease:
    return HeldLease.granted("lock", 7, sent_ms=sent_ms, lease_ms=lease_ms, margin_ms=margin_ms)


def test_the_deadline_counts_from_before_the_claim_was_sent() -> None:
    held = lease()
    assert held.deadline_ms == 1000 + 7000 - 10
    assert held.is_valid(7989)
    assert not held.is_valid(7990)
    assert not held.is_valid(999)
    assert (held.remaining_ms(7980), held.remaining_ms(7990)) == (10, 0)


def test_it_is_checked_before_a_side_effect() -> None:
    held = lease()
    held.check(5000)
    with pytest.raises(LeaseOver, match="over since 10 ms") as caught:
        held.check(8000)
    assert (caught.value.name, caught.value.token) == ("lock", 7)


def test_it_is_renewed_at_a_third() -> None:
    held = lease()
    assert held.renew_at_ms == 1000 + 6990 // 3
    assert not held.renew_due(held.renew_at_ms - 1)
    assert held.renew_due(held.renew_at_ms)


def test_its_holder_looks_again_when_it_is_due_and_twice_a_second_before() -> None:
    held = lease()
    assert held.look_in_ms(1000) == 500
    assert held.look_in_ms(held.renew_at_ms - 70) == 70
    assert held.look_in_ms(held.renew_at_ms + 70) == 1


def test_answers_to_renewals_may_come_in_any_order() -> None:
    held = lease()
    later = held.renewed(sent_ms=4000, lease_ms=8000)
    assert later.deadline_ms == 4000 + 6990
    assert later.renewed(sent_ms=2000, lease_ms=8000) is later
    assert later.renewed(sent_ms=5000, lease_ms=100) is later
    assert later.token == held.token


def test_a_lease_shorter_than_its_margin_is_never_valid() -> None:
    held = lease(lease_ms=100, margin_ms=500)
    assert not any(held.is_valid(now) for now in range(900, 1200))
    assert held.renew_due(1000)


@given(times, st.integers(100, 10**9), st.integers(0, 10**6), st.integers(875, 1125))
def test_it_is_over_before_the_log_counts_it_as_over(
    sent_ms: int, lease_ms: int, delay_ms: int, rate: int
) -> None:
    """`rate`: how many ledger milliseconds pass in 1,000 of ours; applied `delay_ms` after sent."""
    held = lease(sent_ms, lease_ms, margin_ms=0)
    own_ms = held.deadline_ms - sent_ms
    assert own_ms * rate // 1000 <= delay_ms + lease_ms
