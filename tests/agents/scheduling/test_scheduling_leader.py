"""What a leader proposes, and whom it tells what."""

from __future__ import annotations

from typing import TypeVar

from scheduling_lab import ANNA, BEN, LeaderLab, agent, completion, ref, spec, task_id, worker

from agents.ledger import Refusal, Release, State, Token
from agents.scheduling import (
    AnswerRenewal,
    AnswerReports,
    AnswerRequest,
    CancelReceived,
    Deposed,
    Elected,
    Failing,
    FailRequest,
    LeaderEffect,
    LeaderTick,
    PeerDied,
    ProposalFailed,
    RenewalReceived,
    ReportAnswer,
    ReportsReceived,
    RetryReceived,
    SubmissionReceived,
    TellRevoked,
    TellWork,
    WorkAcknowledged,
    WorkersChanged,
)

_T = TypeVar("_T")


def _only(kind: type[_T], effects: list[LeaderEffect]) -> _T:
    (found,) = [effect for effect in effects if isinstance(effect, kind)]
    return found


def test_a_submission_is_decided_answered_assigned_and_told() -> None:
    lab = LeaderLab()
    lab.lead(worker(ANNA))
    effects = lab.step(SubmissionReceived(5, (spec(1), spec(2))))
    answer = _only(AnswerRequest, effects)
    assert (answer.request, [v.after for v in answer.verdicts]) == (5, [State.PENDING] * 2)
    told = _only(TellWork, effects)
    assert (told.peer, told.incarnation) == (ANNA, 1)
    assert [item.task_id for item in told.work] == [task_id(1), task_id(2)]
    assert {item.token for item in told.work} == {lab.index}


def test_nobody_is_told_of_a_lease_before_it_is_decided() -> None:
    lab = LeaderLab()
    lab.lead(worker(ANNA))
    lab.step(SubmissionReceived(1, (spec(1),)))
    lab.decide = False
    assert lab.step(SubmissionReceived(2, (spec(2),))) == []
    assert len(lab.proposed) == 1
    effects = lab.settle()
    assert [item.task_id for item in _only(TellWork, effects).work] == [task_id(2)]


def test_requests_that_come_while_a_batch_is_under_way_share_the_next_one() -> None:
    lab = LeaderLab(batches_under_way=1)
    lab.lead(worker(ANNA))
    lab.decide = False
    for request in range(50):
        lab.step(SubmissionReceived(request, (spec(request),)))
    assert len(lab.proposed) == 1
    answers = [effect for effect in lab.settle() if isinstance(effect, AnswerRequest)]
    assert [answer.request for answer in answers] == list(range(50))
    assert len(lab.ledger) == 50


def test_one_batch_of_assignments_is_under_way_at_a_time() -> None:
    lab = LeaderLab()
    lab.step(WorkersChanged((worker(ANNA, agent(capacity=50)),)), Elected())
    lab.decide = False
    lab.step(SubmissionReceived(1, (spec(1),)))
    lab.decide = True
    lab.settle()
    lab.decide = False
    lab.step(SubmissionReceived(2, (spec(2), spec(3))))
    submitted = lab.proposed.pop()
    lab.proposed = [submitted]
    events = lab._decided()
    lab.step(*events)
    assert len(lab.proposed) == 1  # the assignments of 2 and 3
    lab.now_ms += 500
    lab.step(LeaderTick())
    assert len(lab.proposed) == 1


def test_a_batch_is_bounded_in_bytes_and_a_request_that_spans_batches_is_answered_once() -> None:
    lab = LeaderLab(batch_bytes=3000)
    lab.lead()
    big = tuple(spec(number, payload=b"x" * 1000) for number in range(10))
    answers = lab.step(SubmissionReceived(1, big))
    answer = _only(AnswerRequest, answers)
    assert [verdict.task_id for verdict in answer.verdicts] == [item.task_id for item in big]
    assert lab.index == 5


def test_a_bad_submission_is_answered_at_once_and_never_reaches_the_log() -> None:
    lab = LeaderLab()
    lab.lead()
    bad = spec(2, payload="text")
    answer = _only(AnswerRequest, lab.step(SubmissionReceived(1, (spec(1), bad))))
    assert [verdict.refusal for verdict in answer.verdicts] == [None, Refusal.MALFORMED]
    index = lab.index
    answer = _only(AnswerRequest, lab.step(SubmissionReceived(2, (bad,))))
    assert (answer.verdicts[0].refusal, lab.index) == (Refusal.MALFORMED, index)


def test_who_does_not_lead_says_so_and_proposes_nothing() -> None:
    lab = LeaderLab()
    lab.decide = False
    effects = lab.step(SubmissionReceived(1, (spec(1),)), WorkersChanged((worker(ANNA),)))
    assert effects == [FailRequest(1, Failing.NOT_LEADER, True)]
    assert lab.step(ReportsReceived(ANNA, (completion(1, 1),)), LeaderTick()) == []
    assert (lab.proposed, lab.core.deadline_ms) == ([], None)


