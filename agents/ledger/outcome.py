"""What applying one command did: a verdict for every task it touched, or one refusal.

Equal logs give equal outcomes on every replica. A verdict whose `before` and `after` differ is a
change of state; whoever waits for a task looks for exactly that.

What this module does not know: who is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from agents.ledger.commands import Kind
from agents.ledger.model import Refusal, State, TaskId, Token


class Verdict(NamedTuple):
    """One item, or for LEASES_ENDED one lease that ended. In the order of the command's items.

    For a submission that exists already, `task_id` is the existing task's. Where an item was
    malformed it is empty. `token` is the one that counts now, 0 before the first lease.
    """

    task_id: TaskId
    token: Token
    before: State | None
    after: State | None
    refusal: Refusal | None = None

    @property
    def accepted(self) -> bool:
        """What was asked for is so: now, or since an earlier time that it was asked for."""
        return self.refusal is None or self.refusal is Refusal.DUPLICATE

    @property
    def changed(self) -> bool:
        return self.before is not self.after


@dataclass(frozen=True, slots=True)
class Applied:
    """The command was well-formed. `time_ms` is ledger time after it."""

    index: int
    kind: Kind
    time_ms: int
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The whole command changed nothing."""

    index: int
    reason: Refusal

    @property
    def needs_upgrade(self) -> bool:
        """A newer node wrote it: this replica no longer follows the others and should stop."""
        return self.reason in (Refusal.UNKNOWN_VERSION, Refusal.UNKNOWN_KIND)


Outcome = Applied | Refused
