"""The few things that a snapshot asks of a file system, each one a place where the power may go.

Errors of the system become ours: no space is `StorageFull`, everything else is `StorageBroken`.

What this module does not know: what is in the files.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consensus.errors import StorageBroken, StorageFull

# EFBIG: a limit on the size of files is a full disk to whoever meets it.
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PLAIN_BYTES = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


@contextmanager
def typed_errors(path: Path) -> Iterator[None]:
    """Turn errors of the system into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise StorageFull(str(path)) from error
        raise StorageBroken(str(path), error.strerror or str(error)) from error


class Files:
    """The real file system. Tests put one in its place that stops or fails."""

    def create(self, path: Path) -> int:
        """Open a new file, readable by its owner only."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN_BYTES, 0o600)

    def open(self, path: Path) -> int:
        """Open a file to be read."""
        return os.open(path, os.O_RDONLY | _PLAIN_BYTES)

    def write(self, fd: int, data: bytes) -> None:
        """Write all of it."""
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    def sync(self, fd: int) -> None:
        os.fsync(fd)

    def rename(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def sync_folder(self, path: Path) -> None:
        """Make names durable; where folders cannot be opened, they cannot be lost like this."""
        if os.name == "nt":
            return
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
