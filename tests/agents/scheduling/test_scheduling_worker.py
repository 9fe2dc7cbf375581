"""What a worker starts, keeps, stops and says."""

from __future__ import annotations

import pytest
from scheduling_lab import ANNA, BEN, ref, task_id, work

from agents.ledger import (
    MAX_RESULT_BYTES,
    Completion,
    ErrorText,
    Failure,
    LeaseRef,
    Refusal,
    Release,
    Token,
)
from agents.scheduling import (
    AcknowledgeWork,
    AgentsChanged,
    Cancel,
    CancelReason,
    Drained,
    DrainRequested,
    ExecutionFailed,
    ExecutionFinished,
    ExecutionStopped,
    LeaderChanged,
    LeasesRevoked,
    RenewalAnswered,
    ReportAnswer,
    ReportsAnswered,
    SendRenewal,
    SendReports,
    Start,
    WorkerCore,
    WorkerEffect,
    WorkerEvent,
    WorkerSettings,
    WorkerTick,
    WorkTold,
)


class WorkerLab:
    """A worker of capacity 2 that knows a leader."""

    def __init__(self, **settings: object) -> None:
        self.core = WorkerCore(WorkerSettings(**settings), ANNA, incarnation=3)  # type: ignore[arg-type]
        self.now_ms = 1000
        self.step(AgentsChanged({"reader": 2}), LeaderChanged(BEN))

    def step(self, *events: WorkerEvent) -> list[WorkerEffect]:
        effects = self.core.step(*events, now_ms=self.now_ms)
        self.core.check_invariants()
        return effects

    def tell(self, *numbers: int, token: int = 10, **changes: object) -> list[WorkerEffect]:
        return self.step(WorkTold(3, tuple(work(n, token, **changes) for n in numbers)))

    def finish(self, number: int, token: int = 10) -> list[WorkerEffect]:
        return self.step(ExecutionFinished(task_id(number), Token(token), b"text"))

    def answer(
        self, number: int, token: int = 10, refusal: Refusal | None = None
    ) -> list[WorkerEffect]:
        return self.step(ReportsAnswered((ReportAnswer(task_id(number), Token(token), refusal),)))


def _started(effects: list[WorkerEffect]) -> list[str]:
    return [effect.work.task_id for effect in effects if isinstance(effect, Start)]


def _reports(effects: list[WorkerEffect]) -> list[object]:
    sent = [effect for effect in effects if isinstance(effect, SendReports)]
    return [report for effect in sent for report in effect.reports]


def test_work_is_acknowledged_and_started_up_to_the_agents_capacity() -> None:
    lab = WorkerLab()
    effects = lab.tell(1, 2, 3)
    assert effects[0] == AcknowledgeWork((ref(1, 10), ref(2, 10), ref(3, 10)))
    assert _started(effects) == [task_id(1), task_id(2)]
    assert _started(lab.finish(1)) == [task_id(3)]


def test_work_that_is_told_twice_is_started_once() -> None:
    lab = WorkerLab()
    lab.tell(1)
    assert lab.tell(1) == [AcknowledgeWork((ref(1, 10),))]
    lab.finish(1)
    lab.answer(1)
    assert lab.tell(1) == [AcknowledgeWork((ref(1, 10),))]
    assert lab.core.held == 0


def test_work_for_another_start_of_this_peer_is_not_ours() -> None:
    lab = WorkerLab()
    assert lab.step(WorkTold(2, (work(1),))) == []
    assert lab.core.dropped == 1


def test_work_whose_lease_is_nearly_over_is_neither_started_nor_acknowledged() -> None:
    lab = WorkerLab()
    assert lab.tell(1, lease_left_ms=900) == []
    assert lab.core.held == 0


def test_a_result_is_reported_until_the_ledger_answers() -> None:
    lab = WorkerLab(report_retry_ms=1000)
    lab.tell(1)
    report = Completion(task_id(1), Token(10), ANNA, b"text")
    assert _reports(lab.finish(1)) == [report]
    lab.now_ms += 500
    assert _reports(lab.step(WorkerTick())) == []
    lab.now_ms += 500
    assert _reports(lab.step(WorkerTick())) == [report]
    lab.now_ms += 1999
    assert _reports(lab.step(WorkerTick())) == []  # the wait has doubled
    lab.now_ms += 1
    assert _reports(lab.step(WorkerTick())) == [report]
    lab.answer(1)
    lab.now_ms += 60_000
    assert lab.step(WorkerTick()) == []
    assert lab.core.deadline_ms is None


