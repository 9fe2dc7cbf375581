"""A file that refuses writes of holders whose lock went on to others (L2).

Beside `NAME` lie `NAME.fence`, which holds the highest token, and `NAME.fence.lock`, which is
locked while one process compares and writes. Data and token are replaced whole: written aside,
fsynced, renamed, and their folder fsynced. The token goes first, so that a crash between the two
leaves the old data behind the new token and never the other way round.

    NAME.fence    conclave-fence 1 <token, decimal> <CRC-32 of all before it, 8 hex digits> \\n

A holder that stands still within a write keeps others waiting; one that dies does not. The lock is
one machine's: a file system on which `flock` does not reach other machines guards one of them.

Invariants: the stored token never falls; the data was last written under it or a lower one.
What this module does not know: what the data means, who holds which lock.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from consensus.kv.errors import FenceDamaged, FenceUnavailable, StaleToken

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_HEAD: Final = "conclave-fence 1 "


class FencedFile:
    """The file at `path`, for as many processes as like.

    Reading needs no fence: `path` itself is a plain file that is always whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._token_path = path.with_name(path.name + ".fence")
        self._lock_path = path.with_name(path.name + ".fence.lock")

    def write(self, data: bytes, token: int) -> None:
        """Replace the data; on return it is on disk. Waits while another process writes.

        Raises:
            StaleToken: a higher token was seen; nothing changed.
            FenceDamaged: the stored token cannot be read.
            FenceUnavailable: this system has no file locks.
            OSError: the disk; after it either the old or the new data is there, whole.
        """
        assert token > 0, token
        with self._locked():
            self._raise_to(token)
            _replace(self.path, data)

    def check(self, token: int) -> None:
        """Refuse all lower tokens from now on, without a write.

        Raises:
            StaleToken, FenceDamaged, FenceUnavailable, OSError: as `write`.
        """
        assert token > 0, token
        with self._locked():
            self._raise_to(token)

    def highest(self) -> int:
        """The highest token seen, 0 if none was.

        Raises:
            FenceDamaged: the stored token cannot be read.
        """
        try:
            raw = self._token_path.read_bytes()
        except FileNotFoundError:
            return 0
        return self._parse(raw)

    def _raise_to(self, token: int) -> None:
        highest = self.highest()
        if token < highest:
            raise StaleToken(str(self.path), token, highest)
        if token > highest:
            head = f"{_HEAD}{token} ".encode()
            _replace(self._token_path, head + b"%08x\n" % zlib.crc32(head))

    def _parse(self, raw: bytes) -> int:
        head, checksum = raw[:-9], raw[-9:]
        if checksum != b"%08x\n" % zlib.crc32(head):
            raise FenceDamaged(str(self._token_path), "its checksum does not match")
        text = head.decode("ascii", "replace").removeprefix(_HEAD).removesuffix(" ")
        if not head.startswith(_HEAD.encode()) or not (text.isascii() and text.isdigit()):
            raise FenceDamaged(str(self._token_path), "it is of another format")
        return int(text)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if fcntl is None:
            raise FenceUnavailable(str(self.path))
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)  # which unlocks


def _replace(path: Path, data: bytes) -> None:
    """Only under the lock: there is one temporary name."""
    aside = path.with_name(path.name + ".fenced-new")
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    with open(aside, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
