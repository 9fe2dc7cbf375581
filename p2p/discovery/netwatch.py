"""Has the machine moved, or slept? Looks at what it is told once a second, and says what changed.

Pure. Does not know interfaces, peers, or what is done about it.

- Moved: what we tell others of where we are is not what it was. Gone for a while and back at the
  same address is a move too: whoever dialled meanwhile has given up.
- Lost: an address went away, and every connection that was made from it is dead, though neither
  end is told.
- Woken: far more time passed between two looks than between two others: the machine was suspended,
  or this process stopped. Others may hold us for dead, and we may hold them.

An interface that comes and goes every second would make everybody greet everybody every second,
so that moves are told of at once and then at most every `PAUSE_MS`.
"""

from __future__ import annotations

from dataclasses import dataclass

LOOK_EVERY_S = 1.0
NAP_MS = 8_000  # shorter ones end before anybody is held for dead
PAUSE_MS = 4_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where we are: the addresses to tell others, best first, and our subnets."""

    hosts: tuple[str, ...]
    networks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Moved:
    """Tell everybody.

    Attributes:
        lost: an address went away since we last told.
    """

    place: Place
    lost: bool


@dataclass(frozen=True, slots=True)
class Woken:
    """So long nothing was done here at all."""

    nap_ms: int


class NetworkWatch:
    """
    Args:
        place: what others were told at the start.
    """

    def __init__(self, place: Place, now_ms: int) -> None:
        self._told = place
        self._seen = place
        self._lost = False  # since we last told, also when it is back by now
        self._looked_ms = now_ms
        self._quiet_until_ms = now_ms

    def look(self, place: Place, now_ms: int) -> Moved | Woken | None:
        """Take in what the machine says now; a move that follows a nap is told as a move."""
        nap_ms = now_ms - self._looked_ms
        self._looked_ms = now_ms
        self._lost |= not set(self._seen.hosts) <= set(place.hosts)
        self._seen = place
        if self._is_news(place) and now_ms >= self._quiet_until_ms:
            moved = Moved(place, self._lost)
            self._told, self._lost = place, False
            self._quiet_until_ms = now_ms + PAUSE_MS
            return moved
        return Woken(nap_ms) if nap_ms >= NAP_MS else None

    def _is_news(self, place: Place) -> bool:
        """Without any address there is nobody to tell, and nothing to tell them."""
        return bool(place.hosts) and (self._lost or place != self._told)
