"""Locks: tokens, leases, completion, expiry by decision, ties to sessions."""

from kv_lab import ANNA, BEN, SMALL, Lab

from consensus.kv import (
    Expiry,
    Refusal,
    Result,
    SessionRef,
    What,
    acquire,
    release,
)
from consensus.kv.model import MAX_DURATION_MS, MIN_LEASE_MS


def test_a_token_is_the_index_of_the_acquire_and_grows() -> None:
    lab = Lab()
    assert lab.acquire(holder="anna") == Result(None, token=1, deadline_ms=2000)
    assert lab.acquire(holder="ben") == Result(Refusal.HELD, token=1, deadline_ms=2000)
    assert lab.release(1) == Result(None, token=1)
    assert lab.taken(holder="ben") == 4
    view = lab.store.lock("lock")
    assert view is not None
    assert (view.token, view.holder, view.deadline_ms, view.client) == (4, "ben", 2000, None)


def test_a_free_lock_remembers_its_highest_token() -> None:
    lab = Lab()
    lab.release(lab.taken())
    view = lab.store.lock("lock")
    assert view is not None
    assert (view.token, view.holder, view.deadline_ms) == (1, None, None)
    assert lab.store.lock("other") is None
    assert lab.store.lock_count() == 0


def test_a_stale_token_does_nothing() -> None:
    lab = Lab()
    old = lab.taken()
    lab.release(old)
    new = lab.taken(holder="ben")
    for result in (lab.renew(old), lab.release(old), lab.complete(old)):
        assert result == Result(Refusal.STALE_TOKEN, token=new)
    assert lab.store.get("lock") is None
    lab.release(new)
    assert lab.release(old) == Result(Refusal.STALE_TOKEN, token=new)


def test_a_lock_that_nobody_holds_is_not_renewed_released_or_completed() -> None:
    lab = Lab()
    token = lab.taken()
    lab.release(token)
    for result in (lab.renew(token), lab.release(token), lab.complete(token)):
        assert result == Result(Refusal.NOT_HELD, token=token)
    assert lab.renew(5, "never seen") == Result(Refusal.NOT_HELD)


def test_a_renewal_moves_the_deadline_back_never_forward() -> None:
    lab = Lab()
    token = lab.taken(lease_ms=1000)
    lab.now_ms = 1500
    assert lab.renew(token, lease_ms=1000).deadline_ms == 2500
    assert lab.renew(token, lease_ms=200).deadline_ms == 2500


def test_a_lease_ends_by_decision_and_not_before_its_time() -> None:
    lab = Lab()
    token = lab.taken(lease_ms=1000)
    due = Expiry(What.LOCK, "lock", token)
    lab.now_ms = 1999
    assert lab.expire(due) == (Refusal.NOT_DUE,)
    lab.now_ms = 2000
    assert lab.acquire(holder="ben").refusal is Refusal.HELD
    assert lab.store.expired(lab.now_ms) == [due]
    assert lab.expire(due, due) == (None, Refusal.NOT_FOUND)
    assert lab.taken(holder="ben") > token


def test_an_expiry_that_was_decided_before_a_renewal_is_refused() -> None:
    lab = Lab()
    token = lab.taken(lease_ms=1000)
    lab.now_ms = 2000
    (due,) = lab.store.expired(2000)
    assert lab.renew(token).accepted
    assert lab.expire(due) == (Refusal.NOT_DUE,)
    assert lab.store.expired(2000) == []
    assert lab.store.expired(3000) == [due]


def test_an_expiry_hits_only_the_holder_it_was_meant_for() -> None:
    lab = Lab()
    old = lab.taken(lease_ms=100)
    lab.release(old)
    lab.taken(holder="ben", lease_ms=100)
    lab.now_ms = 9000
    assert lab.expire(Expiry(What.LOCK, "lock", old)) == (Refusal.NOT_FOUND,)
    assert lab.store.lock_count() == 1


def test_a_lock_is_completed_once() -> None:
    lab = Lab()
    token = lab.taken()
    assert lab.complete(token, value=b"result") == Result(None, 2, token, 2000)
    assert lab.complete(token, value=b"other") == Result(Refusal.COMPLETED, 2, token)
    lab.release(token)
    later = lab.taken(holder="ben")
    assert lab.complete(later).refusal is Refusal.COMPLETED
    assert lab.value("lock") == b"result"


def test_a_completion_obeys_the_limits_of_keys() -> None:
    lab = Lab(SMALL)
    token = lab.taken()
    assert lab.complete(token, value=bytes(97)).refusal is Refusal.STORE_FULL
    assert lab.complete(token, value=bytes(96)).accepted


