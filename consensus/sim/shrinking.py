"""A violation with as few operations as show it.

Leaving out an operation can make a violation of its own: without its write, any read is wrong. So
nothing is simply left out. First the history is cut at the earliest time at which it is a violation
already; then answers are forgotten, one by one, as long as what is left is a violation: an
operation whose answer is forgotten may still happen at any time, which forbids less, and only if it
certainly changed nothing it goes altogether. The answers that remain contradict each other. At last
the forgotten operations go, except those without which some answer would no longer be needed for
the contradiction.

What this module does not know: how a history is judged (`linearizable`), what operations mean.

Invariant: every step is judged a violation; what a budget leaves undecided is kept as it was.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TypeVar

from consensus.sim.histories import REFUSED, UNKNOWN, Operation, cut_at
from consensus.sim.linearizable import Verdict, check
from consensus.sim.models import Model

SHRINK_STATES = 5_000  # for each of many checks

Op = TypeVar("Op")
State = TypeVar("State", bound=Hashable)
History = tuple[Operation[Op], ...]


def shrink(
    history: Sequence[Operation[Op]], model: Model[Op, State], max_states: int = SHRINK_STATES
) -> tuple[Operation[Op], ...]:
    """The core of a violation; a history that is none, or cannot be decided, comes back whole."""
    found = check(history, model, max_states)
    if found.verdict is not Verdict.VIOLATION:
        return tuple(history)
    core = tuple(
        operation
        for operation in history
        if operation.outcome is not REFUSED and model.key(operation.op) == found.key
    )
    core = _cut(core, model, max_states)
    core = _forget(core, model, max_states)
    return _drop(core, model, max_states)


def _is_violation(history: History[Op], model: Model[Op, State], max_states: int) -> bool:
    return check(history, model, max_states).verdict is Verdict.VIOLATION


def _cut(history: History[Op], model: Model[Op, State], max_states: int) -> History[Op]:
    """The earliest end at which the contradiction is there; later ends cannot remove it."""
    ends = sorted({o.returned_at for o in history if o.returned_at is not None})
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if _is_violation(cut_at(history, ends[middle]), model, max_states):
            high = middle
        else:
            low = middle + 1
    return cut_at(history, ends[high])


def _forget(history: History[Op], model: Model[Op, State], max_states: int) -> History[Op]:
    """Forget answers, many at once and then fewer (delta debugging)."""
    size = max(1, len(history) // 2)
    while True:
        is_changed = False
        for operations in _chunks(history, size):
            weaker = _without(history, operations, model)
            if _is_violation(weaker, model, max_states):
                history, is_changed = weaker, True
        if size == 1 and not is_changed:
            return history
        size = max(1, size // 2)


def _chunks(history: History[Op], size: int) -> Iterator[Sequence[Operation[Op]]]:
    """The answered operations, so many at once."""
    answered = [operation for operation in history if operation.outcome is not UNKNOWN]
    for start in range(0, len(answered), size):
        yield answered[start : start + size]


def _drop(history: History[Op], model: Model[Op, State], max_states: int) -> History[Op]:
    """Leave out unknown operations, the last first, while every answer is still needed."""
    for operation in reversed(history):
        if operation.outcome is UNKNOWN:
            rest = tuple(other for other in history if other is not operation)
            if _is_violation(rest, model, max_states) and _needs_all(rest, model, max_states):
                history = rest
    return history


def _needs_all(history: History[Op], model: Model[Op, State], max_states: int) -> bool:
    """Whether forgetting any one answer would make it linearizable."""
    return not any(
        _is_violation(_without(history, operations, model), model, max_states)
        for operations in _chunks(history, 1)
    )


def _without(
    history: History[Op], answered: Sequence[Operation[Op]], model: Model[Op, State]
) -> History[Op]:
    """The history without these answers; what changed nothing is not there at all."""
    forgotten = {id(operation) for operation in answered}
    return tuple(
        operation.weakened() if id(operation) in forgotten else operation
        for operation in history
        if not (id(operation) in forgotten and model.is_passive(operation.op, operation.outcome))
    )