def test_a_full_queue_refuses_requests_and_lets_workers_ask_again() -> None:
    lab = LeaderLab(max_queued=3, batches_under_way=1)
    lab.lead()
    lab.decide = False
    lab.step(SubmissionReceived(1, (spec(1),)))
    lab.step(SubmissionReceived(2, (spec(2), spec(3), spec(4))))
    effects = lab.step(
        SubmissionReceived(3, (spec(5),)), ReportsReceived(ANNA, (completion(1, 1),))
    )
    assert effects == [FailRequest(3, Failing.OVERLOADED, True)]


def test_reports_are_decided_and_answered_each_with_the_ledgers_word() -> None:
    lab = LeaderLab()
    lab.lead(worker(ANNA))
    lab.step(SubmissionReceived(1, (spec(1), spec(2))))
    token = lab.index
    released = Release(task_id(2), Token(token), ANNA, "draining")
    effects = lab.step(ReportsReceived(ANNA, (completion(1, token), released, completion(9, 1))))
    assert _only(AnswerReports, effects).answers == (
        ReportAnswer(task_id(1), Token(token), None),
        ReportAnswer(task_id(2), Token(token), None),
        ReportAnswer(task_id(9), Token(1), Refusal.UNKNOWN_TASK),
    )
    assert lab.ledger.state_of(task_id(1)) is State.DONE
    again = lab.step(ReportsReceived(ANNA, (completion(1, token),)))
    assert _only(AnswerReports, again).answers[0].refusal is Refusal.DUPLICATE


def test_a_report_in_the_name_of_another_peer_never_reaches_the_log() -> None:
    lab = LeaderLab()
    lab.lead(worker(ANNA))
    lab.step(SubmissionReceived(1, (spec(1),)))
    index = lab.index
    effects = lab.step(ReportsReceived(BEN, (completion(1, index, ANNA),)))
    assert _only(AnswerReports, effects).answers[0].refusal is Refusal.NOT_HOLDER
    assert (lab.index, lab.ledger.state_of(task_id(1))) == (index, State.ASSIGNED)


def test_a_renewal_is_answered_with_what_was_extended_and_what_is_lost() -> None:
    lab = LeaderLab()
    lab.lead(worker(ANNA))
    lab.step(SubmissionReceived(1, (spec(1),)))
    mine, stale = ref(1, lab.index), ref(1, 1)
    lab.now_ms += 4000
    effects = lab.step(RenewalReceived(ANNA, 1, 7, (mine, stale)))
    assert _only(AnswerRenewal, effects) == AnswerRenewal(ANNA, 7, (mine,), (stale,))
    view = lab.ledger.get(task_id(1))
    assert view is not None
    assert view.lease_deadline_ms == 4000 + 10_000


def test_work_is_told_again_until_it_is_acknowledged_and_only_by_its_holder() -> None:
    lab = LeaderLab(retell_ms=1000)
    lab.lead(worker(ANNA))
    lab.step(SubmissionReceived(1, (spec(1),)))
    lease = ref(1, lab.index)
    lab.step(WorkAcknowledged(BEN, (lease,)))
    lab.now_ms += 500
    assert lab.step(LeaderTick()) == []
    lab.now_ms += 600
    told = _only(TellWork, lab.step(LeaderTick()))
    assert told.work[0].lease_left_ms == 10_000 - 1100
    lab.step(WorkAcknowledged(ANNA, (lease,)))
    lab.now_ms += 5000
    assert lab.step(LeaderTick()) == []


def test_the_leases_of_a_dead_peer_end_by_a_decided_entry_and_its_tasks_go_elsewhere() -> None:
    lab = LeaderLab()
    lab.lead(worker(ANNA))
    lab.step(SubmissionReceived(1, (spec(1),)))
    old = lab.index
    effects = lab.step(WorkersChanged((worker(ANNA), worker(BEN))), PeerDied(ANNA, 1))
    told = _only(TellWork, effects)
    assert (told.peer, told.work[0].attempt) == (BEN, 2)
    assert told.work[0].token > old
    assert _only(TellRevoked, effects) == TellRevoked(ANNA, (ref(1, old),))


def test_a_lease_decided_just_after_its_peer_died_ends_as_well() -> None:
    lab = LeaderLab()
    lab.lead(worker(ANNA))
    lab.decide = False
    lab.step(SubmissionReceived(1, (spec(1),)))
    lab.step(*lab._decided())
    assert len(lab.proposed) == 1  # the assignment to anna
    lab.step(PeerDied(ANNA, 1))
    lab.settle()
    assert lab.ledger.state_of(task_id(1)) is State.PENDING


