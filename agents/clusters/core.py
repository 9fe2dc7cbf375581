"""Who is in a cluster: formed, mended, grown and dissolved. Proposals only; the log decides.

    leases | roster | what is due
    no     | no     | nothing
    no     | yes    | dissolve it
    yes    | no     | form it, if as many fit as one of the users needs; otherwise wait
    yes    | yes    | take out who is unfit, put in who fits, up to what the users want

Whoever is dead, has left, has failed or may not take part goes at once, whether there is another
one or not: a roster that is short says so, and names nobody that cannot work. One that is only
silent stays, and one that is degraded goes when it was so for `patience_ms` and a healthy one is
there. A member that works is never exchanged for a better one. Below what the users need, everybody
comes in who fits, degraded ones last; above that only healthy ones that were up for `settle_ms`, so
that a node that flaps moves nothing.

Leases are the wish, the roster is the deed: both are in the log, so whoever leads next goes on from
what is there, and a crash between any two steps loses nothing. A roster is written on condition
that it is still the one that was looked at.

Invariants: nobody is in a roster twice; no roster is larger than its max; a member that works stays
unless there are too many.
What this module does not know: the log, the network, what makes a peer fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from agents.clusters.model import MAX_WHY_CHARS, Need, Roster, check_roster
from keys import PeerId

SHOWN: Final = 6


class Fit(IntEnum):
    """From good to bad."""

    WELL = 0
    DEGRADED = 1
    SILENT = 2  # it may be back at once, or dead
    UNFIT = 3


class Candidate(NamedTuple):
    """One peer that could be in a cluster, or why it cannot.

    Attributes:
        why: in words, of one that is not well.
        score: as `agents.scoring` has it.
        up_ms: for how long it is here.
    """

    peer: PeerId
    name: str
    fit: Fit
    why: str
    score: int
    up_ms: int


class Change(NamedTuple):
    """What is proposed for one cluster; no roster dissolves it."""

    roster: Roster | None


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    patience_ms: int = 10_000
    settle_ms: int = 10_000


Candidates = Mapping[PeerId, Candidate]


def best_first(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Healthy ones first, then by score; equal ones by id, so that all who sort them agree."""
    return sorted(candidates, key=lambda each: (each.fit, -each.score, each.peer))


def that_fit(candidates: Candidates) -> list[Candidate]:
    """Who could come in, the best first."""
    return best_first(each for each in candidates.values() if each.fit <= Fit.DEGRADED)


def merged(leases: Sequence[Need], capability: str | None) -> Need | None:
    """What all users of a cluster want together: the largest of each.

    Args:
        capability: of the roster, None while there is none. Leases on another one do not count.
    """
    chosen = capability if capability is not None else next((n.capability for n in leases), None)
    mine = [need for need in leases if need.capability == chosen]
    if not mine:
        return None
    least, most = max(n.min_size for n in mine), max(n.max_size for n in mine)
    return Need(mine[0].capability, least, most)


def formable(leases: Sequence[Need], candidates: Candidates) -> bool:
    """Whether enough fit for at least one of the users."""
    return bool(leases) and len(that_fit(candidates)) >= min(need.min_size for need in leases)


