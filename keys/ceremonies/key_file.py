"""A key in a file of its own, outside of any home: those of the root's keepers.

What this module does not know: what the key is for, passphrase prompts.
"""

from __future__ import annotations

from pathlib import Path

from keys.errors import InvalidValue, SecretUnreadable
from keys.files import create_exclusive, read_private
from keys.identity import Identity
from keys.sealed import MAX_FILE_BYTES, seal, unseal


def write_key_file(path: Path, purpose: str, key: Identity, passphrase: str | None) -> None:
    """Keep a new key, durably, with mode 0600; never over another file.

    Raises:
        InvalidValue: there is a file of this name.
        HomeUnreadable.
    """
    if not create_exclusive(path, seal(purpose, key.export_secret(), passphrase)):
        raise InvalidValue(f"{path}", "is there already; a key is never written over another file")


def read_key_file(path: Path, purpose: str, passphrase: str | None) -> Identity:
    """
    Raises:
        SecretUnreadable: there is no such file, or it holds another kind of key.
        PassphraseNeeded, PassphraseWrong, InsecurePermissions, HomeUnreadable, HomeDamaged.
    """
    data = read_private(path, MAX_FILE_BYTES)
    if data is None:
        raise SecretUnreadable(path, "there is no such file")
    return Identity.from_secret(unseal(path, purpose, data, passphrase))
