"""The two queues that make batches: what comes in, and what a worker reports."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling_lab import completion, ref, spec, task_id

from agents.ledger import Applied, Kind, Refusal, Refused, State, Token, Verdict
from agents.scheduling.intake import Intake
from agents.scheduling.outbox import Outbox
from agents.scheduling.reports import (
    ReportAnswer,
    report_from_wire,
    report_to_wire,
)


def _intake(**changes: int) -> Intake:
    bounds = {"max_items": 4, "max_bytes": 10_000, "max_under_way": 2, "max_queued": 100}
    return Intake(**(bounds | changes))


def _verdict(number: int) -> Verdict:
    return Verdict(task_id(number), Token(0), None, State.PENDING)


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_every_request_is_settled_once_with_its_own_verdicts(seed: int) -> None:
    rng = random.Random(seed)
    intake = _intake()
    under_way: dict[int, list[int]] = {}
    asked: dict[int, list[int]] = {}
    settled: dict[int, bool] = {}
    proposal = number = 0
    for step in range(80):
        if rng.random() < 0.5 and step < 60:
            numbers = [number + place for place in range(rng.randint(1, 9))]
            number += len(numbers)
            asked[step] = numbers
            intake.add(step, [(Kind.SUBMITTED, spec(n)) for n in numbers])
        while (batch := intake.next_batch(proposal + 1)) is not None:
            proposal += 1
            under_way[proposal] = [int(item.task_id, 16) for item in batch.items]
        done = []
        if under_way and (rng.random() < 0.5 or step >= 60):
            which = rng.choice(sorted(under_way))
            numbers = under_way.pop(which)
            if rng.random() < 0.2:
                done = intake.fail(which, definite=rng.random() < 0.5)
            else:
                verdicts = tuple(map(_verdict, numbers))
                done = intake.decide(which, Applied(1, Kind.SUBMITTED, 0, verdicts))
        for pledge in done:
            assert pledge.origin not in settled
            settled[pledge.origin] = pledge.failed
            if not pledge.failed:
                assert pledge.verdicts == [_verdict(n) for n in asked[pledge.origin]]
        intake.check_invariants()
        assert len(under_way) <= 2
    while under_way:
        which, _ = under_way.popitem()
        for pledge in intake.fail(which, definite=False):
            assert pledge.origin not in settled
            settled[pledge.origin] = True
    for pledge in intake.clear():
        assert pledge.origin not in settled
        settled[pledge.origin] = True
    assert settled.keys() == asked.keys()


def test_a_request_that_was_decided_in_part_is_not_definitely_without_effect() -> None:
    intake = _intake(max_items=1)
    intake.add("a", [(Kind.SUBMITTED, spec(1)), (Kind.SUBMITTED, spec(2))])
    intake.next_batch(1)
    intake.next_batch(2)
    assert intake.decide(1, Applied(1, Kind.SUBMITTED, 0, (_verdict(1),))) == []
    (pledge,) = intake.fail(2, definite=True)
    assert (pledge.failed, pledge.definite) == (True, False)


def test_a_command_that_the_ledger_refused_whole_fails_its_requests_definitely() -> None:
    intake = _intake()
    intake.add("a", [(Kind.SUBMITTED, spec(1))])
    intake.next_batch(1)
    (pledge,) = intake.decide(1, Refused(1, Refusal.MALFORMED))
    assert (pledge.failed, pledge.definite) == (True, True)


def test_one_item_over_the_bound_in_bytes_still_goes_alone() -> None:
    intake = _intake(max_bytes=1000)
    intake.add("a", [(Kind.SUBMITTED, spec(1, payload=b"x" * 5000)), (Kind.SUBMITTED, spec(2))])
    batch = intake.next_batch(1)
    assert batch is not None
    assert len(batch.items) == 1


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_report_is_sent_until_it_is_removed_and_never_after(seed: int) -> None:
    rng = random.Random(seed)
    outbox = Outbox(max_items=3, max_bytes=2000, max_batches=2, retry_ms=100, retry_max_ms=400)
    now_ms = 0
    open_reports: set[int] = set()
    for number in range(60):
        now_ms += rng.choice([0, 10, 150, 600])
        if rng.random() < 0.6:
            outbox.add(completion(number, 1))
            open_reports.add(number)
        if open_reports and rng.random() < 0.5:
            gone = rng.choice(sorted(open_reports))
            outbox.remove(ref(gone, 1))
            open_reports.discard(gone)
        if rng.random() < 0.1:
            outbox.resend_all()
        for batch in outbox.take(now_ms):
            assert {int(report.task_id, 16) for report in batch} <= open_reports
        outbox.check_invariants()
        assert len(outbox) == len(open_reports)
    seen: set[int] = set()
    for _ in range(200):
        for batch in outbox.take(now_ms):
            for report in batch:
                seen.add(int(report.task_id, 16))
                outbox.remove(ref(int(report.task_id, 16), 1))
        now_ms += 500
    assert seen == open_reports


def test_reports_survive_the_wire_and_what_is_none_is_refused() -> None:
    report = completion(1, 7)
    assert report_from_wire(report_to_wire(report)) == report
    for raw in (None, [], ["x"], [4], [5, 1], [True, 1], [99, *report], {"a": 1}):
        assert report_from_wire(raw) is None


def test_answers_survive_the_wire_and_an_unknown_refusal_is_still_final() -> None:
    answer = ReportAnswer(task_id(1), Token(7), Refusal.DUPLICATE)
    assert ReportAnswer.from_wire(list(answer)) == answer
    unknown = ReportAnswer.from_wire([task_id(1), 7, "eaten by a dog"])
    assert unknown == answer._replace(refusal=Refusal.STALE_TOKEN)
    for raw in (None, [], [task_id(1), 7], ["x", 7, None]):
        assert ReportAnswer.from_wire(raw) is None
