"""A backup put into a new home: the same member, and never again a voter of the same log.

A restored node has forgotten its votes, and could cast them again. So the logs that it may have
voted in are written down as left (`agents.cluster`) before the home becomes one. Which these are,
the backup can only say up to the first; so a home is restored as if it had left that one, and who
wants it to vote lets another identity join.

What this module does not know: passphrases, where backups come from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from agents.cluster import ID_CHARS, LEFT, Cluster, left_text
from keys import Roster, RosterRefused
from keys.backups import BackupMalformed, Opened, restore

NO_LOG: Final = Cluster(0, "0" * ID_CHARS)  # has left something: enough not to be a first voter


def restore_home(home: Path, opened: Opened, now_ms: int) -> bool:
    """Put a backup into a directory that is empty or not there; whether it was a first voter.

    Raises:
        HomeInUse, HomeExists, ForeignDirectory, HomeIncomplete, BackupRefused.
    """
    left, was_voter = NO_LOG, False
    raw = opened.files.get("roster")
    if raw is not None:
        try:
            roster = Roster.decode(raw)
        except RosterRefused as error:
            raise BackupMalformed(str(error)) from error
        left, was_voter = Cluster.first(roster), opened.head.peer_id in roster.voters
    restore(home, opened, {f"raft/{LEFT}": left_text([left]).encode()}, now_ms)
    return was_voter
