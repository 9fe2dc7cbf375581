"""The key pair of whoever keeps backups offline: the secret in a file, the public half as a word.

What this module does not know: backups, prompts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from keys.errors import InvalidValue, SecretUnreadable
from keys.files import create_exclusive, read_private
from keys.sealed import MAX_FILE_BYTES, is_sealed, seal, unseal
from keys.sealing.suites import SealingSecret, Suite

PURPOSE: Final = "backup"


def make_backup_key(path: Path, passphrase: str | None) -> SealingSecret:
    """Make a key and keep it, durably, with mode 0600; never over another file.

    Raises:
        InvalidValue: there is a file of this name.
        HomeUnreadable.
    """
    key = SealingSecret.generate(Suite.X25519)
    if not create_exclusive(path, seal(PURPOSE, key.export_secret(), passphrase)):
        raise InvalidValue(f"{path}", "is there already; a key is never written over another file")
    return key


def needs_passphrase(path: Path) -> bool:
    """Whether a file with a secret is sealed.

    Raises:
        SecretUnreadable: there is no such file.
        InsecurePermissions, HomeUnreadable, HomeDamaged.
    """
    return is_sealed(path, _data(path))


def load_backup_key(path: Path, passphrase: str | None) -> SealingSecret:
    """
    Raises:
        SecretUnreadable: there is no such file, or it holds another kind of key.
        PassphraseNeeded, PassphraseWrong, InsecurePermissions, HomeUnreadable, HomeDamaged.
    """
    return SealingSecret(Suite.X25519, unseal(path, PURPOSE, _data(path), passphrase))


def _data(path: Path) -> bytes:
    data = read_private(path, MAX_FILE_BYTES)
    if data is None:
        raise SecretUnreadable(path, "there is no such file")
    return data
