"""The replay guard of one node, with its floors on disk.

A message that is taken once is handed out only after the file says that nothing of its sender up
to its time is taken again by a later start. That is a write of two or three milliseconds at most
every two seconds for each sender, in the caller's thread.

What this module does not know: the clock, keys, what the messages hold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from keys.canonical import NotCanonical
from keys.errors import HomeDamaged
from keys.files import read_private, write_atomic
from keys.identity import PeerId
from keys.sealing.message import Stamp
from keys.sealing.replay import MAX_BYTES, ReplayGuard

FILE_NAME: Final = "sealing.seen"


class SeenMessages:
    """Get one from `open`, with the home's lock held."""

    def __init__(self, path: Path, guard: ReplayGuard) -> None:
        self._path = path
        self._guard = guard
        self._is_unsaved = False

    @classmethod
    def open(cls, home: Path, now_ms: int, *, is_new: bool) -> SeenMessages:
        """
        Args:
            is_new: this node never had a sealing key before, so nothing was ever sealed for it.
                Where it had, and the file is gone, only what is sealed from now on is taken.

        Raises:
            HomeDamaged: the file is none of ours.
            KeystoreError.
        """
        path = home / FILE_NAME
        data = read_private(path, MAX_BYTES)
        if data is None:
            made = cls(path, ReplayGuard(0 if is_new else now_ms))
            made.close()  # from now on, a file that is not there was lost
            return made
        try:
            return cls(path, ReplayGuard.decode(data))
        except NotCanonical as error:
            raise HomeDamaged(path, str(error)) from error

    def check_age(self, sender: PeerId, stamp: Stamp, now_ms: int) -> None:
        """See `ReplayGuard.check_age`."""
        self._guard.check_age(sender, stamp, now_ms)

    def take_once(self, sender: PeerId, stamp: Stamp, now_ms: int) -> None:
        """See `ReplayGuard.take`; when this returns, no later start takes it either.

        Raises:
            SealedInFuture, SealedTooOld, SealedReplayed, KeystoreError: it is not taken.
        """
        # A write that failed leaves memory ahead of the disk: the next one has to make up for it.
        self._is_unsaved |= self._guard.take(sender, stamp, now_ms)
        if self._is_unsaved:
            write_atomic(self._path, self._guard.encode())
            self._is_unsaved = False

    def close(self) -> None:
        """Keep what was taken without slack, so that the next start refuses nothing else."""
        write_atomic(self._path, self._guard.encode(is_last=True))
