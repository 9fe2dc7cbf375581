"""Is there an order of all operations that a correct service could have gone through?

The search of Wing and Gong with Lowe's memory: place one operation after the other, each between
its beginning and its end, as long as the model agrees; go on elsewhere where it does not; never
enter a configuration twice. Keys are judged alone, which is exact (Herlihy and Wing:
linearizability is local). Refused operations never happen. Unknown ones are placed anywhere after
their beginning, or nowhere.

What this module does not know: what operations mean (`models`), who recorded them.

Invariants: LINEARIZABLE comes only from an order that was found, VIOLATION only from a search that
left nothing out; everything else is UNDECIDED.

Three cuts keep the search small, and none changes the verdict:
  * an unknown operation that changes nothing here is not placed: waiting leaves it more freedom;
  * of equal unknown operations the one that was asked for first is placed first;
  * of two configurations with the same answers given and the same state, the one that has used up
    fewer unknown operations can do all that the other can.

Sources: Wing and Gong, "Testing and verifying concurrent objects" (1993); Lowe, "Testing for
linearizability" (2017); Herlihy and Wing, "Linearizability" (1990).
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from consensus.sim.histories import REFUSED, UNKNOWN, Operation
from consensus.sim.models import Model

MAX_STATES = 200_000
SHOWN = 12  # operations of a prefix that a report prints

Op = TypeVar("Op")
State = TypeVar("State", bound=Hashable)


class Verdict(Enum):
    """What a check found."""

    LINEARIZABLE = "linearizable"
    VIOLATION = "violation"
    UNDECIDED = "undecided"  # the budget was spent


@dataclass(frozen=True)
class Judgement(Generic[Op]):
    """A verdict and its evidence. For a violation: how far any order came, and what then failed.

    `states` counts configurations over all keys. `key`, `prefix`, `state` and `unplaced` belong to
    the first key that is not linearizable; `unplaced` are the operations that had to come next.
    """

    verdict: Verdict
    states: int
    key: Hashable = None
    prefix: tuple[Operation[Op], ...] = ()
    state: Hashable = None
    unplaced: tuple[Operation[Op], ...] = ()

    def __str__(self) -> str:
        head = f"{self.verdict.value} after {self.states} states"
        if self.verdict is Verdict.LINEARIZABLE:
            return head
        if self.verdict is Verdict.UNDECIDED:
            return f"{head}: key {self.key!r} needs a larger budget"
        left_out = len(self.prefix) - SHOWN
        lines = [f"{head}: key {self.key!r}", "the longest order that is possible:"]
        lines += [f"  ... {left_out} before"] if left_out > 0 else []
        lines += [f"  {operation}" for operation in self.prefix[-SHOWN:]]
        lines += [f"leads to {self.state!r}, where none of these can follow:"]
        lines += [f"  {operation}" for operation in self.unplaced]
        return "\n".join(lines)


def check(
    history: Iterable[Operation[Op]], model: Model[Op, State], max_states: int = MAX_STATES
) -> Judgement[Op]:
    """Judge a history. At most `max_states` configurations of one key are looked at.

    A violation of one key is a violation, even if other keys are undecided.
    """
    by_key: dict[Hashable, list[Operation[Op]]] = {}
    for operation in history:
        if operation.outcome is not REFUSED:
            by_key.setdefault(model.key(operation.op), []).append(operation)
    states = 0
    undecided: Judgement[Op] | None = None
    for key, operations in by_key.items():
        search = _Search(operations, model, max_states)
        verdict = search.run()
        states += search.states
        if verdict is Verdict.VIOLATION:
            prefix, state, unplaced = search.evidence()
            return Judgement(verdict, states, key, prefix, state, unplaced)
        if verdict is Verdict.UNDECIDED and undecided is None:
            undecided = Judgement(verdict, states, key)
    if undecided is not None:
        return Judgement(Verdict.UNDECIDED, states, undecided.key)
    return Judgement(Verdict.LINEARIZABLE, states)


@dataclass(slots=True)
class _Place(Generic[State]):
    """A configuration: what is placed, the state, and how it was reached.

    Bit n of `placed` is answered operation n, bit n of `used` is unknown operation n. `step` is the
    operation that led here from `before`; unknown ones count on behind the answered ones.
    """

    placed: int
    used: int
    state: State
    step: int
    before: _Place[State] | None


class _Search(Generic[Op, State]):
    """The orders of one key. Answered operations are numbered by their ends."""

    def __init__(
        self, operations: Sequence[Operation[Op]], model: Model[Op, State], max_states: int
    ) -> None:
        self._model = model
        self._max_states = max_states
        ends = [(o.returned_at, n) for n, o in enumerate(operations) if o.returned_at is not None]
        self._answered = [operations[n] for _, n in sorted(ends)]
        self._unknown = sorted(
            (o for o in operations if o.outcome is UNKNOWN), key=lambda o: o.invoked_at
        )
        self._all_placed = (1 << len(self._answered)) - 1
        self._windows = _windows(self._answered)
        self._twins = _twins(self._unknown)
        self._seen: dict[tuple[int, State], list[int]] = {}
        self._heap: list[tuple[int, int, int, _Place[State]]] = []
        self._serial = 0
        self._furthest = _Place(0, 0, model.initial(), -1, None)
        self.states = 0

    def run(self) -> Verdict:
        """Fewest unknown operations first, then furthest first: what could make a configuration
        superfluous is always looked at before it."""
        self._push(self._furthest)
        while self._heap:
            place = heapq.heappop(self._heap)[-1]
            if self._is_superfluous(place):
                continue
            if self.states == self._max_states:
                return Verdict.UNDECIDED
            self.states += 1
            self._seen.setdefault((place.placed, place.state), []).append(place.used)
            if place.placed == self._all_placed:
                return Verdict.LINEARIZABLE
            if place.placed.bit_count() > self._furthest.placed.bit_count():
                self._furthest = place
            for number in self._candidates(place):
                self._go(place, number)
        return Verdict.VIOLATION

    def evidence(self) -> tuple[tuple[Operation[Op], ...], Hashable, tuple[Operation[Op], ...]]:
        """The longest order that was possible, its state, and what had to come next."""
        furthest = self._furthest
        steps: list[int] = []
        place = furthest
        while place.before is not None:
            steps.append(place.step)
            place = place.before
        prefix = tuple(self._operation(number) for number in reversed(steps))
        window = self._windows[_lowest_zero(furthest.placed)]
        unplaced = tuple(self._answered[n] for n in window if not furthest.placed >> n & 1)
        return prefix, furthest.state, unplaced

    def _candidates(self, place: _Place[State]) -> Iterator[int]:
        """Whatever began before the first end that is still open, or at the same time."""
        lowest = _lowest_zero(place.placed)
        end = self._answered[lowest].returned_at
        assert end is not None
        for number in self._windows[lowest]:
            if not place.placed >> number & 1:
                yield number
        for number, operation in enumerate(self._unknown):
            if operation.invoked_at > end:
                return
            twin = self._twins[number]
            if not place.used >> number & 1 and (twin is None or place.used >> twin & 1):
                yield len(self._answered) + number

    def _go(self, place: _Place[State], number: int) -> None:
        """Place one more operation, if the model agrees and it is worth it."""
        operation = self._operation(number)
        state = self._model.step(place.state, operation.op, operation.outcome)
        if state is None:
            return
        placed, used = place.placed, place.used
        if number < len(self._answered):
            placed |= 1 << number
        elif state == place.state:
            return
        else:
            used |= 1 << (number - len(self._answered))
        after = _Place(placed, used, state, number, place)
        if not self._is_superfluous(after):
            self._push(after)

    def _is_superfluous(self, place: _Place[State]) -> bool:
        known = self._seen.get((place.placed, place.state), ())
        return any(fewer & place.used == fewer for fewer in known)

    def _push(self, place: _Place[State]) -> None:
        self._serial += 1
        rank = (place.used.bit_count(), -place.placed.bit_count(), self._serial)
        heapq.heappush(self._heap, (*rank, place))

    def _operation(self, number: int) -> Operation[Op]:
        answered = len(self._answered)
        return self._answered[number] if number < answered else self._unknown[number - answered]


def _windows(answered: Sequence[Operation[Op]]) -> list[tuple[int, ...]]:
    """For each n: the operations from n on that began before n ended, or at the same time."""
    by_start = sorted(range(len(answered)), key=lambda n: answered[n].invoked_at)
    windows: list[tuple[int, ...]] = []
    open_now: list[int] = []
    begun = 0
    for number, operation in enumerate(answered):
        end = operation.returned_at
        assert end is not None
        while begun < len(by_start) and answered[by_start[begun]].invoked_at <= end:
            open_now.append(by_start[begun])
            begun += 1
        open_now = sorted(n for n in open_now if n >= number)
        windows.append(tuple(open_now))
    return windows


def _twins(unknown: Sequence[Operation[Op]]) -> list[int | None]:
    """For each unknown operation the last equal one before it."""
    latest: dict[Op, int] = {}
    twins: list[int | None] = []
    for number, operation in enumerate(unknown):
        twins.append(latest.get(operation.op))
        latest[operation.op] = number
    return twins


def _lowest_zero(mask: int) -> int:
    return (~mask & (mask + 1)).bit_length() - 1
