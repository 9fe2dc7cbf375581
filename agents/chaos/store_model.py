"""What a correct store answers, one operation at a time: versions are indexes of the log, which
grow with every change and are told with the answers.

What this module does not know: time, clients.

Invariants: `step` has one result for equal arguments; states are hashable and never None.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple

from consensus.sim import UNKNOWN, Done, OperationOutcome

UNSEEN = -1  # the version of a change whose answer nobody got


@dataclass(frozen=True, slots=True)
class Get:
    """Answers (value, version), None where there is none."""

    key: str


@dataclass(frozen=True, slots=True)
class Put:
    """Answers the new version."""

    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class CompareSet:
    """Answers the new version, False where it is not as expected: None for no such key, bytes for
    this value, a number for this version."""

    key: str
    expected: bytes | int | None
    value: bytes


@dataclass(frozen=True, slots=True)
class Remove:
    """Answers whether it was there; False too where a version was expected that is not there."""

    key: str
    version: int | None


StoreOp = Get | Put | CompareSet | Remove


class Cell(NamedTuple):
    """One key.

    Attributes:
        version: of the value; UNSEEN if it was never told.
        floor: a version that was told; later changes have greater ones.
    """

    value: bytes | None = None
    version: int = 0
    floor: int = 0


class StoreModel:
    """Keys that begin absent."""

    def key(self, op: StoreOp) -> Hashable:
        return op.key

    def initial(self) -> Cell:
        return Cell()

    def step(self, state: Cell, op: StoreOp, outcome: OperationOutcome) -> Cell | None:
        match op:
            case Get():
                return self._got(state, outcome)
            case Put():
                return self._written(state, op.value, outcome)
            case CompareSet():
                if outcome == Done(False):
                    return None if self._surely_is(state, op.expected) else state
                after = self._as_expected(state, op.expected)
                if after is None:
                    return state if outcome is UNKNOWN else None
                return self._written(after, op.value, outcome)
            case Remove():
                return self._removed(state, op, outcome)

    def is_passive(self, op: StoreOp, outcome: OperationOutcome) -> bool:
        return isinstance(op, Get) or outcome == Done(False)

    def _got(self, state: Cell, outcome: OperationOutcome) -> Cell | None:
        if not isinstance(outcome, Done):
            return state
        if outcome.value is None or not isinstance(outcome.value, tuple):
            return state if state.value is None and outcome.value is None else None
        value, version = outcome.value
        if state.value is None or value != state.value:
            return None
        return self._seen_as(state, version)

    def _seen_as(self, state: Cell, version: int) -> Cell | None:
        """The state, now that its version was told."""
        if state.version == UNSEEN:
            return Cell(state.value, version, version) if version > state.floor else None
        return state if version == state.version else None

    def _written(self, state: Cell, value: bytes | None, outcome: OperationOutcome) -> Cell | None:
        if not isinstance(outcome, Done):
            return Cell(value, UNSEEN, state.floor)
        version = outcome.value
        if not isinstance(version, int) or isinstance(version, bool) or version <= state.floor:
            return None
        return Cell(value, version, version)

    def _as_expected(self, state: Cell, expected: bytes | int | None) -> Cell | None:
        if expected is None:
            return state if state.value is None else None
        if state.value is None:
            return None
        if isinstance(expected, bytes):
            return state if state.value == expected else None
        return self._seen_as(state, expected)

    def _surely_is(self, state: Cell, expected: bytes | int | None) -> bool:
        """A version that was never told may or may not be the one that was expected."""
        if isinstance(expected, int) and state.value is not None and state.version == UNSEEN:
            return False
        return self._as_expected(state, expected) is not None

    def _removed(self, state: Cell, op: Remove, outcome: OperationOutcome) -> Cell | None:
        is_there = state.value is not None
        if op.version is not None and is_there:
            if outcome == Done(False):
                return None if self._surely_is(state, op.version) else state
            is_there = self._as_expected(state, op.version) is not None
        if isinstance(outcome, Done) and outcome.value is not is_there:
            return None
        return Cell(None, 0, state.floor) if is_there else state
