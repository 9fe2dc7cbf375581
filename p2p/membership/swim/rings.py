"""Who watches whom, and passes news on to whom: bounded, and computed alike by everybody.

Up to `mesh` others, everybody watches everybody. Above, the members stand on `rings` rings, each in
the order of another hash of their ids, and one's neighbours are those before and behind it on each.
Such a graph of random rings is an expander (Stabile et al., "Rapid", 2018, 4.1): with four rings
each member has up to eight neighbours, any two of 1,000 are four or five steps apart, and a member
loses all its watchers at once only if all eight fail at once. Nobody chooses its own watchers.

What this module does not know: time, why somebody is on the rings.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from functools import lru_cache

from keys import PeerId
from p2p.membership.swim.statements import raw_of

_Place = tuple[bytes, PeerId]


class Rings:
    """All present members, ourselves too."""

    def __init__(self, own: PeerId, rings: int, mesh: int) -> None:
        self._own = own
        self._mesh = mesh
        self._members: set[PeerId] = set()
        self._rings: list[list[_Place]] = [[] for _ in range(rings)]
        self._others: tuple[PeerId, ...] | None = None  # until somebody comes or goes
        self.add(own)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, peer_id: PeerId) -> bool:
        return peer_id in self._members

    def others(self) -> tuple[PeerId, ...]:
        """All but ourselves, by id. It is asked for far more often than it changes."""
        if self._others is None:
            self._others = tuple(sorted(self._members - {self._own}))
        return self._others

    def add(self, peer_id: PeerId) -> None:
        if peer_id not in self._members:
            self._members.add(peer_id)
            self._others = None
            for number, ring in enumerate(self._rings):
                insort(ring, _place(number, peer_id))

    def remove(self, peer_id: PeerId) -> None:
        if peer_id in self._members:
            assert peer_id != self._own
            self._members.discard(peer_id)
            self._others = None
            for number, ring in enumerate(self._rings):
                del ring[bisect_left(ring, _place(number, peer_id))]

    def neighbours(self) -> list[PeerId]:
        """Those that we watch and that watch us, by id."""
        if len(self._members) - 1 <= self._mesh:
            return list(self.others())
        found: set[PeerId] = set()
        for number, ring in enumerate(self._rings):
            at = bisect_left(ring, _place(number, self._own))
            found.add(ring[at - 1][1])
            found.add(ring[(at + 1) % len(ring)][1])
        return sorted(found - {self._own})

    def adopt(self, other: Rings) -> None:
        """Everybody that is on the rings of the other."""
        for peer_id in sorted(other._members - self._members):
            self.add(peer_id)


@lru_cache(maxsize=65_536)
def _place(number: int, peer_id: PeerId) -> _Place:
    salt = b"ring" + bytes((number,))
    return hashlib.blake2b(raw_of(peer_id), digest_size=8, salt=salt).digest(), peer_id
