"""What each command may do, and what it must refuse."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ledger_lab import ANNA, BEN, Lab, spec, task_id

from agents.ledger import (
    MAX_PAYLOAD_BYTES,
    MAX_RESULT_BYTES,
    STATE_TABLE,
    EndedBy,
    LeaseRef,
    Move,
    Refusal,
    State,
    Token,
    encode_assigned,
)
from agents.ledger.model import MAX_HISTORY, Assignment


def test_a_task_goes_from_submission_to_result() -> None:
    lab = Lab()
    assert lab.submit(spec(1))[0].after is State.PENDING
    token = lab.assign(1).token
    assert (lab.state(1), token) == (State.ASSIGNED, lab.index)
    assert lab.complete(1, token).accepted
    view = lab.view(1)
    assert (view.state, view.result, view.executions) == (State.DONE, b"text", 1)
    assert [attempt.ended for attempt in view.history] == [EndedBy.COMPLETED]


def test_the_same_task_id_is_submitted_once() -> None:
    lab = Lab()
    lab.submit(spec(1))
    (again,) = lab.submit(spec(1, payload=b"other"))
    assert (again.refusal, again.accepted) == (Refusal.DUPLICATE, True)
    assert len(lab.ledger) == 1


def test_the_same_skill_and_key_give_the_existing_task_whatever_its_state() -> None:
    lab = Lab()
    token = lab.start(1, key="page-1")
    lab.complete(1, token)
    (again,) = lab.submit(spec(2, key="page-1"))
    assert (again.task_id, again.after, again.accepted) == (task_id(1), State.DONE, True)
    (other_skill,) = lab.submit(spec(3, key="page-1", skill="sum"))
    assert (other_skill.task_id, other_skill.refusal) == (task_id(3), None)


def test_one_batch_with_the_same_key_twice_makes_one_task() -> None:
    lab = Lab()
    verdicts = lab.submit(spec(1, key="k"), spec(2, key="k"), spec(3, key="k"))
    assert [verdict.task_id for verdict in verdicts] == [task_id(1)] * 3


def test_only_one_of_two_assignments_of_a_task_wins() -> None:
    lab = Lab()
    lab.submit(spec(1))
    first, second = (
        Assignment(task_id(1), ANNA, "reader", 1),
        Assignment(task_id(1), BEN, "reader", 1),
    )
    won, lost = lab.verdicts(encode_assigned(lab.now_ms, [first, second]))
    assert (won.refusal, lost.refusal) == (None, Refusal.ILLEGAL_MOVE)
    assert lab.assign(1, BEN).refusal is Refusal.ILLEGAL_MOVE
    assert lab.view(1).peer == ANNA


def test_a_completion_with_a_stale_token_is_refused_and_counted() -> None:
    lab = Lab()
    old = lab.start(1)
    lab.end_leases(ANNA, 1)
    new = lab.assign(1, BEN).token
    assert new > old
    assert lab.complete(1, old).refusal is Refusal.STALE_TOKEN
    assert lab.complete(1, new, BEN).after is State.DONE
    assert lab.complete(1, old).refusal is Refusal.STALE_TOKEN
    assert lab.ledger.refused[Refusal.STALE_TOKEN] == 2


def test_a_late_completion_is_refused_even_before_anyone_else_has_the_task() -> None:
    lab = Lab()
    token = lab.start(1)
    lab.end_leases(ANNA, 1)
    assert lab.complete(1, token).refusal is Refusal.STALE_TOKEN
    assert lab.state(1) is State.PENDING


def test_a_completion_told_twice_counts_once_and_keeps_the_first_result() -> None:
    lab = Lab()
    token = lab.start(1)
    lab.complete(1, token, result=b"first")
    again = lab.complete(1, token, result=b"second")
    assert (again.refusal, again.accepted) == (Refusal.DUPLICATE, True)
    assert lab.view(1).result == b"first"


def test_another_peer_cannot_report_with_a_token_that_it_guessed() -> None:
    lab = Lab()
    token = lab.start(1)
    assert lab.complete(1, token, BEN).refusal is Refusal.NOT_HOLDER
    assert lab.fail(1, token, BEN).refusal is Refusal.NOT_HOLDER
    assert lab.release(1, token, BEN).refusal is Refusal.NOT_HOLDER
    (renewed,) = lab.renew([LeaseRef(task_id(1), token)], BEN)
    assert renewed.refusal is Refusal.NOT_HOLDER
    assert lab.state(1) is State.ASSIGNED


def test_a_retryable_failure_waits_again_until_the_attempts_are_used_up() -> None:
    lab = Lab()
    lab.submit(spec(1, max_attempts=2))
    assert lab.fail(1, lab.assign(1).token).after is State.PENDING
    assert lab.fail(1, lab.assign(1).token).after is State.PARKED
    view = lab.view(1)
    assert (view.attempts, view.executions) == (2, 2)
    assert view.error is not None
    assert view.error.type == "ValueError"


def test_a_failure_that_no_retry_can_mend_is_final() -> None:
    lab = Lab()
    assert lab.fail(1, lab.start(1), retryable=False).after is State.FAILED
    assert lab.assign(1).refusal is Refusal.ILLEGAL_MOVE


def test_a_failure_told_twice_costs_one_attempt() -> None:
    lab = Lab()
    token = lab.start(1)
    lab.fail(1, token)
    assert lab.fail(1, token).refusal is Refusal.DUPLICATE
    assert lab.view(1).attempts == 1


def test_a_parked_task_that_is_retried_has_all_its_attempts_again() -> None:
    lab = Lab()
    lab.fail(1, lab.start(1, max_attempts=1))
    assert lab.state(1) is State.PARKED
    assert lab.retry(1).after is State.PENDING
    assert lab.view(1).attempts == 0
    lab.complete(1, lab.assign(1).token)
    assert (lab.state(1), lab.view(1).executions) == (State.DONE, 2)


def test_a_task_given_back_unstarted_costs_no_attempt_and_no_execution() -> None:
    lab = Lab()
    token = lab.start(1, max_attempts=1)
    assert lab.release(1, token).after is State.PENDING
    assert (lab.view(1).attempts, lab.view(1).executions) == (0, 0)
    assert lab.release(1, token).refusal is Refusal.DUPLICATE
    assert lab.assign(1).token > token


def test_a_dead_peer_loses_the_leases_of_its_incarnation_and_older_ones_only() -> None:
    lab = Lab()
    lab.submit(spec(1), spec(2), spec(3))
    lab.assign(1, ANNA, incarnation=4)
    lab.assign(2, ANNA, incarnation=5)
    lab.assign(3, BEN, incarnation=4)
    ended = lab.end_leases(ANNA, 4)
    assert [verdict.task_id for verdict in ended] == [task_id(1)]
    assert [lab.state(number) for number in (1, 2, 3)] == [
        State.PENDING,
        State.ASSIGNED,
        State.ASSIGNED,
    ]
    assert lab.end_leases(ANNA, 4) == ()


def test_a_lease_expires_only_when_ledger_time_has_passed_its_deadline() -> None:
    lab = Lab()
    token = lab.start(1, lease_ms=500)
    lab.now_ms += 499
    assert lab.expire(1, token).refusal is Refusal.NOT_EXPIRED
    lab.now_ms += 1
    assert lab.expire(1, token).after is State.PENDING


def test_a_renewal_that_was_decided_first_defeats_an_expiry_proposed_earlier() -> None:
    lab = Lab()
    token = lab.start(1, lease_ms=500)
    lab.now_ms += 500
    ref = LeaseRef(task_id(1), token)
    assert lab.ledger.expiring(lab.now_ms, 10) == [ref]
    lab.renew([ref])
    assert lab.expire(1, token).refusal is Refusal.NOT_EXPIRED
    assert lab.ledger.expiring(lab.now_ms, 10) == []
    assert lab.ledger.expiring(lab.now_ms + 500, 10) == [ref]


def test_an_expiry_of_an_earlier_lease_does_not_touch_the_present_one() -> None:
    lab = Lab()
    old = lab.start(1, lease_ms=500)
    lab.end_leases(ANNA, 1)
    lab.assign(1, BEN)
    lab.now_ms += 10_000
    assert lab.expire(1, old).refusal is Refusal.STALE_TOKEN


def test_ledger_time_never_goes_back_and_a_late_leader_cannot_shorten_a_lease() -> None:
    lab = Lab()
    lab.now_ms = 50_000
    lab.submit(spec(1, lease_ms=1000))
    lab.now_ms = 10
    lab.assign(1)
    assert lab.ledger.time_ms == 50_000
    assert lab.view(1).lease_deadline_ms == 51_000


def test_a_cancelled_task_cannot_be_completed() -> None:
    lab = Lab()
    token = lab.start(1)
    assert lab.cancel(1).after is State.CANCELLED
    assert lab.complete(1, token).refusal is Refusal.STALE_TOKEN
    assert lab.cancel(1).refusal is Refusal.DUPLICATE
    assert lab.view(1).history[-1].ended is EndedBy.CANCELLED


def test_only_final_tasks_can_be_forgotten_and_their_key_is_free_then() -> None:
    lab = Lab()
    token = lab.start(1, key="k", job="night")
    assert lab.forget(1).refusal is Refusal.ILLEGAL_MOVE
    lab.complete(1, token)
    assert lab.ledger.finished_before(lab.now_ms + 1, 10) == [task_id(1)]
    forgotten = lab.forget(1)
    assert (forgotten.before, forgotten.after) == (State.DONE, None)
    assert (len(lab.ledger), lab.ledger.jobs(), lab.ledger.finished_bytes) == (0, (), 0)
    assert lab.submit(spec(2, key="k"))[0].refusal is None


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"payload": b"x" * (MAX_PAYLOAD_BYTES + 1)}, Refusal.PAYLOAD_TOO_LARGE),
        ({"policy": "vote-by-coin"}, Refusal.UNKNOWN_POLICY),
        ({"max_attempts": 0}, Refusal.OUT_OF_RANGE),
        ({"timeout_ms": 0}, Refusal.OUT_OF_RANGE),
        ({"lease_ms": 5}, Refusal.OUT_OF_RANGE),
        ({"priority": 101}, Refusal.OUT_OF_RANGE),
        ({"priority": True}, Refusal.MALFORMED),
        ({"skill": ""}, Refusal.MALFORMED),
        ({"task_id": "XYZ"}, Refusal.MALFORMED),
        ({"key": ""}, Refusal.MALFORMED),
        ({"payload": "text"}, Refusal.MALFORMED),
    ],
)
def test_a_bad_submission_is_refused_and_its_neighbours_are_not(
    changes: dict[str, object], refusal: Refusal
) -> None:
    lab = Lab()
    verdicts = lab.submit(spec(1), spec(2, **changes), spec(3))
    assert [verdict.refusal for verdict in verdicts] == [None, refusal, None]
    assert len(lab.ledger) == 2


def test_a_result_that_is_too_large_is_refused_by_every_replica_alike() -> None:
    lab = Lab()
    token = lab.start(1)
    refused = lab.complete(1, token, result=b"x" * (MAX_RESULT_BYTES + 1))
    assert refused.refusal is Refusal.RESULT_TOO_LARGE
    assert lab.complete(1, token, result=b"x" * MAX_RESULT_BYTES).accepted


def test_the_history_is_bounded_and_keeps_the_latest() -> None:
    lab = Lab()
    lab.submit(spec(1, max_attempts=1000))
    for _ in range(MAX_HISTORY + 5):
        lab.fail(1, lab.assign(1).token)
    view = lab.view(1)
    assert (len(view.history), view.executions) == (MAX_HISTORY, MAX_HISTORY + 5)
    assert view.history[-1].token == view.token


def test_a_job_counts_its_tasks_by_state() -> None:
    lab = Lab()
    token = lab.start(1, job="night")
    lab.submit(spec(2, job="night"), spec(3))
    lab.complete(1, token)
    job = lab.ledger.job("night")
    assert job is not None
    assert (job.total, job.open, job.counts[State.DONE]) == (2, 1, 1)
    assert lab.ledger.job("day") is None


def _into(lab: Lab, state: State) -> Token:
    """Bring task 1 into a state; the token of its latest lease."""
    token = lab.start(1, max_attempts=1) if state is not State.PENDING else Token(0)
    match state:
        case State.PENDING:
            lab.submit(spec(1, max_attempts=1))
        case State.DONE:
            lab.complete(1, token)
        case State.FAILED:
            lab.fail(1, token, retryable=False)
        case State.PARKED:
            lab.fail(1, token)
        case State.CANCELLED:
            lab.cancel(1)
    assert lab.state(1) is state
    return token


_MOVES: dict[Move, Callable[[Lab, Token], object]] = {
    Move.ASSIGN: lambda lab, token: lab.assign(1),
    Move.RENEW: lambda lab, token: lab.renew([LeaseRef(task_id(1), token)]),
    Move.COMPLETE: lambda lab, token: lab.complete(1, token),
    Move.REJECT: lambda lab, token: lab.fail(1, token, retryable=False),
    Move.EXHAUST: lambda lab, token: lab.fail(1, token),
    Move.REQUEUE: lambda lab, token: lab.release(1, token),
    Move.CANCEL: lambda lab, token: lab.cancel(1),
    Move.RETRY: lambda lab, token: lab.retry(1),
}


@pytest.mark.parametrize("move", _MOVES)  # disapproval: `test_ledger_voted`
@pytest.mark.parametrize("state", State)
def test_every_state_and_move_does_what_the_table_says_and_nothing_else(
    state: State, move: Move
) -> None:
    lab = Lab()
    token = _into(lab, state)
    before = lab.view(1)
    _MOVES[move](lab, token)
    assert lab.state(1) is STATE_TABLE.get((state, move), state)
    if (state, move) not in STATE_TABLE:
        assert lab.view(1) == before
