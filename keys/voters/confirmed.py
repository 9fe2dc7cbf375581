"""When a node last knew for certain who votes: one small file of its home, and how long that holds.

Whoever proves others to be voters signs as one of those who are known. Keys grow old: they are
taken out of use, thrown away with their disks, and nobody revokes them once their certificates have
ended. So after `TRUSTED_MS`, in which every certificate of that time has ended, the known voters'
signatures are not enough by themselves (`walk_voters`, `certified`).

A file that is lost or damaged is as one that is very old: it makes a node more careful.

What this module does not know: what confirms it, who votes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keys.canonical import Fields, NotCanonical, decode, encode
from keys.certificate import CertificateKind
from keys.errors import HomeDamaged
from keys.files import read_file, write_atomic
from keys.trust import LIFETIME_MS, SKEW_MS
from keys.voters.statement import LOG_CHARS, VoterSet, VotersRefused

log = logging.getLogger("conclave.keys.voters")

VERSION: Final = 1
FILE: Final = "voters.confirmed"
TRUSTED_MS: Final = LIFETIME_MS[CertificateKind.PEER]
_MAX_BYTES: Final = 128


@dataclass(frozen=True, slots=True)
class Confirmed:
    """That these, who were decided at this place in this log, were the voters at this time."""

    generation: int
    log_id: str
    index: int
    at_ms: int

    @classmethod
    def now(cls, who: VoterSet, at_ms: int) -> Confirmed:
        return cls(who.generation, who.log_id, who.index, at_ms)

    def is_of(self, who: VoterSet) -> bool:
        return (self.generation, self.log_id, self.index) == (who.generation, who.log_id, who.index)

    def is_stale(self, now_ms: int) -> bool:
        """Whether it is too long ago; also of what a clock that was ahead has written."""
        return not self.at_ms - SKEW_MS <= now_ms <= self.at_ms + TRUSTED_MS

    def encode(self) -> bytes:
        return encode(
            {1: VERSION, 2: self.generation, 3: self.log_id, 4: self.index, 5: self.at_ms}
        )

    @classmethod
    def decode(cls, data: bytes) -> Confirmed:
        """
        Raises:
            VotersRefused: these bytes are none.
        """
        try:
            fields = Fields(decode(data, _MAX_BYTES))
            fields.integer(1, VERSION, VERSION)
            found = cls(
                generation=fields.integer(2, 0, 2**31),
                log_id=fields.text(3, LOG_CHARS),
                index=fields.integer(4),
                at_ms=fields.integer(5),
            )
            fields.finish()
        except NotCanonical as error:
            raise VotersRefused(str(error)) from error
        return found


class ConfirmedFile:
    """The file `voters.confirmed` of a home."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE

    def load(self) -> Confirmed | None:
        """
        Raises:
            HomeUnreadable
        """
        try:
            data = read_file(self._path, _MAX_BYTES)
            return None if data is None else Confirmed.decode(data)
        except (HomeDamaged, VotersRefused) as error:
            log.warning("when the voters were confirmed is not known: %s", error)
            return None

    def save(self, confirmed: Confirmed) -> None:
        """
        Raises:
            HomeUnreadable
        """
        write_atomic(self._path, confirmed.encode())
