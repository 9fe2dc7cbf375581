"""What nodes ask the leader about clusters, and what it answers.

    clusters.hold     [name, capability, min, max, mark, lease ms]
            -> [nil, entry], [why not, 0], or [[[who fits, ...], [[who, why not], ...]], 0]
    clusters.release  [name, mark]  -> [nil, entry], or [why not, 0]
    clusters.explain  [name]        -> [[peer, name, fit, why, score, whether it is in], ...]

Whoever holds a cluster says so again and again under one mark: it is the same lease each time. All
of it may be asked again.

What this module does not know: who leads, what is decided.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from agents.clusters.core import Candidate, Fit
from agents.clusters.model import Need, mark_problem, name_problem
from agents.tasking import wire
from keys import PeerId

HOLD: Final = "clusters.hold"
RELEASE: Final = "clusters.release"
EXPLAIN: Final = "clusters.explain"

MIN_LEASE_MS: Final = 1_000
MAX_LEASE_MS: Final = 600_000
UNREADABLE: Final = "the leader's answer cannot be read; upgrade it"


class Wish(NamedTuple):
    """What somebody who holds a cluster says."""

    name: str
    need: Need
    mark: str
    lease_ms: int

    def problem(self) -> str | None:
        """What is wrong with it, or None."""
        if not MIN_LEASE_MS <= self.lease_ms <= MAX_LEASE_MS:
            return f"a lease is {MIN_LEASE_MS} to {MAX_LEASE_MS} ms"
        return name_problem(self.name) or mark_problem(self.mark) or self.need.problem()

    def row(self) -> list[Any]:
        return [self.name, *self.need, self.mark, self.lease_ms]


class TooFew(NamedTuple):
    """Who would fit, and why the others do not."""

    fits: tuple[str, ...]
    unfit: tuple[tuple[str, str], ...]


def read_wish(payload: bytes) -> Wish | str:
    """Return what is wished, or what is wrong with it."""
    fields = wire.read_list(payload, 6)
    if [type(each) for each in fields] != [str, str, int, int, str, int]:
        return "it is malformed"
    name, capability, least, most, mark, lease_ms = fields
    wish = Wish(name, Need(capability, least, most), mark, lease_ms)
    return wish.problem() or wish


def too_few(answer: TooFew) -> bytes:
    said = [list(answer.fits), [list(pair) for pair in answer.unfit]]
    return wire.answer(wire.Tag.OK, [said, 0])


def read_held(said: Any) -> int | TooFew | str:
    """Return the entry, who fits where they are too few, or why not."""
    if not (isinstance(said, list) and len(said) == 2 and type(said[1]) is int):
        return UNREADABLE
    why, entry = said[0], int(said[1])
    if why is None:
        return entry
    if isinstance(why, str):
        return why
    try:
        fits, unfit = why
        pairs = tuple((str(who), str(reason)) for who, reason in unfit)
        return TooFew(tuple(map(str, fits)), pairs)
    except (TypeError, ValueError):
        return UNREADABLE


def candidate_row(candidate: Candidate, *, is_member: bool) -> list[Any]:
    peer, name, fit, why, score, _ = candidate
    return [peer, name, fit.name.lower(), why, score, is_member]


def read_candidates(said: Any) -> list[dict[str, Any]]:
    """Return who could be in a cluster, as plain data; what cannot be read is left out."""
    rows = said if isinstance(said, list) else []
    known = {fit.name.lower() for fit in Fit}
    found = []
    for row in rows:
        if isinstance(row, list) and [type(e) for e in row[:6]] == [str, str, str, str, int, bool]:
            peer, name, fit, why, score, is_member = row[:6]
            found.append(
                {
                    "peer": PeerId(peer),
                    "name": name,
                    "fit": fit if fit in known else "unfit",
                    "why": why,
                    "score": score,
                    "is_member": is_member,
                }
            )
    return found
