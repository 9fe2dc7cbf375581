"""What one node knows of all clusters, as the log has told it so far.

What this module does not know: how it is told, who reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from agents.clusters.model import LEADER, ROSTER, Lead, Roster, decode_lead, decode_roster
from agents.kept_by_log import Row
from keys.policies import Place

NOBODY = Lead(None, 0)


class Known(NamedTuple):
    """One cluster.

    Attributes:
        version: log index of the roster's last change; grows for ever.
    """

    name: str
    roster: Roster
    version: int
    lead: Lead


class ClusterBook:
    """All clusters, by name.

    Attributes:
        is_known: what the log has was heard once; before that, a cluster that is missing may be.
    """

    def __init__(self) -> None:
        self._rosters: dict[str, tuple[Roster, int]] = {}
        self._leads: dict[str, Lead] = {}
        self.is_known = False
        self.listeners: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._rosters)

    def get(self, name: str) -> Known | None:
        """Return a cluster, None where there is none."""
        found = self._rosters.get(name)
        if found is None:
            return None
        roster, version = found
        lead = self._leads.get(name, NOBODY)
        # A leader that is out of the roster stops by itself; nobody should ask it any more.
        return Known(name, roster, version, lead if lead.peer in roster.members else NOBODY)

    def all(self) -> list[Known]:
        """Return all of them, by name."""
        known = (self.get(name) for name in sorted(self._rosters))
        return [each for each in known if each is not None]

    # -- what is told --------------------------------------------------------------------------

    def replace(self, rows: Iterable[Row], place: Place) -> None:
        """Know these and nothing else."""
        self._rosters.clear()
        self._leads.clear()
        for row in rows:
            self._take(row)
        self.is_known = True
        self._tell()

    def change(self, row: Row) -> None:
        """One of them is another one now, or gone."""
        self._take(row)
        self._tell()

    def _take(self, row: Row) -> None:
        key, value, place = row
        if key.startswith(ROSTER):
            name = key.removeprefix(ROSTER)
            roster = decode_roster(value) if value is not None else None
            if roster is None:  # gone, or written by a newer program: not ours to take part in
                self._rosters.pop(name, None)
            else:
                self._rosters[name] = (roster, place.index)
        elif key.startswith(LEADER):
            name = key.removeprefix(LEADER)
            lead = decode_lead(value) if value is not None else None
            if lead is None:
                self._leads.pop(name, None)
            else:
                self._leads[name] = lead

    def _tell(self) -> None:
        for listener in self.listeners:
            listener()
