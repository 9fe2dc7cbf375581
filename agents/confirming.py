"""Whether who votes is known for certain now, and since when it is not.

It is confirmed whenever a majority of the known voters, each with a certificate that is good now,
says within a minute that it knows of nothing later. A proof that others vote confirms nothing: it
may be an old truth. Where nothing was confirmed for as long as certificates live, old keys alone
prove nothing any more (`keys.voters.confirmed`): at a node that was away, or that has joined long
after the first voters.

Written down once a day. What is not written is only older, which makes a later start more careful.

What this module does not know: statements, who asks whom.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from agents.electorate import Electorate
from keys import KeystoreError, PeerId
from keys.voters import Confirmed, ConfirmedFile
from p2p import Clock

log = logging.getLogger("conclave.agents.confirming")

HEARD_MS: Final = 60_000
WRITE_MS: Final = 86_400_000


class Confirming:
    """
    Attributes:
        refused_ms: when a proof was last refused that old keys alone have signed; 0 for never.
    """

    def __init__(self, own: PeerId, clock: Clock, electorate: Electorate, home: Path) -> None:
        self._own = own
        self._clock = clock
        self._electorate = electorate
        self._file = ConfirmedFile(home)
        self._last: Confirmed | None = None
        self._written_ms = 0
        self._heard: dict[PeerId, int] = {}
        self.refused_ms = 0

    def begin(self, founded_ms: int) -> None:
        """The electorate knows what it knew before this start; the roster was signed then.

        Raises:
            KeystoreError: it cannot be read.
        """
        known, kept = self._electorate.known(), self._file.load()
        if kept is not None and kept.is_of(known):
            self._last, self._written_ms = kept, kept.at_ms
        elif known.place == (0, 0):
            self._last = Confirmed.now(known, founded_ms)

    @property
    def since_ms(self) -> int:
        """When it was last confirmed, in Unix milliseconds; 0 when nobody knows."""
        return self._last.at_ms if self._last is not None else 0

    @property
    def is_stale(self) -> bool:
        if self._electorate.has_majority({self._own}):
            return False  # it decides alone, and needs nobody's word
        return self._last is None or self._last.is_stale(self._clock.wall_ms())

    def heard(self, peer_id: PeerId) -> None:
        """An admitted peer knows as much as we do."""
        if not self._electorate.is_voter(peer_id):
            return
        now_ms, wall_ms = self._clock.now_ms(), self._clock.wall_ms()
        self._heard[peer_id] = now_ms
        if abs(wall_ms - self.since_ms) >= HEARD_MS or self.is_stale:
            here = {who for who, at_ms in self._heard.items() if now_ms - at_ms < HEARD_MS}
            if self._electorate.has_majority(here | {self._own}):
                self._confirm()

    def moved(self) -> None:
        """Others are known: decided after those before were confirmed, and nobody knows when."""
        known = self._electorate.known()
        if self._last is not None and not self._last.is_of(known):
            self._heard.clear()
            self._write(Confirmed.now(known, self._last.at_ms))

    def _confirm(self) -> None:
        now = Confirmed.now(self._electorate.known(), self._clock.wall_ms())
        if abs(now.at_ms - self._written_ms) >= WRITE_MS:
            self._write(now)
        self._last = now

    def _write(self, confirmed: Confirmed) -> None:
        self._last, self._written_ms = confirmed, confirmed.at_ms
        try:
            self._file.save(confirmed)
        except KeystoreError as error:
            log.error("when the voters were confirmed is not written down: %s", error)
