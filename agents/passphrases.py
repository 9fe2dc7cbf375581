"""Where passphrases come from: a credential of systemd, a file, or somebody at the terminal.

    $CREDENTIALS_DIRECTORY/conclave-passphrase    LoadCredential= of the service
    CONCLAVE_PASSPHRASE_FILE                      names a file that nobody else may read
    a prompt                                      if keys are sealed and there is a terminal

Never an argument and never the value of a variable: both can be read by others. Before a
passphrase is read, core dumps of this process are switched off.

What this module does not know: what is sealed with it, and how.
"""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Final

from agents.errors import BadSettings
from keys import KeysError
from keys.safekeeping import forbid_core_dumps, key_notes, load_passphrase

PASSPHRASE_FILE: Final = "CONCLAVE_PASSPHRASE_FILE"  # noqa: S105 - names a file, is no secret
CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
CREDENTIAL: Final = "conclave-passphrase"


def passphrase(home: Path | None = None) -> str | None:
    """Return the passphrase of the keys on this machine, or None where nobody says one.

    Args:
        home: whose keys are to be opened; somebody is asked if they are sealed. Without it nobody
            is.

    Raises:
        BadSettings: a file cannot be read, or holds none.
        InsecurePermissions: others may read it.
    """
    found = _of_credential() or _of_file()
    if found is None and home is not None and _is_sealed(home) and sys.stdin.isatty():
        found = ask(f"Passphrase of {home}: ")
    return found


def passphrase_in(path: str, said: str) -> str:
    """Return what a file holds that somebody has named.

    Args:
        said: how they named it, for errors.

    Raises:
        BadSettings, InsecurePermissions.
    """
    forbid_core_dumps()
    return _read(Path(path).expanduser(), said)


def new_passphrase(what: str, file: str | None) -> str:
    """Return a passphrase that is to be used from now on: of a file, or typed twice.

    Raises:
        BadSettings: there is no file and no terminal, or the two differ.
        InsecurePermissions.
    """
    if file is not None:
        return passphrase_in(file, file)
    if not sys.stdin.isatty():
        raise BadSettings(
            f"{what} needs a passphrase and nobody can be asked here: name a file that holds it"
        )
    first = ask(f"Passphrase for {what}: ")
    if not first:
        raise BadSettings("the passphrase is empty; nothing was done")
    if first != ask("Once more: "):
        raise BadSettings("the two passphrases differ; nothing was done")
    return first


def ask(prompt: str) -> str:
    """Ask at the terminal, unseen."""
    forbid_core_dumps()
    return getpass.getpass(prompt)


def _is_sealed(home: Path) -> bool:
    try:
        return any(note.is_sealed for note in key_notes(home))
    except KeysError:
        return False  # whoever opens the home says what is wrong with it


def _of_credential() -> str | None:
    directory = os.environ.get(CREDENTIALS)
    path = Path(directory or ".") / CREDENTIAL
    if not directory or not path.exists():
        return None
    forbid_core_dumps()
    # Its directory is guarded with access lists, which show among the mode bits as the group's.
    return _read(path, f"{CREDENTIALS}/{CREDENTIAL}", private=False)


def _of_file() -> str | None:
    path = os.environ.get(PASSPHRASE_FILE)
    return passphrase_in(path, PASSPHRASE_FILE) if path else None


def _read(path: Path, said: str, *, private: bool = True) -> str:
    try:
        return load_passphrase(path, private=private)
    except ValueError as error:
        raise BadSettings(f"{said}: {path} {error}") from None
