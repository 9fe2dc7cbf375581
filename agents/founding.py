"""How a network gets its first voters: a core without I/O.

Genesis says how many voters to wait for. Only the node that made the network names them: once,
signed, and stored before anyone is told. Everybody else waits until it is told. So two islands
can never both begin, and a lone node never leads.

    states: WAITING -> FOUNDED, and never back

What this module does not know: signatures, files, messages. After the first roster, voters change
only by decision of the voters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from keys import PeerId


@dataclass(frozen=True, slots=True)
class Name:
    """Sign and store this roster, then call `founded`."""

    voters: tuple[PeerId, ...]


class Founding:
    """Counts who is here until there are enough.

    Args:
        may_name: whether this node made the network.
        expected: how many voters genesis asks for.
    """

    def __init__(self, own: PeerId, expected: int, *, may_name: bool) -> None:
        assert expected >= 1
        self._own = own
        self._expected = expected
        self._may_name = may_name
        self._seen: dict[PeerId, int] = {own: 0}  # in the order in which they came
        self._is_founded = False

    @property
    def is_founded(self) -> bool:
        return self._is_founded

    @property
    def missing(self) -> int:
        """How many voters are still to come, as far as this node sees."""
        return max(0, self._expected - len(self._seen))

    def eligible(self, present: Iterable[PeerId]) -> Name | None:
        """Take note of who could vote and is here now; say whom to name, when it is time."""
        here = set(present) | {self._own}
        self._seen = {p: n for p, n in self._seen.items() if p in here}
        for peer_id in sorted(here - set(self._seen)):
            self._seen[peer_id] = len(self._seen)
        if self._is_founded or not self._may_name or self.missing:
            return None
        return Name(tuple(list(self._seen)[: self._expected]))

    def founded(self) -> None:
        """There is a roster, ours or one that we were told."""
        self._is_founded = True

    def explain(self) -> str:
        """Say in words what is missing."""
        here = len(self._seen)
        if here < self._expected:
            return (
                f"{here} of {self._expected} voters are here; "
                f"bring up {self._expected - here} more node(s)"
            )
        if self._may_name:
            return "the voters are being named"
        return "waiting for the node that made the network to name the voters"
