"""Files of the data directory: written whole or not at all, private, and read with a limit.

A write is: temporary file 0600 beside the target, fsync, rename over it, fsync of the directory.
An exclusive write links the finished temporary file to its name, which fails when the name is
taken, so that a file exists only with its whole contents and only once.

What this module does not know: what is in the files. Every `OSError` becomes a `HomeUnreadable`
that names the file and what was tried.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from keys.errors import HomeDamaged, HomeUnreadable, InsecurePermissions

PRIVATE_FILE: Final = 0o600
PRIVATE_DIRECTORY: Final = 0o700
TEMPORARY_SUFFIX: Final = ".tmp"

_POSIX: Final = os.name == "posix"  # elsewhere mode bits say nothing, and directories do not sync


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path`; when this returns the new contents survive a power cut."""
    with _telling(path, "write"):
        temporary = _write_temporary(path, data)
        try:
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


def create_exclusive(path: Path, data: bytes) -> bool:
    """Create `path` with these contents, durably; False if it was there already, unchanged."""
    with _telling(path, "create"):
        temporary = _write_temporary(path, data)
        try:
            if _POSIX:
                os.link(temporary, path)
            else:
                os.rename(temporary, path)  # refuses an existing target there
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
            sync_directory(path.parent)
        return True


def read_file(path: Path, limit_bytes: int) -> bytes | None:
    """The contents, or None if there is no such file.

    Raises:
        HomeUnreadable, HomeDamaged (longer than the limit).
    """
    return _read(path, limit_bytes, private=False)


def read_private(path: Path, limit_bytes: int) -> bytes | None:
    """As `read_file`, for a secret.

    Raises:
        InsecurePermissions: anyone but the owner may read or write it.
    """
    return _read(path, limit_bytes, private=True)


def make_private_directory(path: Path) -> None:
    """Make it with mode 0700, or tighten one that is there.

    Raises:
        HomeUnreadable, InsecurePermissions (it is not ours to tighten).
    """
    with _telling(path, "make the directory"):
        path.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        if _POSIX and stat.S_IMODE(path.stat().st_mode) & 0o077:
            try:
                path.chmod(PRIVATE_DIRECTORY)
            except PermissionError:
                check_private_directory(path)
        sync_directory(path.parent)


def check_private_directory(path: Path) -> None:
    """
    Raises:
        InsecurePermissions, HomeUnreadable.
    """
    with _telling(path, "look at"):
        mode = stat.S_IMODE(path.stat().st_mode)
    if _POSIX and mode & 0o077:
        raise InsecurePermissions(path, mode, PRIVATE_DIRECTORY)


def names_in(path: Path) -> frozenset[str]:
    """What a directory holds; nothing if there is no such directory."""
    with _telling(path, "list"):
        try:
            return frozenset(os.listdir(path))
        except FileNotFoundError:
            return frozenset()


def remove_file(path: Path) -> None:
    with _telling(path, "remove"):
        path.unlink(missing_ok=True)


def rename_file(path: Path, target: Path) -> None:
    """Give a file another name in its directory, durably."""
    with _telling(path, "rename"):
        os.replace(path, target)
        sync_directory(target.parent)


def sync_directory(path: Path) -> None:
    """Make names in it durable. May raise OSError."""
    if not _POSIX:
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_temporary(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _read(path: Path, limit_bytes: int, *, private: bool) -> bytes | None:
    with _telling(path, "read"):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        with file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if private and _POSIX and mode & 0o077:
                raise InsecurePermissions(path, mode, PRIVATE_FILE)
            data = file.read(min(limit_bytes, os.fstat(file.fileno()).st_size) + 1)
    if len(data) > limit_bytes:
        raise HomeDamaged(path, f"it is longer than {limit_bytes:,} bytes")
    return data


@contextmanager
def _telling(path: Path, tried: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HomeUnreadable(path, tried, error.strerror or str(error)) from error
