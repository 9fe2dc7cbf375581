"""The checker of histories: right against every order there is, and on the classics."""

import itertools
import random
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import pytest

from consensus.sim.histories import (
    REFUSED,
    UNKNOWN,
    Done,
    HistoryInvalid,
    Operation,
    Outcome,
    Recorder,
)
from consensus.sim.linearizable import Verdict, check
from consensus.sim.models import (
    Acquire,
    Cas,
    CasVersion,
    Complete,
    Delete,
    Expire,
    KeyValue,
    LeaseLedger,
    Look,
    Read,
    ReadVersion,
    Release,
    Renew,
    Write,
)
from consensus.sim.shrinking import shrink

LINEARIZABLE, VIOLATION, UNDECIDED = Verdict
History = Sequence[Operation[Any]]


def did(client: str, begun: int, ended: int, op: object, value: Hashable = None) -> Operation[Any]:
    return Operation(client, begun, ended, op, Done(value))


def lost(client: str, begun: int, op: object) -> Operation[Any]:
    return Operation(client, begun, None, op, UNKNOWN)


def judge_kv(*history: Operation[Any], has_versions: bool = False) -> Verdict:
    return check(history, KeyValue(has_versions)).verdict


def judge_leases(*history: Operation[Any]) -> Verdict:
    return check(history, LeaseLedger()).verdict


# -- against every order --------------------------------------------------------------------------


def is_linearizable_by_trying_all(history: History, model: Any) -> bool:
    """Every subset of the unknown ones, every order that respects time; one state for all keys."""
    answered = [o for o in history if isinstance(o.outcome, Done)]
    unknown = [o for o in history if o.outcome is UNKNOWN]
    for count in range(len(unknown) + 1):
        for some in itertools.combinations(unknown, count):
            if any(
                is_possible(order, model) for order in itertools.permutations([*answered, *some])
            ):
                return True
    return False


def is_possible(order: History, model: Any) -> bool:
    for early, late in itertools.combinations(order, 2):
        if late.returned_at is not None and late.returned_at < early.invoked_at:
            return False
    states: dict[Hashable, Any] = {}
    for operation in order:
        key = model.key(operation.op)
        after = model.step(states.get(key, model.initial()), operation.op, operation.outcome)
        if after is None:
            return False
        states[key] = after
    return True


def draw_kv(rng: random.Random) -> tuple[object, Outcome]:
    key, value = rng.choice("xxxy"), rng.randrange(3)
    some = rng.choice((None, 0, 1, 2))
    op, answers = rng.choice(
        [
            (Read(key), [None, 0, 1, 2]),
            (Read(key), [None, 0, 1, 2]),
            (Write(key, value), [None]),
            (Delete(key), [None]),
            (Cas(key, some, value), [True, False]),
        ]
    )
    return op, draw_outcome(rng, answers)


def draw_versioned(rng: random.Random) -> tuple[object, Outcome]:
    value, version = rng.randrange(2), rng.randrange(3)
    op, answers = rng.choice(
        [
            (Read("x"), [None, 0, 1]),
            (ReadVersion("x"), [(None, 0), (0, 1), (1, 1), (0, 2), (1, 2)]),
            (Write("x", value), [None, 1, 2]),
            (CasVersion("x", version, value), [True, False]),
        ]
    )
    return op, draw_outcome(rng, answers)


def draw_lease(rng: random.Random) -> tuple[object, Outcome]:
    token = rng.randrange(1, 4)
    op, answers = rng.choice(
        [
            (Acquire("t"), [None, 1, 1, 2, 3]),
            (Acquire("t"), [None, 1, 1, 2, 3]),
            (Renew("t", token), [True, False]),
            (Release("t", token), [True, False]),
            (Complete("t", token, "r"), [True, False]),
            (Expire("t"), [True, False]),
            (Expire("t", token), [True, False]),
            (Look("t"), [(None, None), (token, None), (None, "r")]),
        ]
    )
    return op, draw_outcome(rng, answers)


def draw_outcome(rng: random.Random, answers: Sequence[Hashable]) -> Outcome:
    fate = rng.random()
    return UNKNOWN if fate < 0.2 else REFUSED if fate < 0.23 else Done(rng.choice(answers))


def draw_history(rng: random.Random, draw: Any) -> list[Operation[Any]]:
    history = []
    for number in range(rng.randrange(1, 7)):
        op, outcome = draw(rng)
        begun = rng.randrange(10)
        ended = None if outcome is UNKNOWN else begun + rng.randrange(8)
        history.append(Operation(f"c{number}", begun, ended, op, outcome))
    return history


@pytest.mark.parametrize(
    ("draw", "model"),
    [
        (draw_kv, KeyValue()),
        (draw_versioned, KeyValue(has_versions=True)),
        (draw_lease, LeaseLedger()),
    ],
)
def test_the_verdict_is_that_of_trying_every_order(draw: Any, model: Any) -> None:
    seen: Counter[Verdict] = Counter()
    for seed in range(2000):
        print(f"{draw.__name__}, seed {seed}")
        history = draw_history(random.Random(seed), draw)
        verdict = check(history, model).verdict
        seen[verdict] += 1
        assert (verdict is LINEARIZABLE) == is_linearizable_by_trying_all(history, model)
    print(seen)
    assert min(seen[LINEARIZABLE], seen[VIOLATION]) > 300
    assert not seen[UNDECIDED]
