"""What a correct service answers, one operation at a time: a key-value store, a ledger of leases.

A model is three pure functions. `key` says which part of the state an operation touches: operations
of different keys never influence each other, so each key is judged alone. `initial` is the state of
one key before anything happened. `step` is the state after an operation with that outcome, or None
if the service could not have answered so there; with `UNKNOWN` any answer will do, only the effect
counts. States are hashable, compare by value, and are never None.

What this module does not know: time, clients, in which order things happened.

Invariants: `step` has one result for equal arguments; an operation that was refused is never given
to it.
"""

from __future__ import annotations

from collections.abc import Hashable
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
    """One task. Every token from now on is higher than `floor`."""

    floor: int = 0
    holder: int | None = None
    is_complete: bool = False
    result: Hashable = None


@dataclass(frozen=True, slots=True)
class LeaseLedger:
    """One holder at a time; tokens are positive and grow; a task is completed once.

    How long a lease lasts is not judged: an expiry is an operation like any other. The token of an
    acquisition with unknown outcome is open until a `Look` shows it. Nobody can use it before
    that, so a token above the floor that holds nothing is simply stale.
    """

    def key(self, op: LeaseOp) -> Hashable:
        return op.task

    def initial(self) -> Lease:
        return Lease()

    def step(self, state: Lease, op: LeaseOp, outcome: Outcome) -> Lease | None:
        match op:
            case Acquire():
                return _acquired(state, outcome)
            case Look():
                return _looked(state, outcome)
            case Renew() | Release() | Complete() | Expire():
                holds = _is_held_by(state, op.token)
        if isinstance(outcome, Done) and outcome.value is not holds:
            return None
        if not holds or isinstance(op, Renew):
            return state
        if isinstance(op, Complete):
            return Lease(state.floor, None, True, op.value)
        return Lease(state.floor)


def _is_held_by(state: Lease, token: int | None) -> bool:
    """Whether this token (None: any) holds the task; an unseen one is nobody's to name."""
    if token is None:
        return state.holder is not None
    return token != UNSEEN and token == state.holder


def _acquired(state: Lease, outcome: Outcome) -> Lease | None:
    is_free = state.holder is None and not state.is_complete
    if not isinstance(outcome, Done):
        return Lease(state.floor + 1, UNSEEN) if is_free else state
    token = outcome.value
    if token is None:
        return None if is_free else state
    if not is_free or not isinstance(token, int) or token <= state.floor:
        return None
    return Lease(token, token)


def _looked(state: Lease, outcome: Outcome) -> Lease | None:
    if not isinstance(outcome, Done):
        return state
    match outcome.value:
        case (int() as token, None) if state.holder == UNSEEN and token >= state.floor:
            return Lease(token, token)
        case (token, result) if state.holder != UNSEEN:
            return state if (token, result) == (state.holder, state.result) else None
        case _:
            return None