def test_a_lock_is_taken_once_in_a_command() -> None:
    lab = Lab()
    results = lab.batch(
        acquire("lock", "anna", 1000),
        release("lock", 1),
        acquire("lock", "ben", 1000),
        acquire("other", "ben", 1000),
    )
    assert [result.refusal for result in results] == [
        None,
        None,
        Refusal.TAKEN_IN_THIS_COMMAND,
        None,
    ]
    assert lab.taken(holder="ben") == 2


def test_arguments_are_judged() -> None:
    lab = Lab()
    assert lab.acquire(lease_ms=MIN_LEASE_MS - 1).refusal is Refusal.OUT_OF_RANGE
    assert lab.acquire(lease_ms=MAX_DURATION_MS + 1).refusal is Refusal.OUT_OF_RANGE
    assert lab.acquire(name="").refusal is Refusal.KEY_INVALID
    assert lab.acquire(holder="").refusal is Refusal.MALFORMED
    assert lab.acquire(holder="x" * 129).refusal is Refusal.MALFORMED
    assert lab.refusal(acquire("lock", "anna", 1000, tied=True)) is Refusal.SESSION_REQUIRED
    token = lab.taken()
    assert lab.renew(token, lease_ms=1).refusal is Refusal.OUT_OF_RANGE
    assert lab.renew(-1).refusal is Refusal.MALFORMED
    assert len(lab.store.refused) == 4


def test_the_lock_that_is_free_for_longest_makes_room() -> None:
    lab = Lab(SMALL)
    tokens = {name: lab.taken(name) for name in ("a", "b", "c")}
    assert lab.acquire("d").refusal is Refusal.TOO_MANY_LOCKS
    lab.release(tokens["b"], "b")
    lab.release(tokens["a"], "a")
    assert lab.taken("d") > tokens["c"]
    assert lab.store.lock("b") is None
    assert lab.store.lock("a") is not None
    lab.release(tokens["c"], "c")
    assert lab.taken("b") > tokens["b"]  # forgotten, and its token still grows


def test_a_lock_of_this_command_is_not_forgotten() -> None:
    lab = Lab(SMALL)
    lab.taken("a")
    lab.taken("b")
    results = lab.batch(acquire("c", "anna", 1000), release("c", 3), acquire("d", "anna", 1000))
    assert [r.refusal for r in results] == [None, None, Refusal.TOO_MANY_LOCKS]


def test_a_tied_lock_is_released_when_its_session_ends() -> None:
    lab = Lab()
    number = lab.register()
    session = SessionRef(ANNA, number, 1)
    token = lab.do(acquire("lock", "anna", 5000, tied=True), session).token
    view = lab.store.lock("lock")
    assert view is not None
    assert view.client == ANNA
    lab.end_session(ANNA, number)
    assert lab.renew(token).refusal is Refusal.NOT_HELD
    assert lab.taken(holder="ben") > token


def test_a_tied_lock_is_released_when_its_session_runs_out() -> None:
    lab = Lab()
    number = lab.register(ttl_ms=2000)
    lab.do(acquire("z", "anna", 5000, tied=True), SessionRef(ANNA, number, 1))
    lab.do(acquire("a", "anna", 5000, tied=True), SessionRef(ANNA, number, 2, 1))
    lab.do(acquire("free", "anna", 5000), SessionRef(ANNA, number, 3, 2))
    lab.now_ms = 3000
    assert lab.expire_all() == (None,)
    assert lab.store.lock_count() == 1
    assert lab.store.session_count() == 0


def test_a_tied_lock_outlives_a_session_that_only_had_to_make_room() -> None:
    lab = Lab(SMALL)
    number = lab.register(ANNA)
    token = lab.do(acquire("lock", "anna", 5000, tied=True), SessionRef(ANNA, number, 1)).token
    for who in range(3):
        lab.register(type(BEN)(f"{who:032x}"))
    assert lab.store.session(ANNA) is None
    view = lab.store.lock("lock")
    assert view is not None
    assert (view.holder, view.client) == ("anna", None)
    assert lab.renew(token).accepted
    lab.register(ANNA)
    lab.end_session(ANNA, lab.index)
    assert lab.store.lock_count() == 1


def test_a_lock_that_was_given_back_is_no_longer_the_sessions() -> None:
    lab = Lab()
    number = lab.register()
    token = lab.do(acquire("lock", "anna", 5000, tied=True), SessionRef(ANNA, number, 1)).token
    lab.release(token)
    lab.taken(holder="ben")
    lab.end_session(ANNA, number)
    assert lab.store.lock_count() == 1
