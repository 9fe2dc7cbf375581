"""The latest heads of others' audit logs, which a peer keeps so that their ends cannot be cut off.

`audit/heads/<peer id>.head` is the newest checkpoint that this peer sent us; `.fork` beside it is
the first one that contradicts what was held: it went back, or names another entry by the same
number. Both are signed by that peer, and so are proof for whoever looks.

What this module does not know: how heads travel, who is told of a contradiction.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from pathlib import Path
from typing import Final

from keys.auditing.entry import MAX_FRAME_BYTES, Checkpoint, decode_checkpoint
from keys.auditing.log import DIRECTORY
from keys.canonical import NotCanonical
from keys.files import make_private_directory, names_in, read_file, write_atomic
from keys.identity import ID_CHARS, PeerId

MAX_PEERS: Final = 1024
RECENT: Final = 16

_HEAD, _FORK = ".head", ".fork"


class HeadNews(StrEnum):
    NEWER = "newer"
    KNOWN = "known"
    BACK = "back"  # its number is lower than one that the peer has signed before
    FORKED = "forked"  # another entry of the same number


class HeldHead:
    """What is known of one peer's log. Pure.

    An older head may come late, over a connection that another has replaced: those that were held
    a moment ago contradict nothing.
    """

    def __init__(self, newest: Checkpoint | None = None) -> None:
        self.newest = newest
        self._recent = deque([newest.head] if newest is not None else [], RECENT)

    def take(self, told: Checkpoint) -> HeadNews:
        """Judge a head whose signature is good; a newer one is held from now on."""
        if told.head in self._recent:
            return HeadNews.KNOWN
        newest = self.newest
        if newest is None or told.head.sequence > newest.head.sequence:
            self.newest = told
            self._recent.append(told.head)
            return HeadNews.NEWER
        same = told.head.sequence == newest.head.sequence
        return HeadNews.FORKED if same else HeadNews.BACK


class HeadStore:
    """The heads on disk."""

    def __init__(self, home: Path) -> None:
        self._directory = home / DIRECTORY / "heads"

    def load(self) -> tuple[dict[PeerId, Checkpoint], dict[PeerId, Checkpoint]]:
        """The newest of each peer, and what contradicts it; files that are damaged are left out.

        Raises:
            HomeUnreadable.
        """
        found: dict[str, dict[PeerId, Checkpoint]] = {_HEAD: {}, _FORK: {}}
        for name in sorted(names_in(self._directory)):
            path = self._directory / name
            if path.suffix not in found or len(path.stem) != ID_CHARS:
                continue
            try:
                one = decode_checkpoint(read_file(path, MAX_FRAME_BYTES) or b"")
            except NotCanonical:
                continue
            if one.peer_id == path.stem:
                found[path.suffix][one.peer_id] = one
        return found[_HEAD], found[_FORK]

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep the newest of a peer, durably.

        Raises:
            HomeUnreadable.
        """
        self._write(checkpoint, _HEAD)

    def save_fork(self, checkpoint: Checkpoint) -> None:
        """Keep the proof that a peer's log was changed; the first one stays.

        Raises:
            HomeUnreadable.
        """
        if not self._path(checkpoint.peer_id, _FORK).exists():
            self._write(checkpoint, _FORK)

    def _write(self, checkpoint: Checkpoint, suffix: str) -> None:
        if not self._directory.is_dir():
            make_private_directory(self._directory.parent)
            make_private_directory(self._directory)
        write_atomic(self._path(checkpoint.peer_id, suffix), checkpoint.raw)

    def _path(self, peer_id: PeerId, suffix: str) -> Path:
        return self._directory / f"{peer_id}{suffix}"
