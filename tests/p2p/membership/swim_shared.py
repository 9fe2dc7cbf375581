"""Pictures that share what all know: ten thousand members fit into one process.

Each member's own table and rings hold only how they differ from those that all began with. They
answer as the real ones do; a test holds them to that.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import ChainMap

from keys import PeerId
from p2p.membership.swim.picture import Picture
from p2p.membership.swim.rings import Rings, _place
from p2p.membership.swim.table import Table
from p2p.membership.swim_settings import SwimSettings


class SharedTable(Table):
    """Writes go to the member's own layer; nothing below it is ever taken away."""

    def __init__(self, base: Table) -> None:
        super().__init__()
        self._records = ChainMap({}, base.records())  # type: ignore[assignment]
        self._buckets = list(base.buckets())
        self.digest = base.digest


class SharedRings(Rings):
    """The rings that all began with, without some and with some others."""

    def __init__(self, own: PeerId, base: Rings) -> None:
        self._base = base
        self._added: set[PeerId] = set()
        self._removed: set[PeerId] = set()
        super().__init__(own, len(base._rings), base._mesh)

    def __len__(self) -> int:
        return len(self._base) + len(self._added) - len(self._removed)

    def __contains__(self, peer_id: PeerId) -> bool:
        if peer_id in self._added:
            return True
        return peer_id in self._base and peer_id not in self._removed

    def add(self, peer_id: PeerId) -> None:
        self._removed.discard(peer_id)
        if peer_id not in self._base:
            self._added.add(peer_id)

    def remove(self, peer_id: PeerId) -> None:
        if peer_id in self._added:
            self._added.discard(peer_id)
        elif peer_id in self._base:
            self._removed.add(peer_id)

    def neighbours(self) -> list[PeerId]:
        assert len(self) - 1 > self._mesh, "a world this small needs no sharing"
        found: set[PeerId] = set()
        for number, ring in enumerate(self._base._rings):
            own = _place(number, self._own)
            at = bisect_left(ring, own)
            for step in (-1, 1):
                beside = at + step if step < 0 or (at < len(ring) and ring[at] == own) else at
                while ring[beside % len(ring)][1] in self._removed | {self._own}:
                    beside += step
                places = [ring[beside % len(ring)]]
                places += [_place(number, peer_id) for peer_id in self._added - {self._own}]
                found.add(_next(own, places, step))
        return sorted(found)


def _next(own: tuple[bytes, PeerId], places: list[tuple[bytes, PeerId]], step: int) -> PeerId:
    """Whose place comes first from ours on, in this direction around the ring."""
    ahead = [each for each in places if (each > own) == (step > 0)]
    among = ahead or places
    return (min(among) if step > 0 else max(among))[1]


def sharing(own: PeerId, base: Picture, settings: SwimSettings) -> Picture:
    """A picture for one more member, which begins with all that the base knows."""
    twin = Picture(own, settings)
    twin.table = SharedTable(base.table)
    twin.rings = SharedRings(own, base.rings)
    return twin