class ClusterCore:
    """Looks at one cluster after the other; remembers only for how long members are degraded."""

    def __init__(self, settings: ClusterSettings | None = None) -> None:
        self._settings = settings or ClusterSettings()
        self._degraded_ms: dict[str, dict[PeerId, int]] = {}

    def step(
        self,
        name: str,
        leases: Sequence[Need],
        roster: Roster | None,
        lead: PeerId | None,
        candidates: Candidates,
        now_ms: int,
        wall_ms: int,
    ) -> Change | None:
        """Return what is due, or None.

        Args:
            leases: of those who use it now.
            lead: which member leads it, if any.
            candidates: everybody who is here or is in the roster; who is missing is unfit.
        """
        need = merged(leases, roster.capability if roster is not None else None)
        if need is None:
            self._degraded_ms.pop(name, None)
            return Change(None) if roster is not None else None
        if roster is None:
            return self._form(need, leases, candidates, wall_ms)
        stays, goes = self._sifted(name, need, roster, candidates, now_ms)
        stays, surplus = _cut(stays, need.max_size, lead, candidates)
        goes |= dict.fromkeys(surplus, "fewer are needed")
        outside = [each for each in that_fit(candidates) if each.peer not in stays]
        comes = [each.peer for each in self._chosen(need, len(stays), outside)]
        return _changed(roster, need, stays, goes, comes, candidates, wall_ms)

    def forget(self, names: Iterable[str]) -> None:
        """Nothing else is looked at any more."""
        kept = set(names)
        for name in [name for name in self._degraded_ms if name not in kept]:
            del self._degraded_ms[name]

    def _form(
        self, need: Need, leases: Sequence[Need], candidates: Candidates, wall_ms: int
    ) -> Change | None:
        wanted = [each for each in leases if each.capability == need.capability]
        if not formable(wanted, candidates):
            return None
        members = tuple(each.peer for each in self._chosen(need, 0, that_fit(candidates)))
        why = f"formed of {_names(members, candidates)}"[:MAX_WHY_CHARS]
        return Change(Roster(*need, members, wall_ms, wall_ms, why))

    def _sifted(
        self, name: str, need: Need, roster: Roster, candidates: Candidates, now_ms: int
    ) -> tuple[list[PeerId], dict[PeerId, str]]:
        """Who stays, and who goes and why."""
        since = self._degraded_ms.setdefault(name, {})
        spare = _spare(need, roster, candidates)
        stays: list[PeerId] = []
        goes: dict[PeerId, str] = {}
        for peer in roster.members:
            found = candidates.get(peer)
            if found is None or found.fit is Fit.UNFIT:
                goes[peer] = found.why if found is not None else "it is gone"
                continue
            if found.fit is Fit.DEGRADED:
                bad_ms = now_ms - since.setdefault(peer, now_ms)
                if bad_ms >= self._settings.patience_ms and spare > 0:
                    spare -= 1
                    goes[peer] = found.why
                    continue
            else:
                since.pop(peer, None)
            stays.append(peer)
        for peer in [peer for peer in since if peer not in stays]:
            del since[peer]
        return stays, goes

    def _chosen(self, need: Need, have: int, best: Sequence[Candidate]) -> list[Candidate]:
        """Whom to take of these: up to the min whoever fits, up to the max who is settled."""
        least = max(0, need.min_size - have)
        chosen, rest = list(best[:least]), best[least:]
        room = max(0, need.max_size - have - len(chosen))
        settled = [
            each for each in rest if each.fit is Fit.WELL and each.up_ms >= self._settings.settle_ms
        ]
        return [*chosen, *settled[:room]]


def _spare(need: Need, roster: Roster, candidates: Candidates) -> int:
    """How many healthy ones are outside beyond those that are missing anyway."""
    healthy = {each.peer for each in candidates.values() if each.fit is Fit.WELL}
    working = [
        peer
        for peer in roster.members
        if peer in candidates and candidates[peer].fit is not Fit.UNFIT
    ]
    return len(healthy.difference(roster.members)) - max(0, need.min_size - len(working))


def _cut(
    stays: list[PeerId], most: int, lead: PeerId | None, candidates: Candidates
) -> tuple[list[PeerId], list[PeerId]]:
    """Who stays of too many, and who does not: the worst go, the leader last."""
    by_worth = [each.peer for each in best_first(candidates[peer] for peer in stays)]
    if lead in by_worth:
        by_worth.remove(lead)
        by_worth.insert(0, lead)
    kept = set(by_worth[:most])
    return [p for p in stays if p in kept], [p for p in stays if p not in kept]


def _changed(
    roster: Roster,
    need: Need,
    stays: list[PeerId],
    goes: Mapping[PeerId, str],
    comes: list[PeerId],
    candidates: Candidates,
    wall_ms: int,
) -> Change | None:
    members = (*stays, *comes)
    if members == roster.members and need[1:] == roster[1:3]:
        return None
    said = [f"{_name(peer, candidates)} goes: {why}" for peer, why in goes.items()]
    if comes:
        said.append(f"{_names(comes, candidates)} {'comes' if len(comes) == 1 else 'come'}")
    why = "; ".join(said) or f"{need.min_size} to {need.max_size} are needed now"
    after = Roster(*need, members, roster.formed_ms, wall_ms, why[:MAX_WHY_CHARS])
    check_roster(after)
    return Change(after)


def _name(peer: PeerId, candidates: Candidates) -> str:
    found = candidates.get(peer)
    return found.name if found is not None else peer[:8]


def _names(peers: Sequence[PeerId], candidates: Candidates) -> str:
    shown = [_name(peer, candidates) for peer in peers[:SHOWN]]
    return ", ".join(shown) + (f" and {len(peers) - SHOWN} more" if len(peers) > SHOWN else "")
