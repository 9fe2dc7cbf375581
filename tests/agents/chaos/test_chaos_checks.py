"""Each check fails on what it is there for, and on nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.chaos.checks import LEADER, LOCKS, ONCE, STORE, TASKS, Checks, Result
from agents.chaos.errors import CheckFailed
from agents.chaos.recording import Recording, RecordingGate
from agents.chaos.store_model import CompareSet, Get, Put, Remove, StoreModel, StoreOp
from agents.chaos.timeline import Timeline
from agents.errors import CompareFailed, NodeNotUp, NoQuorum, OutcomeUnknown
from consensus.sim import REFUSED, UNKNOWN, Done, Operation, Verdict, check


class Desk:
    """A recording whose clock we move, and its checks."""

    def __init__(self) -> None:
        self.at_ms = 0
        self.recording = Recording(Timeline(lambda: self.at_ms), lambda: self.at_ms * 1000)
        self.checks = Checks(self.recording)

    def result(self, name: str) -> Result | None:
        return next((r.result for r in self.checks.results if r.name == name), None)

    def submit(self, node: str, *ids: str) -> None:
        self.recording.submitted(node, {"tasks": [{"skill": "s"} for _ in ids]}, list(ids))


def view(state: str = "done", result: bytes = b"1", finished_ms: int | None = 5) -> dict[str, Any]:
    return {"state": state, "result": result, "finished_ms": finished_ms, "executions": 1}


def test_two_leaders_of_one_term_are_named() -> None:
    desk = Desk()
    desk.checks.leads("a", 3)
    desk.checks.leads("a", 3)
    desk.checks.leads("b", 4)
    desk.checks.judge_leaders()
    assert desk.result(LEADER) is Result.HOLDS
    desk.checks.leads("c", 4)
    assert desk.checks.failures[0].seen == "b and c both led in term 4"
    desk.checks.judge_leaders()
    assert desk.result(LEADER) is Result.FAILED, "a failure stays"


def test_a_task_with_two_results_is_found() -> None:
    desk = Desk()
    desk.submit("a", "x")
    desk.recording.seen("a", [("x", view())])
    desk.recording.seen("b", [("x", view())])
    desk.checks.judge_results()
    assert desk.result(ONCE) is Result.HOLDS
    desk.recording.seen("c", [("x", view(result=b"2"))])
    assert desk.checks.failures[0].seen == "t1: a and c were told different results"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "b does not know it"),
        (view("pending", finished_ms=None), "still pending"),
    ],
)
def test_an_acknowledged_task_that_is_gone_or_open_is_lost(found: Any, words: str) -> None:
    desk = Desk()
    desk.submit("a", "x", "y")
    desk.checks.judge_tasks({"x": ("b", view()), "y": ("b", found)})
    assert desk.result(TASKS) is Result.FAILED
    assert "t2 (s), acknowledged at a" in desk.checks.failures[0].seen
    assert words in desk.checks.failures[0].seen


def test_tasks_that_have_ended_are_not_lost() -> None:
    desk = Desk()
    desk.submit("a", "x", "y")
    parked = view("parked", finished_ms=None)
    desk.checks.judge_tasks({"x": ("b", view("failed")), "y": ("c", parked)})
    assert desk.result(TASKS) is Result.HOLDS


def test_a_lock_in_two_hands_is_found_and_one_that_was_given_back_is_none() -> None:
    desk = Desk()
    desk.recording.claimed("a", "l", 5, 0, 8000)
    desk.at_ms = 2000
    desk.recording.released("l", 5)
    desk.recording.claimed("b", "l", 6, 1990, 8000)
    desk.checks.judge_locks()
    assert desk.result(LOCKS) is Result.HOLDS
    desk.at_ms = 3000
    desk.recording.claimed("c", "l", 7, 2990, 8000)
    assert "c was granted token 7" in desk.checks.failures[0].seen
    assert "before b had to let 6 go" in desk.checks.failures[0].seen


def test_a_lease_that_is_renewed_after_another_got_the_lock_is_found() -> None:
    desk = Desk()
    desk.recording.claimed("a", "l", 5, 0, 800)
    desk.at_ms = 5000
    desk.recording.claimed("b", "l", 6, 5000, 800)
    assert desk.result(LOCKS) is None
    desk.recording.claimed("a", "l", 5, 5000, 800)
    assert desk.result(LOCKS) is Result.FAILED


def test_a_stale_read_is_found_and_shown() -> None:
    desk = Desk()
    store = desk.recording.store
    for op, outcome in (
        (Put("k", b"1"), Done(4)),
        (Put("k", b"2"), Done(5)),
        (Get("k"), Done((b"1", 4))),
    ):
        number = store.invoke("a", op, desk.at_ms)
        desk.at_ms += 10
        store.settle(number, outcome, desk.at_ms)
        desk.at_ms += 10
    desk.checks.judge_store()
    assert desk.result(STORE) is Result.FAILED
    assert "none of these can follow" in desk.checks.failures[0].seen


def test_a_claim_of_the_script_that_does_not_hold_stops_it() -> None:
    desk = Desk()
    desk.checks.demand("two is two", True, "yes")
    with pytest.raises(CheckFailed, match=r"one is two failed at 0\.000 s: no"):
        desk.checks.demand("one is two", False, "no")
    assert [r.name for r in desk.checks.failures] == ["one is two"]


class Answering:
    """A gate that gives what it was told to."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def request(self, operation: str, params: Any) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