@pytest.mark.parametrize("refusal", [Refusal.DUPLICATE, Refusal.STALE_TOKEN, Refusal.UNKNOWN_TASK])
def test_any_answer_ends_a_report(refusal: Refusal) -> None:
    lab = WorkerLab()
    lab.tell(1)
    lab.finish(1)
    lab.answer(1, refusal=refusal)
    assert lab.core.held == 0


def test_a_new_leader_gets_reports_and_renewals_at_once() -> None:
    lab = WorkerLab()
    lab.tell(1, 2)
    lab.finish(1)
    lab.step(LeaderChanged(None))
    assert _reports(lab.finish(2)) == []
    effects = lab.step(LeaderChanged(BEN))
    assert len(_reports(effects)) == 2
    (renewal,) = [effect for effect in effects if isinstance(effect, SendRenewal)]
    assert renewal.leases == (ref(1, 10), ref(2, 10))


def test_leases_are_renewed_in_one_batch_three_times_a_lease() -> None:
    lab = WorkerLab()
    lab.tell(1, 2, 3, lease_ms=9000, lease_left_ms=9000)
    assert lab.core.deadline_ms == 1000 + 3000
    lab.now_ms += 3000
    assert lab.step(WorkerTick()) == [SendRenewal(1, 3, (ref(1, 10), ref(2, 10), ref(3, 10)))]
    assert lab.step(WorkerTick()) == []


def test_an_execution_stops_when_its_lease_was_not_renewed_in_time() -> None:
    lab = WorkerLab()
    lab.tell(1, 2, 3)
    lab.now_ms += 8000 - 1000  # an eighth is the margin
    effects = lab.step(WorkerTick())
    lost = CancelReason.LEASE_LOST
    cancels = [effect for effect in effects if isinstance(effect, Cancel)]
    assert cancels == [
        Cancel(task_id(1), Token(10), CancelReason.LEASE_LOST),
        Cancel(task_id(2), Token(10), lost),
    ]
    assert lab.core.held == 0
    assert lab.core.in_flight() == {"reader": 2}


def test_a_renewal_counts_from_before_it_was_sent() -> None:
    lab = WorkerLab()
    lab.tell(1, timeout_ms=100_000)
    lab.now_ms += 3000
    (sent,) = lab.step(WorkerTick())
    assert isinstance(sent, SendRenewal)
    lab.now_ms += 2000
    lab.step(RenewalAnswered(sent.round, sent.leases, ()))
    lab.step(LeaderChanged(None))
    lab.now_ms = 1000 + 3000 + 6999
    assert not [e for e in lab.step(WorkerTick()) if isinstance(e, Cancel)]
    lab.now_ms += 1
    assert [e for e in lab.step(WorkerTick()) if isinstance(e, Cancel)]


def test_an_answer_to_a_round_that_was_never_sent_extends_nothing() -> None:
    lab = WorkerLab()
    lab.tell(1)
    lab.step(RenewalAnswered(99, (ref(1, 10),), ()))
    lab.now_ms += 7000
    assert [e for e in lab.step(WorkerTick()) if isinstance(e, Cancel)]


def test_a_result_whose_lease_ran_out_is_still_reported() -> None:
    lab = WorkerLab()
    lab.tell(1)
    lab.step(LeaderChanged(None))
    lab.finish(1)
    lab.now_ms += 60_000
    lab.step(WorkerTick())
    assert len(_reports(lab.step(LeaderChanged(BEN)))) == 1


def test_a_cancelled_execution_keeps_its_place_until_it_has_stopped() -> None:
    lab = WorkerLab()
    lab.tell(1, 2, 3)
    effects = lab.step(LeasesRevoked((ref(1, 10),)))
    assert effects == [Cancel(task_id(1), Token(10), CancelReason.REVOKED)]
    assert _started(lab.step(ExecutionStopped(task_id(1), Token(10)))) == [task_id(3)]


def test_a_result_that_comes_after_the_cancel_is_dropped_and_frees_the_place() -> None:
    lab = WorkerLab()
    lab.tell(1, 2, 3)
    lab.step(LeasesRevoked((ref(1, 10),)))
    effects = lab.finish(1)
    assert (_reports(effects), _started(effects)) == ([], [task_id(3)])


