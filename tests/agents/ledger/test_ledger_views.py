"""What the ledger shows, and that it costs nothing to hold what waits."""

from __future__ import annotations

import sys
from types import FrameType

import msgpack
import pytest
from ledger_lab import ANNA, BEN, Lab, spec, task_id

from agents.ledger import (
    Applied,
    Assignment,
    Completion,
    LeaseRef,
    Ledger,
    State,
    TaskView,
    Work,
    encode_assigned,
    encode_completed,
    encode_submitted,
)
from agents.ledger.leases import LeaseTable
from agents.ledger.model import Lease, Token
from agents.ledger.task import Task


def test_a_view_survives_the_wire() -> None:
    lab = Lab()
    token = lab.start(1, key="k", job="j")
    lab.fail(1, token)
    lab.assign(1, BEN)
    lab.complete(1, lab.index, BEN)
    view = lab.view(1)
    assert TaskView.from_wire(msgpack.unpackb(msgpack.packb(view.to_wire()))) == view


@pytest.mark.parametrize("wire", [None, 7, {}, {"state": "lost"}, [["state", "done"]]])
def test_what_is_no_view_is_refused(wire: object) -> None:
    with pytest.raises(ValueError, match="not a task view"):
        TaskView.from_wire(wire)


def test_work_survives_the_wire_and_knows_how_much_of_the_lease_is_left() -> None:
    lab = Lab()
    token = lab.start(1, lease_ms=1000)
    work = lab.ledger.work(LeaseRef(task_id(1), token), lab.now_ms + 300)
    assert work is not None
    assert (work.lease_left_ms, work.attempt, work.payload) == (700, 1, b"page")
    assert Work.from_wire(msgpack.unpackb(msgpack.packb(work))) == work
    with pytest.raises(ValueError, match="work item"):
        Work.from_wire([*work[:-1], 5])


def test_work_of_a_lease_that_is_over_is_none() -> None:
    lab = Lab()
    token = lab.start(1)
    lab.end_leases(ANNA, 1)
    lab.assign(1, BEN)
    assert lab.ledger.work(LeaseRef(task_id(1), token), 0) is None


def test_lists_are_newest_first_filtered_and_without_results() -> None:
    lab = Lab()
    for number in range(1, 5):
        lab.start(number, job="even" if number % 2 == 0 else "odd")
    lab.complete(4, lab.index)
    assert [v.task_id for v in lab.ledger.tasks(job="even")] == [task_id(4), task_id(2)]
    (done,) = lab.ledger.tasks(states=[State.DONE])
    assert (done.result, done.result_bytes) == (None, 4)
    assert len(lab.ledger.tasks(limit=2)) == 2


def test_waiting_tasks_come_by_priority_then_submission_also_after_a_lease_was_lost() -> None:
    lab = Lab()
    lab.submit(spec(1), spec(2), spec(3, priority=5), spec(4), spec(5, skill="sum"))
    lab.assign(1)
    lab.assign(4)
    lab.end_leases(ANNA, 1)
    order = [view.task_id for view in lab.ledger.pending()]
    assert order == [task_id(number) for number in (3, 1, 2, 4, 5)]


def test_the_heap_of_deadlines_does_not_keep_leases_that_ended() -> None:
    table = LeaseTable()
    for number in range(5000):
        task = Task(spec(number), number, 0)
        task.token = Token(number + 1)
        task.lease = Lease(ANNA, "reader", 1, task.token, 0)
        task.deadline_ms = 10_000 - number
        table.add(task)
        table.remove(task)
        task.lease = None
    assert len(table._heap) <= 1025
    assert table.expiring(2**40, 10) == []


def _calls_of_one_round(waiting: int) -> int:
    """Function calls that one submission, assignment and completion make among `waiting` tasks."""
    ledger = Ledger()
    ledger.apply(1, encode_submitted(0, [spec(number) for number in range(waiting)]))
    newest = spec(waiting, priority=1)
    commands = [
        encode_submitted(1, [newest]),
        encode_assigned(1, [Assignment(newest.task_id, ANNA, "reader", 1)]),
        encode_completed(1, [Completion(newest.task_id, Token(3), ANNA, b"text")]),
    ]
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        outcomes = [ledger.apply(index, command) for index, command in enumerate(commands, 2)]
    finally:
        sys.setprofile(None)
    assert isinstance(outcomes[-1], Applied)
    assert outcomes[-1].verdicts[0].after is State.DONE
    return calls


@pytest.mark.usefixtures("uncollected")
def test_thirty_thousand_waiting_tasks_do_not_lengthen_an_apply() -> None:
    """Counted, not timed."""
    assert _calls_of_one_round(30_000) == _calls_of_one_round(3)
