"""Looking after a home: which keys it has, another passphrase, a backup, no core dumps."""

from keys.rekeying import change_passphrase
from keys.safekeeping.backup import (
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
from keys.safekeeping.backup_key import load_backup_key, make_backup_key, needs_passphrase
from keys.safekeeping.dumps import forbid_core_dumps
from keys.safekeeping.inventory import KeyNote, key_notes
from keys.safekeeping.passphrase_file import load_passphrase
from keys.safekeeping.refusals import (
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
    "KeyNote",
    "Opened",
    "TooEarlyForBackup",
    "back_up",
    "backup_in",
    "change_passphrase",
    "forbid_core_dumps",
    "keep_backup",
    "key_notes",
    "load_backup_key",
    "load_passphrase",
    "make_backup_key",
    "needs_passphrase",
    "open_backup",
    "parse_public",
    "public_text",
    "read_head",
    "restore",
]