PUT = {"key": "k", "value": b"v", "ttl_s": None}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (7, Done(7)),
        (NoQuorum("none"), REFUSED),
        (OutcomeUnknown("put", "?"), UNKNOWN),
        (NodeNotUp("home"), UNKNOWN),
        (CompareFailed("k", 1), Done(False)),
    ],
)
def test_what_an_error_says_of_its_outcome_is_what_is_noted(answer: Any, outcome: Any) -> None:
    desk = Desk()
    gate = RecordingGate(Answering(answer), desk.recording, "a", "a1")  # type: ignore[arg-type]
    asking = gate.request("kv.put", PUT)
    with pytest.raises((StopIteration, Exception)):
        asking.send(None)
    assert desk.recording.store.history()[0].outcome == outcome


# -- the model of the store -----------------------------------------------------------------------


class NaiveStore:
    """One key, done by hand."""

    def __init__(self) -> None:
        self.value: bytes | None = None
        self.version = 0
        self.index = 0

    def run(self, op: StoreOp) -> Any:
        self.index += 3
        match op:
            case Get():
                return None if self.value is None else (self.value, self.version)
            case Put(_, value):
                self.value, self.version = value, self.index
                return self.index
            case CompareSet(_, expected, value):
                now = self.value if isinstance(expected, bytes) else self.version
                if (self.value is None) != (expected is None):
                    return False
                if expected is not None and now != expected:
                    return False
                self.value, self.version = value, self.index
                return self.index
            case Remove(_, version):
                if self.value is None or (version is not None and version != self.version):
                    return False
                self.value = None
                return True


VALUES = st.sampled_from([b"x", b"y"])
OPS: Any = st.one_of(
    st.just(Get("k")),
    st.builds(Put, st.just("k"), VALUES),
    st.builds(CompareSet, st.just("k"), st.one_of(st.none(), VALUES, st.integers(0, 30)), VALUES),
    st.builds(Remove, st.just("k"), st.one_of(st.none(), st.integers(0, 30))),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(OPS, st.booleans()), max_size=12))
def test_whatever_a_correct_store_answers_has_an_order(steps: list[tuple[StoreOp, bool]]) -> None:
    """Also where some answers were never heard."""
    store, history = NaiveStore(), []
    for at, (op, is_heard) in enumerate(steps):
        answer = store.run(op)
        outcome = Done(answer) if is_heard else UNKNOWN
        history.append(Operation("a", 2 * at, 2 * at + 1 if is_heard else None, op, outcome))
    assert check(history, StoreModel()).verdict is Verdict.LINEARIZABLE


@settings(max_examples=200, deadline=None)
@given(st.lists(OPS, min_size=1, max_size=8), st.data())
def test_one_wrong_answer_has_none(ops: list[StoreOp], data: st.DataObject) -> None:
    store = NaiveStore()
    answers = [store.run(op) for op in ops]
    at = data.draw(st.integers(0, len(ops) - 1))
    wrong = (b"never written", 1) if isinstance(ops[at], Get) else not answers[at]
    answers[at] = wrong
    history = [Operation("a", 2 * n, 2 * n + 1, op, Done(answers[n])) for n, op in enumerate(ops)]
    assert check(history, StoreModel()).verdict is Verdict.VIOLATION
