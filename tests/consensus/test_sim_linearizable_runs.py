"""Whole runs of correct services, 2,000 calls each: they pass, one wrong answer in them does not,
and both are found out in few configurations."""

import random
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from consensus.sim.histories import UNKNOWN, Done, Operation, Outcome
from consensus.sim.linearizable import Verdict, check
from consensus.sim.models import (
    Acquire,
    Cas,
    Complete,
    Delete,
    Expire,
    KeyValue,
    LeaseLedger,
    Look,
    Read,
    Release,
    Renew,
    Write,
)
from consensus.sim.shrinking import shrink

SERVICES = ("service", "draw", "model")
CALLS = 2000


class Ledger:
    """A correct ledger: tokens are indexes of a log that other tasks write to as well."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._token = 0
        self._holders: dict[str, int] = {}
        self._results: dict[str, Hashable] = {}

    def perform(self, op: Any) -> Hashable:
        holder = self._holders.get(op.task)
        if isinstance(op, Acquire):
            if holder is not None or op.task in self._results:
                return None
            self._token += self._rng.randrange(1, 4)
            self._holders[op.task] = self._token
            return self._token
        if isinstance(op, Look):
            return (holder, self._results.get(op.task))
        if holder is None or op.token not in (None, holder):
            return False
        if isinstance(op, Complete):
            self._results[op.task] = op.value
        if not isinstance(op, Renew):
            del self._holders[op.task]
        return True


class Store:
    """A correct store."""

    def __init__(self, rng: random.Random) -> None:
        self._model = KeyValue()
        self._cells: dict[str, Any] = {}

    def perform(self, op: Any) -> Hashable:
        before = self._cells.get(op.key, self._model.initial())
        answers = (None, True, False) if not isinstance(op, Read) else (before.value,)
        for answer in answers:
            after = self._model.step(before, op, Done(answer))
            if after is not None:
                self._cells[op.key] = after
                return answer
        raise AssertionError


def draw_store_op(rng: random.Random, known: Sequence[int]) -> object:
    key, value = f"k{rng.randrange(10)}", rng.randrange(1000)
    kinds = [Read(key), Read(key), Write(key, value), Delete(key), Cas(key, None, value)]
    return rng.choice(kinds)


def draw_ledger_op(rng: random.Random, known: Sequence[int]) -> object:
    """Clients use tokens that somebody was told before."""
    task = f"t{rng.randrange(10)}"
    token = rng.choice(known[-20:]) if known else 0
    kinds = [Acquire(task), Renew(task, token), Release(task, token), Look(task), Expire(task)]
    return Complete(task, token, "r") if rng.random() < 0.005 else rng.choice(kinds)


def simulate(seed: int, service: Any, draw: Any, unknown_percent: int) -> list[Operation[Any]]:
    """2,000 calls by 5 clients; each takes effect at some moment between its ends, or, where the
    outcome stays unknown, at some moment later or never."""
    rng = random.Random(seed)
    calls: list[Any] = []
    begun = {f"c{n}": 0 for n in range(5)}
    moments: list[tuple[int, int]] = []
    while len(calls) < CALLS:
        client = min(begun, key=lambda name: begun[name])
        at = begun[client] + rng.randrange(3)
        end = at + rng.randrange(20)
        is_unknown = rng.randrange(100) < unknown_percent
        if not is_unknown:
            moments.append((rng.randint(at, end), len(calls)))
        elif rng.random() < 0.5:
            moments.append((at + rng.randrange(1000), len(calls)))
        calls.append((client, at, None if is_unknown else end))
        begun[client] = end + 1
    return play(rng, calls, moments, service(rng), draw)


def play(
    rng: random.Random,
    calls: list[Any],
    moments: list[tuple[int, int]],
    service: Any,
    draw: Any,
) -> list[Operation[Any]]:
    """An operation is chosen when it takes effect: only what was known at its beginning is used."""
    told: list[tuple[int, int]] = []  # (when, token)
    done: dict[int, Operation[Any]] = {}
    for _, number in sorted(moments):
        client, at, end = calls[number]
        op = draw(rng, [token for when, token in told if when < at])
        answer = service.perform(op)
        if end is not None and isinstance(op, Acquire | Look) and answer is not None:
            token = answer[0] if isinstance(answer, tuple) else answer
            told += [(end, token)] if token else []
        outcome: Outcome = UNKNOWN if end is None else Done(answer)
        done[number] = Operation(client, at, end, op, outcome)
    for number, (client, at, _) in enumerate(calls):
        done.setdefault(number, Operation(client, at, None, draw(rng, []), UNKNOWN))
    return [done[number] for number in range(len(calls))]


BOTH = [(Store, draw_store_op, KeyValue()), (Ledger, draw_ledger_op, LeaseLedger())]


@pytest.mark.parametrize("unknown_percent", [0, 2, 10])
@pytest.mark.parametrize(SERVICES, BOTH)
def test_what_a_correct_service_answers_is_linearizable(
    service: Any, draw: Any, model: Any, unknown_percent: int
) -> None:
    for seed in range(5):
        history = simulate(seed, service, draw, unknown_percent)
        judged = check(history, model)
        print(f"{service.__name__}, seed {seed}: {judged}")
        assert len(history) == CALLS
        assert judged.verdict is Verdict.LINEARIZABLE
        assert judged.states < CALLS * (1.5 if unknown_percent < 10 else 5)


@pytest.mark.parametrize("unknown_percent", [0, 2])
@pytest.mark.parametrize(SERVICES, BOTH)
def test_one_wrong_answer_among_two_thousand_is_found_and_shown(
    service: Any, draw: Any, model: Any, unknown_percent: int
) -> None:
    for seed in range(2):
        history = simulate(seed, service, draw, unknown_percent)
        wrong = with_a_wrong_answer(random.Random(seed), history, model)
        judged = check(wrong, model)
        core = shrink(wrong, model)
        print(f"{service.__name__}, seed {seed}: {judged}")
        print(*core, sep="\n")
        assert judged.verdict is Verdict.VIOLATION
        assert judged.states < 2 * CALLS
        assert check(core, model).verdict is Verdict.VIOLATION
        assert len(core) <= 20


def with_a_wrong_answer(
    rng: random.Random, history: list[Operation[Any]], model: Any
) -> list[Operation[Any]]:
    """A value that was overwritten long ago is read, or a token of long ago is still good."""
    late = range(len(history) // 2, len(history))
    asked = [n for n in late if isinstance(history[n].op, Read | Renew) and history[n].returned_at]
    number = rng.choice(asked)
    operation = history[number]
    key = model.key(operation.op)
    for earlier in history:
        if model.key(earlier.op) == key and isinstance(earlier.outcome, Done):
            if isinstance(earlier.op, Write):
                wrong = replace(operation, outcome=Done(earlier.op.value))
                return [*history[:number], wrong, *history[number + 1 :]]
            if isinstance(earlier.op, Acquire) and earlier.outcome.value:
                op = Renew(key, earlier.outcome.value)
                wrong = replace(operation, op=op, outcome=Done(True))
                return [*history[:number], wrong, *history[number + 1 :]]
    raise AssertionError("nothing happened to this key")
