"""What clients saw: operations with a beginning, an end and an outcome, as the checker wants them.

An operation that was refused certainly never happens. One whose outcome is unknown may happen at
any time after it was asked for, once, or never; it has no end. Times are whole milliseconds of the
virtual clock; **equal times count as concurrent**: one operation is before another only if it ended
at an earlier time than the other began.

What this module does not know: what an operation means (`models`), which orders are allowed
(`linearizable`).

Invariants: an operation has an end exactly if its outcome is known, and does not end before it
begins; a recorder settles each operation once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Generic, TypeVar

Op = TypeVar("Op")


class HistoryInvalid(ValueError):
    """A history that no run can have: the fault is in what recorded it."""

    def __init__(self, what: str) -> None:
        super().__init__(f"not a history: {what}")


@dataclass(frozen=True, slots=True)
class Done:
    """It happened, and this was the answer."""

    value: Hashable = None

    def __str__(self) -> str:
        return f"-> {self.value!r}"


class Fate(Enum):
    """The two outcomes without an answer."""

    REFUSED = "refused"
    UNKNOWN = "unknown"

    def __str__(self) -> str:
        return self.value


REFUSED = Fate.REFUSED
UNKNOWN = Fate.UNKNOWN
Outcome = Done | Fate


@dataclass(frozen=True)
class Operation(Generic[Op]):
    """One call of one client. A client may have several at once; its name is for the reader."""

    client: str
    invoked_at: int
    returned_at: int | None
    op: Op
    outcome: Outcome

    def __post_init__(self) -> None:
        if (self.returned_at is None) != (self.outcome is UNKNOWN):
            raise HistoryInvalid(f"{self.op!r} has an end exactly if its outcome is known")
        if self.returned_at is not None and self.returned_at < self.invoked_at:
            raise HistoryInvalid(f"{self.op!r} ends at {self.returned_at}, before it begins")

    def weakened(self) -> Operation[Op]:
        """The same call by a client that never learnt the outcome: it forbids less."""
        return replace(self, returned_at=None, outcome=UNKNOWN)

    def __str__(self) -> str:
        end = "..." if self.returned_at is None else str(self.returned_at)
        return f"[{self.invoked_at}, {end}] {self.client}: {self.op} {self.outcome}"


class Recorder(Generic[Op]):
    """Collects a history while a run goes on. What is not settled at the end is unknown."""

    def __init__(self) -> None:
        self._operations: list[Operation[Op]] = []
        self._open: set[int] = set()

    def invoke(self, client: str, op: Op, now_ms: int) -> int:
        """A call begins; the number returned settles it later."""
        self._operations.append(Operation(client, now_ms, None, op, UNKNOWN))
        number = len(self._operations) - 1
        self._open.add(number)
        return number

    def settle(self, number: int, outcome: Outcome, now_ms: int) -> None:
        """The call ends.

        Raises:
            HistoryInvalid: it was settled before.
        """
        if number not in self._open:
            raise HistoryInvalid(f"operation {number} is settled twice or was never invoked")
        self._open.remove(number)
        if outcome is not UNKNOWN:
            begun = self._operations[number]
            self._operations[number] = replace(begun, returned_at=now_ms, outcome=outcome)

    def history(self) -> tuple[Operation[Op], ...]:
        """Everything so far, in the order of the calls."""
        return tuple(self._operations)


def cut_at(history: Iterable[Operation[Op]], time: int) -> tuple[Operation[Op], ...]:
    """What was known at that time: later calls are gone, later answers are unknown."""
    return tuple(
        operation
        if operation.returned_at is None or operation.returned_at <= time
        else operation.weakened()
        for operation in history
        if operation.invoked_at <= time
    )
