"""With which beats a status goes, and to whom of the audience there is one.

A status is the larger half of a beat, and hardly ever new. What is new goes with some beats in a
row, since one may be lost, and after that with one in a few, for whoever missed all of those; the
beats between say only that we are here, and what our picture is. The audience does not judge by
our silence: while there is nothing new, one of them gets a beat in each of ours, however many they
are, so nobody pays for being known to many.

What this module does not know: what a status says, who the neighbours are.
"""

from __future__ import annotations

from collections.abc import Sequence

from keys import PeerId

SAID_BEATS = 4  # in a row have what is new
AGAIN_BEATS = 6  # one in so many has it after that
AUDIENCE_BEATS = 8  # in so many of ours each of the audience gets one, while there is news
AT_ONCE = 4  # of them get one anyway then
ROUNDS = 2  # of the audience for one news


class Telling:
    """See the module."""

    def __init__(self) -> None:
        self._own: object = None
        self._picture: object = None
        self._beats = 0
        self._own_at = 0  # in which beat that was new
        self._new_at = 0  # in which beat anything was

    def beat(self, own: object, picture: object) -> bool:
        """One more beat; whether neighbours get the status with it.

        Args:
            own: what of the status is worth telling, of ourselves.
            picture: what we know of the others. Whoever is new has not heard our status.
        """
        self._beats += 1
        if own != self._own:
            self._own_at = self._beats
        if (own, picture) != (self._own, self._picture):
            self._own, self._picture, self._new_at = own, picture, self._beats
        is_new = self._beats - self._new_at < SAID_BEATS
        return is_new or self._beats % AGAIN_BEATS == 0

    def turn(self, audience: Sequence[PeerId]) -> Sequence[PeerId]:
        """Those of the audience who get this beat, with the status."""
        turns = min(AUDIENCE_BEATS, -(-len(audience) // AT_ONCE))
        if self._beats - self._own_at >= ROUNDS * AUDIENCE_BEATS:
            turns = len(audience)
        return audience[self._beats % turns :: turns] if turns else ()
