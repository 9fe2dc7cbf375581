"""Whose approval a handler asks for before it does a task: `@agent.serve(..., approval=...)`.

    "any"             a vote of members that may decide, whoever they are
    "voters"          a vote that a majority of the log's voters approved
    ("ada", "bob")    a vote in which each of these approved, by name or peer id

What this module does not know: votes, who these are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from agents.errors import BadAgent

ANY = "any"
VOTERS = "voters"


class Demand(NamedTuple):
    """What is asked for, beyond a vote that holds."""

    of_voters: bool = False
    names: tuple[str, ...] = ()


def demand_of(capability: str, approval: str | Sequence[str] | None) -> Demand | None:
    """What `approval=` means.

    Raises:
        BadAgent: nothing.
    """
    if approval is None:
        return None
    if isinstance(approval, str):
        if approval not in (ANY, VOTERS):
            raise BadAgent(
                f"{capability}: approval {approval!r} is neither {ANY!r} nor {VOTERS!r}; names of "
                "members stand in a tuple"
            )
        return Demand(of_voters=approval == VOTERS)
    names = tuple(approval)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise BadAgent(f"{capability}: approval names members, at least one")
    return Demand(names=names)