def test_an_execution_that_runs_too_long_is_stopped_and_reported_as_retryable() -> None:
    lab = WorkerLab()
    lab.tell(1, timeout_ms=500)
    lab.now_ms += 500
    effects = lab.step(WorkerTick())
    assert effects[0] == Cancel(task_id(1), Token(10), CancelReason.TIMEOUT)
    (report,) = _reports(effects)
    assert isinstance(report, Failure)
    assert (report.error.type, report.retryable) == ("TimeoutError", True)
    lab.step(ExecutionStopped(task_id(1), Token(10)))
    assert lab.core.in_flight() == {}


def test_the_same_task_with_a_new_token_supersedes_the_old_execution() -> None:
    lab = WorkerLab()
    lab.tell(1)
    effects = lab.tell(1, token=20)
    assert Cancel(task_id(1), Token(10), CancelReason.SUPERSEDED) in effects
    assert _started(effects) == [task_id(1)]
    assert lab.tell(1, token=10) == [AcknowledgeWork((ref(1, 10),))]
    assert _reports(lab.finish(1, token=10)) == []
    assert len(_reports(lab.finish(1, token=20))) == 1


def test_a_result_that_is_too_large_becomes_a_failure_that_no_retry_mends() -> None:
    lab = WorkerLab()
    lab.tell(1)
    big = b"x" * (MAX_RESULT_BYTES + 1)
    (report,) = _reports(lab.step(ExecutionFinished(task_id(1), Token(10), big)))
    assert isinstance(report, Failure)
    assert (report.error.type, report.retryable) == ("ResultTooLarge", False)


def test_a_failure_is_clipped_to_what_the_ledger_takes() -> None:
    lab = WorkerLab()
    lab.tell(1)
    error = ErrorText("E" * 999, "m" * 9999, "head" + "t" * 9999 + "tail")
    (report,) = _reports(lab.step(ExecutionFailed(task_id(1), Token(10), error, True)))
    assert isinstance(report, Failure)
    assert (len(report.error.type), len(report.error.traceback)) == (256, 4096)
    assert report.error.traceback.endswith("tail")


def test_draining_gives_back_what_was_not_started_and_ends_when_the_rest_is_answered() -> None:
    lab = WorkerLab()
    lab.tell(1, 2, 3)
    effects = lab.step(DrainRequested())
    assert _reports(effects) == [Release(task_id(3), Token(10), ANNA, "draining")]
    assert _reports(lab.tell(4)) == [Release(task_id(4), Token(10), ANNA, "draining")]
    for number in (1, 2):
        lab.finish(number)
    for number in (1, 2, 3):
        assert lab.answer(number) == []
    assert lab.answer(4) == [Drained()]


def test_an_idle_worker_is_drained_at_once() -> None:
    lab = WorkerLab()
    assert lab.step(DrainRequested()) == [Drained()]
    assert lab.step(WorkerTick()) == []


def test_work_beyond_the_queue_or_for_no_agent_of_ours_is_given_back() -> None:
    lab = WorkerLab(queue_per_agent=1)
    lab.tell(1, 2)
    lab.tell(3)
    (full,) = _reports(lab.tell(4))
    assert isinstance(full, Release)
    assert full.reason == "queue full"
    (unknown,) = _reports(lab.tell(5, agent="writer"))
    assert isinstance(unknown, Release)
    assert unknown.reason == "no such agent"


def test_an_agent_that_goes_gives_back_its_queue() -> None:
    lab = WorkerLab()
    lab.tell(1, 2, 3)
    (report,) = _reports(lab.step(AgentsChanged({})))
    assert isinstance(report, Release)
    assert report.task_id == task_id(3)


def test_reports_beyond_the_batches_under_way_wait_and_share_the_next() -> None:
    lab = WorkerLab(report_batches=1, queue_per_agent=100)
    lab.step(AgentsChanged({"reader": 50}))
    lab.tell(*range(10))
    assert len(_reports(lab.finish(0))) == 1
    for number in range(1, 10):
        assert _reports(lab.finish(number)) == []
    assert len(_reports(lab.answer(0))) == 9


def test_leases_that_the_ledger_says_are_over_are_stopped() -> None:
    lab = WorkerLab()
    lab.tell(1)
    (cancel,) = lab.step(RenewalAnswered(1, (), (LeaseRef(task_id(1), Token(10)),)))
    assert cancel == Cancel(task_id(1), Token(10), CancelReason.LEASE_LOST)
