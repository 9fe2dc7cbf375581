"""Another passphrase for all key files of a home, at one moment.

    1  each key is written sealed anew, beside the old file, under a name with a random tag
    2  `rekeying` is written with that tag: from here on the new passphrase is the one
    3  the new files take the names of the old ones, then `rekeying` goes

Killed before 2, the home is what it was, and what lies beside is removed when somebody next locks
it. Killed after 2, whoever opens the home next goes on with 3, for which nobody needs a
passphrase. So a home always opens with one passphrase, and every file with one of the two.

What this module does not know: where passphrases come from, who may ask for this.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Final

from keys.errors import HomeDamaged, HomeUnreadable
from keys.files import (
    names_in,
    read_file,
    read_private,
    remove_file,
    rename_file,
    write_atomic,
)
from keys.sealed import MAX_FILE_BYTES, seal, unseal

# The files that hold secrets of their own, and what each says that it is.
KEY_FILES: Final = {
    "identity.key": "identity",
    "issuer.key": "issuer",
    "issuer.pending": "issuer",
    "root.key": "root",
}
MARK: Final = "rekeying"
BESIDE: Final = ".new-"

_TAG: Final = re.compile(rb"[0-9a-f]{16}")


def change_passphrase(home: Path, old: str | None, new: str | None) -> tuple[str, ...]:
    """Seal every key file with another passphrase, or store them open for None.

    Call it with the home's lock held. Returns the names of the files.

    Raises:
        PassphraseNeeded, PassphraseWrong, KeystoreError: nothing has changed.
        InvalidValue: the new one is empty.
    """
    finish(home)
    clear(home)
    tag, found = secrets.token_hex(8), []
    for name, purpose in KEY_FILES.items():
        data = read_private(home / name, MAX_FILE_BYTES)
        if data is None:
            continue
        secret = unseal(home / name, purpose, data, old)
        write_atomic(home / f"{name}{BESIDE}{tag}", seal(purpose, secret, new))
        found.append(name)
    write_atomic(home / MARK, tag.encode())
    finish(home)
    return tuple(found)


def finish(home: Path) -> None:
    """Go on with a change that was decided and then cut off. Harmless whenever it is called.

    Raises:
        HomeDamaged, HomeUnreadable.
    """
    mark = read_file(home / MARK, 64)
    if mark is None:
        return
    if not _TAG.fullmatch(mark):
        raise HomeDamaged(home / MARK, "it does not say which files are the new ones")
    for name in KEY_FILES:
        beside = home / f"{name}{BESIDE}{mark.decode()}"
        if not beside.exists():
            continue
        try:
            rename_file(beside, home / name)
        except HomeUnreadable:
            if beside.exists():  # else another process, which goes on with it too, was quicker
                raise
    remove_file(home / MARK)


def clear(home: Path) -> None:
    """Remove what a change left that was never decided. Call it with the home's lock held."""
    if (home / MARK).exists():
        return
    for name in names_in(home):
        of, beside, _ = name.removeprefix(".").partition(BESIDE)  # a dot begins temporary files
        if beside and of in KEY_FILES:
            remove_file(home / name)