def test_a_restarted_peer_loses_the_leases_of_its_earlier_start_only() -> None:
    lab = LeaderLab()
    lab.lead(worker(ANNA))
    lab.step(SubmissionReceived(1, (spec(1),)))
    effects = lab.step(WorkersChanged((worker(ANNA, incarnation=2),)))
    assert _only(TellWork, effects).incarnation == 2
    assert lab.step(WorkersChanged((worker(ANNA, incarnation=2),))) == []


def test_an_expired_lease_ends_once_ledger_time_has_passed_and_its_holder_is_told() -> None:
    lab = LeaderLab()
    lab.lead(worker(ANNA))
    lab.step(SubmissionReceived(1, (spec(1, lease_ms=1000),)))
    lease = ref(1, lab.index)
    lab.step(WorkAcknowledged(ANNA, (lease,)))
    lab.now_ms += 999
    assert lab.step(LeaderTick()) == []
    lab.now_ms += 101
    effects = lab.step(LeaderTick())
    assert _only(TellRevoked, effects) == TellRevoked(ANNA, (lease,))
    view = lab.ledger.get(task_id(1))
    assert view is not None
    assert (view.state, view.attempts) == (State.ASSIGNED, 2)


def test_ledger_time_stands_still_without_a_leader_so_a_failover_shortens_no_lease() -> None:
    lab = LeaderLab()
    lab.lead(worker(ANNA))
    lab.step(SubmissionReceived(1, (spec(1, lease_ms=1000),)))
    lease = ref(1, lab.index)
    lab.step(Deposed())
    lab.now_ms += 60_000
    told = _only(TellWork, lab.step(Elected()))
    assert told.work[0].lease_left_ms == 1000
    lab.step(WorkAcknowledged(ANNA, (lease,)), LeaderTick())
    assert lab.ledger.state_of(task_id(1)) is State.ASSIGNED


def test_a_new_leader_tells_all_leases_again_and_ends_those_of_peers_it_knows_dead() -> None:
    lab = LeaderLab()
    lab.lead(worker(ANNA, agent(capacity=1)), worker(BEN, agent(capacity=1)))
    lab.step(SubmissionReceived(1, (spec(1), spec(2))))
    lab.step(Deposed(), PeerDied(BEN, 1))
    effects = lab.step(Elected())
    told = [effect for effect in effects if isinstance(effect, TellWork)]
    assert told[0].peer == ANNA
    assert _only(TellRevoked, effects).peer == BEN


def test_losing_leadership_fails_what_waited_definitely_and_what_was_proposed_not() -> None:
    lab = LeaderLab(batches_under_way=1)
    lab.lead()
    lab.decide = False
    lab.step(SubmissionReceived(1, (spec(1),)))
    lab.step(SubmissionReceived(2, (spec(2),)))
    assert lab.step(Deposed()) == [FailRequest(2, Failing.UNDECIDED, True)]
    (proposal,) = lab.proposed
    lab.proposed = []
    failed = lab.step(ProposalFailed(proposal.proposal, definite=False))
    assert failed == [FailRequest(1, Failing.UNDECIDED, False)]


def test_a_plan_that_was_not_decided_is_made_again() -> None:
    lab = LeaderLab()
    lab.lead(worker(ANNA))
    lab.decide = False
    lab.step(SubmissionReceived(1, (spec(1),)))
    lab.step(*lab._decided())
    (lost,) = lab.proposed
    lab.proposed = []
    lab.step(ProposalFailed(lost.proposal, definite=True))
    lab.now_ms += 200
    lab.step(LeaderTick())
    assert _only(TellWork, lab.settle()).peer == ANNA


def test_cancelling_a_running_task_tells_its_holder_and_a_parked_one_can_be_retried() -> None:
    lab = LeaderLab()
    lab.lead(worker(ANNA))
    lab.step(SubmissionReceived(1, (spec(1),)))
    lease = ref(1, lab.index)
    effects = lab.step(CancelReceived(2, (task_id(1), task_id(8))))
    verdicts = _only(AnswerRequest, effects).verdicts
    assert [verdict.refusal for verdict in verdicts] == [None, Refusal.UNKNOWN_TASK]
    assert _only(TellRevoked, effects).leases == (lease,)
    retried = _only(AnswerRequest, lab.step(RetryReceived(3, (task_id(1),))))
    assert retried.verdicts[0].refusal is Refusal.ILLEGAL_MOVE


def test_finished_tasks_are_forgotten_by_age_and_by_number() -> None:
    lab = LeaderLab(retain_ms=10_000, retain_tasks=2)
    lab.lead()
    lab.step(SubmissionReceived(1, tuple(spec(number) for number in range(5))))
    lab.step(CancelReceived(2, tuple(task_id(number) for number in range(4))))
    lab.now_ms += 200
    lab.step(LeaderTick())
    assert len(lab.ledger) == 3
    lab.now_ms += 20_000
    lab.step(LeaderTick())
    assert [view.task_id for view in lab.ledger.tasks()] == [task_id(4)]
