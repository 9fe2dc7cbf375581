"""The revocation lists of a data directory: what we ever put in force, so that no restart forgets.

One file for each signer, replaced as a whole. Whoever puts a list in force writes it here first:
after a crash between the two it is in force again from the start on, and nobody was told of a list
that we could forget.

What this module does not know: who may sign (`keys.revoking` says), who brought a list.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from keys.errors import HomeDamaged
from keys.files import make_private_directory, names_in, read_file, remove_file, write_atomic
from keys.identity import encode_id
from keys.revocation_refusals import RevocationRefused, RevocationSignerRevoked
from keys.revocations import ListInForce, Revocations
from keys.revoking import MAX_PACKED_BYTES, pack_list, read_list
from keys.trust import Trust

DIRECTORY: Final = "revocations"
_NAME = re.compile(r"[a-z2-7]{52}\.list")
_ANY_TIME_MS: Final = 2**53 - 1  # what was taken once is not from the future


def read_list_file(path: Path) -> bytes | None:
    """A packed list that somebody keeps where they like; None if there is no such file.

    Raises:
        HomeUnreadable, HomeDamaged (longer than any list).
    """
    return read_file(path, MAX_PACKED_BYTES)


def write_list_file(path: Path, listed: ListInForce) -> None:
    """Replace it, durably.

    Raises:
        HomeUnreadable
    """
    write_atomic(path, pack_list(listed))


class RevocationBook:
    """The directory `revocations` of a home."""

    def __init__(self, home: Path) -> None:
        self._directory = home / DIRECTORY

    def load(self, trust: Trust) -> Revocations:
        """
        Raises:
            HomeDamaged: a file is not a list of this network. It is never skipped: what it revoked
                would be believed again.
        """
        found = Revocations()
        for name in sorted(names_in(self._directory)):
            if not _NAME.fullmatch(name):
                continue
            path = self._directory / name
            data = read_file(path, MAX_PACKED_BYTES)
            if data is None:
                continue  # removed by another process just now
            try:
                found = found.taking(read_list(data, trust, _ANY_TIME_MS))
            except RevocationSignerRevoked:
                remove_file(path)  # we stopped between keeping the root's list and removing this
            except RevocationRefused as error:
                raise HomeDamaged(path, str(error)) from error
        return found

    def keep(self, before: Revocations, after: Revocations) -> None:
        """Write down what changed, durably; call it before `after` is in force anywhere.

        Raises:
            HomeUnreadable: it could not be written, so it must not be put in force either.
        """
        make_private_directory(self._directory)
        kept = {each.key_id for each in after}
        for each in after:
            known = before.of(each.key_id)
            if known is None or known.place != each.place:
                write_atomic(self._path(each), pack_list(each))
        for each in before:
            if each.key_id not in kept:
                remove_file(self._path(each))

    def _path(self, listed: ListInForce) -> Path:
        return self._directory / f"{encode_id(listed.key_id)}.list"
