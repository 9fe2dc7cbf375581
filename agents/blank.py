"""A member of the log whose disk holds none: is it new, or has it forgotten its votes (R23)?

A voter that lost its log could vote twice in a term, and be counted for entries that it no longer
has. So a node begins a log only if nothing speaks against it:

    on its own disk    `voter` says that its log was once here. Written before the log says a word.
                       `unbegun` says that a roster is being adopted whose log is not begun yet.
                       Written before the roster, removed behind `voter`: a home with a roster that
                       names it, and with neither of the two, has lost what it had.
    on other disks     `heard` holds who has spoken in which log. A member writes it down, durably,
                       before it looks at anybody's first message in it, so whoever counted a vote
                       or a confirmation of ours remembers us. What is of another log does not
                       count: who follows the one before a new beginning has not spoken in this.
    in the log         who is known to vote, and was no first voter, has had a log to be promoted.

What this module does not know: the network, Raft; `quorum` asks and decides.

Invariant: a peer is noted on disk before `note` says that its message may be looked at.
"""

from __future__ import annotations

import logging
from pathlib import Path

from agents.cluster import ID_CHARS, write_durably
from consensus import ConsensusError

log = logging.getLogger("conclave.agents.blank")

BEGUN = "voter"  # a file that says: this member's log was once on this disk
UNBEGUN = "unbegun"
HEARD = "heard"
LOG = "log.db"
MAX_HEARD = 4096  # of the latest; there are never so many members


class LogMissing(ConsensusError):
    """A voter without the log it once had has forgotten its votes, and could cast them again."""

    def __init__(self, path: Path, how: str = "this voter has written it before") -> None:
        super().__init__(
            f"{path} is gone or empty, and {how}: restore it, or let "
            "the node rejoin under a new identity"
        )


class Begun:
    """What this home says of its own log."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.path = home / "raft" / LOG
        self.was_signed = False  # the roster, here and by this start: no earlier one had its log

    @property
    def is_begun(self) -> bool:
        return (self._home / BEGUN).exists()

    @property
    def has_log(self) -> bool:
        return self.path.exists() and self.path.stat().st_size > 0

    @property
    def is_blank(self) -> bool:
        """Neither a log nor the word that there was one."""
        return not self.is_begun and not self.has_log

    @property
    def is_expected(self) -> bool:
        """Whether the roster was adopted here and its log is still to be begun."""
        return (self._home / UNBEGUN).exists()

    def expect(self, is_signed: bool) -> None:
        """A roster is about to be adopted, which this start signs or was told."""
        self.was_signed = is_signed
        if not self.is_begun and not self.is_expected:
            write_durably(self._home / UNBEGUN, "")

    def begin(self) -> None:
        """The log is on the disk, and has said nothing yet."""
        if not self.is_begun:
            write_durably(self._home / BEGUN, "")  # who loses the log later must not vote anew
        self.settle()

    def settle(self) -> None:
        """The roster is adopted, and its log is begun or is not ours to begin."""
        (self._home / UNBEGUN).unlink(missing_ok=True)


class Heard:
    """Who has spoken in the log of a cluster, as far as this member remembers."""

    def __init__(self, home: Path, cluster_id: str) -> None:
        self._path = home / HEARD
        self._cluster_id = cluster_id
        self._peers: dict[str, None] = {}
        if self._path.exists():
            rows = (
                line.split(" ") for line in self._path.read_text("utf-8", "replace").splitlines()
            )
            self._peers = {row[1]: None for row in rows if len(row) == 2 and row[0] == cluster_id}

    def knows(self, cluster_id: str, peer_id: str) -> bool:
        return cluster_id == self._cluster_id and peer_id in self._peers

    def note(self, peer_id: str) -> bool:
        """A message of the log has come; whether it may be looked at, which it may not while
        nobody can write down that it came."""
        if peer_id in self._peers:
            return True
        peers = [*self._peers, peer_id][-MAX_HEARD:]
        assert len(self._cluster_id) == ID_CHARS
        try:
            rows = [f"{self._cluster_id} {each}\n" for each in peers]
            write_durably(self._path, "".join(rows))
        except OSError as error:
            log.warning("a voter is not heard, for that cannot be written down: %s", error)
            return False
        self._peers = dict.fromkeys(peers)
        return True
