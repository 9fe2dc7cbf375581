"""One running node per data directory: an advisory lock that ends with its process.

The lock belongs to the operating system, so nothing is left behind by a kill. The file holds the
process id for the error text alone; whether it is locked is never read from it.

What this module does not know: what the lock guards.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from keys.errors import HomeInUse, HomeUnreadable
from keys.files import PRIVATE_FILE
from keys.rekeying import clear

if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 30  # locked bytes cannot be read there, so lock one beyond the process id

    def _take(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def hold_lock(path: Path, home: Path) -> Iterator[None]:
    """Hold the lock at `path` for the `with` block.

    Raises:
        HomeInUse: another holder, in this process or another.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    except OSError as error:
        raise HomeUnreadable(path, "open the lock", error.strerror or str(error)) from error
    try:
        try:
            _take(descriptor)
        except OSError as error:
            raise HomeInUse(home, _holder(descriptor)) from error
        with suppress(OSError):  # a full disk: the lock holds all the same, without the number
            os.ftruncate(descriptor, 0)
            os.write(descriptor, b"%d\n" % os.getpid())
        yield
    finally:
        os.close(descriptor)


@contextmanager
def locked_home(home: Path) -> Iterator[None]:
    """Hold a home's lock for the `with` block; what a change cut off has left there is removed.

    Raises:
        HomeInUse
    """
    with hold_lock(home / "lock", home):
        clear(home)
        yield


def _holder(descriptor: int) -> int | None:
    try:
        text = os.pread(descriptor, 20, 0) if hasattr(os, "pread") else os.read(descriptor, 20)
    except OSError:
        return None
    return int(text) if text.strip().isdigit() else None
