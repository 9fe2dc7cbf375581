"""Tasks that are voted on, as they come to the leader.

    vote    [[voter, ...] or nil, [guardian, ...], numerator, denominator, deadline in ms]

Voters and guardians are named by peer id or by name; without voters those of the log decide.

What this module does not know: who can vote, what a question says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self

from agents.ledger import TaskSpec, VotedSpec
from consensus.ballots import Proposal


@dataclass(frozen=True, slots=True)
class VoteWish:
    """Who is to vote on a task, and how."""

    voters: tuple[str, ...] | None
    may_veto: tuple[str, ...]
    threshold: tuple[int, int]
    deadline_ms: int

    def to_wire(self) -> list[Any]:
        voters = None if self.voters is None else list(self.voters)
        return [voters, list(self.may_veto), *self.threshold, self.deadline_ms]

    @classmethod
    def from_wire(cls, raw: Any) -> Self | None:
        """None if it is no such wish."""
        if not isinstance(raw, list) or len(raw) != 5:
            return None
        voters, guardians, *numbers = raw
        is_shaped = (
            (voters is None or _are_names(voters))
            and _are_names(guardians)
            and all(type(number) is int for number in numbers)
        )
        if not is_shaped:
            return None
        named = None if voters is None else tuple(voters)
        return cls(named, tuple(guardians), (numbers[0], numbers[1]), numbers[2])


class Polls(Protocol):
    """What the leader needs to have tasks voted on."""

    def freeze(self, spec: TaskSpec, wish: VoteWish) -> VotedSpec | None:
        """
        Raises:
            QuestionRefused.
        """
        ...

    async def open(self, question: Proposal) -> None: ...


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
