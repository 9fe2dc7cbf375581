"""The ledger against the naive model, and promises that must hold for every log."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_lab import task_id
from ledger_model import Model, RandomLog, random_log

from agents.ledger import (
    Applied,
    Kind,
    Ledger,
    Refusal,
    State,
    TaskId,
    Verdict,
    encode,
)


def _words(verdicts: tuple[Verdict, ...]) -> list[str]:
    """The model's words for verdicts."""
    words = {None: "ok", Refusal.DUPLICATE: "dup"}
    return [words.get(verdict.refusal, "no") for verdict in verdicts]


def _compare(ledger: Ledger, model: Model) -> None:
    assert ledger.time_ms == model.time_ms
    assert len(ledger) == len(model.tasks)
    for task in model.tasks:
        view = ledger.get(task.spec.task_id)
        assert view is not None
        assert (view.state, view.token, view.attempts) == (task.state, task.token, task.attempts)
        assert (view.executions, view.result) == (task.executions, task.result)
        assert [(a.token, a.ended) for a in view.history] == task.ended[-16:]
        if task.state == "assigned":
            assert (view.peer, view.incarnation) == (task.peer, task.incarnation)
            assert view.lease_deadline_ms == task.deadline_ms
    waiting = [task for task in model.tasks if task.state == "pending"]
    waiting.sort(key=lambda task: (-task.spec.priority, task.order))
    assert [view.task_id for view in ledger.pending(1000)] == [t.spec.task_id for t in waiting]
    for skill in ("ocr", "sum"):
        of_skill = [task.spec.task_id for task in waiting if task.spec.skill == skill]
        assert [task.spec.task_id for task in ledger.waiting(skill)] == of_skill
        assert ledger.pending_counts().get(skill, 0) == len(of_skill)


@pytest.mark.parametrize("seed", range(12))
def test_the_ledger_agrees_with_the_naive_model_after_every_entry(seed: int) -> None:
    print(f"replay: pytest {__file__} -k 'model_after_every_entry and {seed}'")
    rng = random.Random(seed)
    ledger, model = Ledger(), Model()
    log = RandomLog(rng, model)
    for index in range(1, 250):
        kind, time_ms, items = log.next()
        words = model.apply(index, kind, time_ms, items)
        outcome = ledger.apply(index, encode(kind, time_ms, items))
        assert isinstance(outcome, Applied), outcome
        assert _words(outcome.verdicts) == words, (index, kind, items)
        ledger.check_invariants()
        _compare(ledger, model)


@pytest.mark.parametrize("seed", range(6))
def test_expiring_leases_are_those_that_a_full_scan_finds(seed: int) -> None:
    print(f"replay: pytest {__file__} -k 'full_scan and {seed}'")
    rng = random.Random(1000 + seed)
    ledger, model = Ledger(), Model()
    log = RandomLog(rng, model)
    for index in range(1, 300):
        kind, time_ms, items = log.next()
        model.apply(index, kind, time_ms, items)
        ledger.apply(index, encode(kind, time_ms, items))
        until_ms = model.time_ms + rng.choice([-50, 0, 300, 5000])
        held = [task for task in model.tasks if task.state == "assigned"]
        over = {(t.spec.task_id, t.token) for t in held if t.deadline_ms <= until_ms}
        found = ledger.expiring(until_ms, 1000)
        assert len(found) == len(over)
        assert set(found) == over


def _changes(seed: int) -> list[tuple[int, Verdict]]:
    """Every change of state in a random log, with the index at which it happened."""
    ledger = Ledger()
    changes = []
    for index, command in random_log(seed, 300):
        outcome = ledger.apply(index, command)
        assert isinstance(outcome, Applied)
        changes += [(index, v) for v in outcome.verdicts if v.changed and v.refusal is None]
    return changes


_SEEDS = st.integers(0, 2**32)


@given(_SEEDS)
@settings(max_examples=25, deadline=None)
def test_a_task_completes_at_most_once(seed: int) -> None:
    done: set[TaskId] = set()
    for _, verdict in _changes(seed):
        if verdict.after is State.DONE:
            assert verdict.task_id not in done
            done.add(verdict.task_id)
        elif verdict.after is None:
            done.discard(verdict.task_id)  # forgotten: the id may be submitted anew


@given(_SEEDS)
@settings(max_examples=25, deadline=None)
def test_the_tokens_of_a_task_strictly_grow_and_are_log_indexes(seed: int) -> None:
    tokens: dict[TaskId, int] = {}
    for index, verdict in _changes(seed):
        if verdict.after is State.ASSIGNED:
            assert verdict.token == index > tokens.get(verdict.task_id, 0)
            tokens[verdict.task_id] = verdict.token


@given(_SEEDS)
@settings(max_examples=25, deadline=None)
def test_no_task_is_lost_and_every_change_is_told(seed: int) -> None:
    ledger = Ledger()
    states: dict[TaskId, State] = {}
    for index, command in random_log(seed, 300):
        outcome = ledger.apply(index, command)
        assert isinstance(outcome, Applied)
        for verdict in outcome.verdicts:
            if verdict.refusal is None and verdict.after is None:
                assert outcome.kind is Kind.FORGOTTEN
                del states[verdict.task_id]
            elif verdict.refusal is None and verdict.after is not None:
                assert states.get(verdict.task_id) is verdict.before
                states[verdict.task_id] = verdict.after
    assert {view.task_id: view.state for view in ledger.tasks(limit=1000)} == states


@given(_SEEDS)
@settings(max_examples=10, deadline=None)
def test_a_replica_that_starts_anew_from_the_log_holds_the_same(seed: int) -> None:
    first, second = Ledger(), Ledger()
    log = list(random_log(seed, 200))
    outcomes = [first.apply(index, command) for index, command in log]
    first.expiring(10_000, 3)  # reading in between changes nothing
    assert [second.apply(index, command) for index, command in log] == outcomes
    assert second.tasks(limit=1000) == first.tasks(limit=1000)
    assert second.pending(1000) == first.pending(1000)
    assert second.refused == first.refused
    assert second.get(task_id(0)) is None
