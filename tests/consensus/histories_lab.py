"""Operations of clients by hand, and small histories at random: right and wrong ones alike."""

import random
from collections.abc import Hashable, Sequence
from typing import Any

from consensus.sim.histories import REFUSED, UNKNOWN, Done, Operation, Outcome
from consensus.sim.models import (
    Acquire,
    Cas,
    CasVersion,
    Complete,
    Delete,
    Expire,
    Look,
    Read,
    ReadVersion,
    Release,
    Renew,
    Write,
)

History = Sequence[Operation[Any]]


def did(client: str, begun: int, ended: int, op: object, value: Hashable = None) -> Operation[Any]:
    return Operation(client, begun, ended, op, Done(value))


def lost(client: str, begun: int, op: object) -> Operation[Any]:
    return Operation(client, begun, None, op, UNKNOWN)


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
