"""What a correct service answers, one operation at a time: a key-value store, a ledger of leases.

A model is four pure functions. `key` says which part of the state an operation touches: operations
of different keys never influence each other, so each key is judged alone. `initial` is the state of
one key before anything happened. `step` is the state after an operation with that outcome, or None
if the service could not have answered so there; with `UNKNOWN` any answer will do, only the effect
counts. `is_passive` says whether an operation with that outcome changes nothing, wherever it takes
place. States are hashable, compare by value, and are never None.

What this module does not know: time, clients, in which order things happened.

Invariants: `step` has one result for equal arguments; an operation that was refused is never given
to it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from consensus.sim.histories import UNKNOWN, Done, HistoryInvalid, Outcome

OpIn = TypeVar("OpIn", contravariant=True)
State = TypeVar("State", bound=Hashable)


class Model(Protocol[OpIn, State]):
    """How a correct service behaves."""

    def key(self, op: OpIn) -> Hashable: ...

    def initial(self) -> State: ...

    def step(self, state: State, op: OpIn, outcome: Outcome) -> State | None: ...

    def is_passive(self, op: OpIn, outcome: Outcome) -> bool: ...


# -- a key-value store ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Read:
    """Answers the value, None where there is none."""

    key: str


@dataclass(frozen=True, slots=True)
class ReadVersion:
    """Answers (value, version). Only where versions are kept."""

    key: str


@dataclass(frozen=True, slots=True)
class Write:
    """Answers None, or the new version."""

    key: str
    value: Hashable


@dataclass(frozen=True, slots=True)
class Delete:
    """Answers None, or the new version; deleting nothing is a change as well."""

    key: str


@dataclass(frozen=True, slots=True)
class Cas:
    """Writes `value` if the present one is `expected` (None: there is none); answers whether."""

    key: str
    expected: Hashable
    value: Hashable


@dataclass(frozen=True, slots=True)
class CasVersion:
    """Writes `value` if the key was changed exactly `version` times; answers whether."""

    key: str
    version: int
    value: Hashable


KeyValueOp = Read | ReadVersion | Write | Delete | Cas | CasVersion


class Cell(NamedTuple):
    """One key: its value, and how often it was changed (0 where versions are not kept)."""

    value: Hashable = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class KeyValue:
    """Registers that start empty.

    Versions make states differ that are otherwise equal, which costs the checker much where many
    outcomes are unknown: keep them only for histories that use them.
    """

    has_versions: bool = False

    def key(self, op: KeyValueOp) -> Hashable:
        return op.key

    def initial(self) -> Cell:
        return Cell()

    def step(self, state: Cell, op: KeyValueOp, outcome: Outcome) -> Cell | None:
        """
        Raises:
            HistoryInvalid: the operation needs versions, and none are kept.
        """
        if not self.has_versions and isinstance(op, ReadVersion | CasVersion):
            raise HistoryInvalid(f"{op!r} needs a model with versions")
        after, answers = self._perform(state, op)
        if outcome is UNKNOWN or (isinstance(outcome, Done) and outcome.value in answers):
            return after
        return None

    def is_passive(self, op: KeyValueOp, outcome: Outcome) -> bool:
        if isinstance(op, Cas | CasVersion):
            return outcome == Done(False)
        return isinstance(op, Read | ReadVersion)

    def _perform(self, state: Cell, op: KeyValueOp) -> tuple[Cell, tuple[Hashable, ...]]:
        """The state after it, and the answers that are right."""
        match op:
            case Read():
                return state, (state.value,)
            case ReadVersion():
                return state, ((state.value, state.version),)
            case Write() | Delete():
                after = self._changed(state, op.value if isinstance(op, Write) else None)
                return after, (None, after.version) if self.has_versions else (None,)
            case Cas() | CasVersion():
                found = state.value if isinstance(op, Cas) else state.version
                wanted = op.expected if isinstance(op, Cas) else op.version
                if found != wanted:
                    return state, (False,)
                return self._changed(state, op.value), (True,)

    def _changed(self, state: Cell, value: Hashable) -> Cell:
        return Cell(value, state.version + 1 if self.has_versions else 0)


# -- a ledger of leases ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Acquire:
    """Answers the fencing token; None where the task is held or completed."""

    task: str


@dataclass(frozen=True, slots=True)
class Renew:
    """Answers whether this token holds the task."""

    task: str
    token: int


@dataclass(frozen=True, slots=True)
class Release:
    """Gives the task back; answers whether this token held it."""

    task: str
    token: int


@dataclass(frozen=True, slots=True)
class Complete:
    """Ends the task for ever; answers whether this token held it."""

    task: str
    token: int
    value: Hashable


@dataclass(frozen=True, slots=True)
class Expire:
    """The ledger takes the task back from `token`, or (None) from whoever holds it; answers
    whether anybody lost it. Nothing else ends a lease that its holder keeps."""

    task: str
    token: int | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """Answers (token of the holder or None, result or None)."""

    task: str


LeaseOp = Acquire | Renew | Release | Complete | Expire | Look

UNSEEN = -1  # a holder whose token no answer has shown yet


class Lease(NamedTuple):
    """One task as it may be. Tokens given from now on are higher than `floor`; an unseen one is at
    least `floor`, and none of `others`."""

    floor: int = 0
    holder: int | None = None
    is_complete: bool = False
    result: Hashable = None
    others: frozenset[int] = frozenset()


Leases = tuple[Lease, ...]


@dataclass(frozen=True, slots=True)
class LeaseLedger:
    """One holder at a time; tokens are positive and grow; a task is completed once.

    How long a lease lasts is not judged: an expiry is an operation like any other. The token of an
    acquisition with unknown outcome is open until an answer tells it, and so a state is all that
    may be the case.
    """

    def key(self, op: LeaseOp) -> Hashable:
        return op.task

    def initial(self) -> Leases:
        return (Lease(),)

    def step(self, state: Leases, op: LeaseOp, outcome: Outcome) -> Leases | None:
        if outcome is UNKNOWN and self.is_passive(op, outcome):
            return state
        after = {new for old in state for new in _steps(old, op, outcome)}
        return tuple(sorted(after, key=repr)) or None

    def is_passive(self, op: LeaseOp, outcome: Outcome) -> bool:
        if isinstance(op, Acquire):
            return outcome == Done(None)
        return isinstance(op, Look | Renew) or outcome == Done(False)


def _steps(lease: Lease, op: LeaseOp, outcome: Outcome) -> Iterator[Lease]:
    """What one possibility may become."""
    for case in _cases(lease, op, outcome):
        match op:
            case Acquire():
                after = _acquired(case, outcome)
            case Look():
                after = _looked(case, outcome)
            case _:
                after = _used(case, op, outcome)
        if after is not None:
            yield after


def _cases(lease: Lease, op: LeaseOp, outcome: Outcome) -> Iterator[Lease]:
    """An unseen token is the one that is named now, or it is not."""
    if isinstance(op, Look):
        shown = outcome.value if isinstance(outcome, Done) else None
        named = shown[0] if isinstance(shown, tuple) and shown else None
    else:
        named = None if isinstance(op, Acquire) else op.token
    if lease.holder != UNSEEN or not isinstance(named, int) or named < lease.floor:
        yield lease
        return
    if named not in lease.others:
        yield Lease(named, named)
    others, floor = lease.others | {named}, lease.floor
    while floor in others:
        floor += 1
    yield Lease(floor, UNSEEN, others=frozenset(token for token in others if token > floor))


def _acquired(lease: Lease, outcome: Outcome) -> Lease | None:
    is_free = lease.holder is None and not lease.is_complete
    if not isinstance(outcome, Done):
        return Lease(lease.floor + 1, UNSEEN) if is_free else lease
    token = outcome.value
    if token is None:
        return None if is_free else lease
    if not is_free or not isinstance(token, int) or token <= lease.floor:
        return None
    return Lease(token, token)


def _looked(lease: Lease, outcome: Outcome) -> Lease | None:
    is_right = not isinstance(outcome, Done) or outcome.value == (lease.holder, lease.result)
    return lease if is_right else None


def _used(lease: Lease, op: Renew | Release | Complete | Expire, outcome: Outcome) -> Lease | None:
    """An operation that works only for the holder."""
    if op.token is None:
        holds = lease.holder is not None
    else:
        holds = op.token != UNSEEN and op.token == lease.holder
    if isinstance(outcome, Done) and outcome.value is not holds:
        return None
    if not holds or isinstance(op, Renew):
        return lease
    if isinstance(op, Complete):
        return Lease(lease.floor, None, True, op.value)
    return Lease(lease.floor)
