"""Why a backup is not made or not taken.

Refused
`-- BackupRefused
    |-- BackupMalformed     it is no backup, cut off, or demands absurd work
    |-- BackupNeedsKey      it was sealed for a key, or with a passphrase, that was not given
    `-- BackupClosed        the key or passphrase does not open it, or it was changed
KeystoreError
`-- TooEarlyForBackup       this home still has a signature to give that must be given once
"""

from __future__ import annotations

from pathlib import Path

from keys.errors import KeystoreError, Refused


class BackupRefused(Refused):
    """A file that was to be restored is not taken."""

    code = "backup-refused"


class BackupMalformed(BackupRefused):
    code = "backup-malformed"

    def __init__(self, problem: str) -> None:
        super().__init__(f"this is no backup that can be restored: {problem}")
        self.problem = problem


class BackupNeedsKey(BackupRefused):
    code = "backup-needs-key"

    def __init__(self, recipient: str) -> None:
        how = (
            f"it was sealed for the key {recipient}: name the file of that key with --key"
            if recipient
            else "it was sealed with a passphrase: name a file that holds it with --passphrase-file"
        )
        super().__init__(f"the backup is closed: {how}")
        self.recipient = recipient


class BackupClosed(BackupRefused):
    code = "backup-closed"

    def __init__(self) -> None:
        super().__init__("what was given does not open the backup, or the backup was changed")


class TooEarlyForBackup(KeystoreError):
    def __init__(self, home: Path) -> None:
        super().__init__(
            f"{home} has not named the network's first voters yet, and its copy could name others: "
            "bring the first nodes up, and make the backup then"
        )
        self.home = home
