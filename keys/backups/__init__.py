"""Backups of a home: sealed for one key, read and restored by who has it; only commands need it."""

from keys.backups.archive import (
    BackupHead,
    Opened,
    back_up,
    backup_in,
    keep_backup,
    open_backup,
    parse_public,
    public_text,
    read_head,
    restore,
)
from keys.backups.reader_key import load_backup_key, make_backup_key, needs_passphrase
from keys.backups.refusals import (
    BackupClosed,
    BackupMalformed,
    BackupNeedsKey,
    BackupRefused,
    TooEarlyForBackup,
)

__all__ = [
    "BackupClosed",
    "BackupHead",
    "BackupMalformed",
    "BackupNeedsKey",
    "BackupRefused",
    "Opened",
    "TooEarlyForBackup",
    "back_up",
    "backup_in",
    "keep_backup",
    "load_backup_key",
    "make_backup_key",
    "needs_passphrase",
    "open_backup",
    "parse_public",
    "public_text",
    "read_head",
    "restore",
]
