"""Snapshots as files beside the log: `snapshot-<index>-<term>.snap`, whole or not at all (R20).

    write    temporary file in the same folder -> fsync -> rename -> fsync of the folder
    receive  the same, and what has come is verified before the rename
    start    temporary files are removed, every snapshot is read and verified

A damaged file is not deleted and does not count; `damaged` names it. Whether the one before is good
enough depends on where the log begins, which the storage knows.

What this module does not know: the log, what a body means, who wants a snapshot.

Invariants: a name without `.tmp` is only ever given to a whole, durable file; `latest` never goes
back while the process runs.
"""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from threading import Lock

from consensus.errors import (
    MessageFault,
    MessageRefused,
    NewerFormat,
    SnapshotCorrupted,
    StorageBroken,
    WrongCluster,
)
from consensus.raft import SnapshotMeta
from consensus.storage.base import SnapshotFile
from consensus.storage.files import Files, typed_errors
from consensus.storage.snapshot_format import (
    DIGEST_BYTES,
    FORMAT,
    PIECE_BYTES,
    Checker,
    Damaged,
    Foreign,
    Newer,
    file_pieces,
)

_NAME = re.compile(r"snapshot-(\d{1,20})-(\d{1,20})\.snap")


class FileSnapshots:
    """The snapshots of one node. Nothing is touched before the first call.

    Raises, in every method:
        StorageBroken: the disk fails us.
    """

    def __init__(self, folder: Path, cluster_id: str, files: Files | None = None) -> None:
        self._folder = folder
        self._cluster_id = cluster_id
        self._files = files or Files()
        self._serial = count()
        self._known: dict[tuple[int, int], SnapshotFile] | None = None
        self._lock = Lock()  # one thread may make a snapshot while another one receives one
        self.damaged: tuple[tuple[Path, str], ...] = ()

    def latest(self) -> SnapshotMeta | None:
        """See `SnapshotStore`. The first call reads everything.

        Raises:
            WrongCluster, NewerFormat: a whole file is not ours, or not yet.
        """
        known = self._scan()
        return known[max(known)].meta if known else None

    def write(self, meta: SnapshotMeta, chunks: Iterable[bytes]) -> SnapshotFile:
        """See `SnapshotStore`."""
        new = _NewFile(self, meta)
        try:
            piece = b""
            for piece in file_pieces(self._cluster_id, meta, chunks):
                new.write(piece)
            return new.finish(piece[-DIGEST_BYTES:])
        except BaseException:
            new.abort()
            raise

    def open(self, meta: SnapshotMeta) -> FileReader:
        """See `SnapshotStore`."""
        path = self._path(meta)
        known = self._scan().get((meta.index, meta.term))
        if known is None:
            raise StorageBroken(str(path), "there is no such snapshot")
        with typed_errors(path):
            fd = self._files.open(path)
        return FileReader(path, fd, known)

    def receive(self, meta: SnapshotMeta, size: int) -> FileWriter:
        """See `SnapshotStore`."""
        return FileWriter(_NewFile(self, meta), self._cluster_id, meta, size)

    def forget_older(self, keep: int = 2) -> None:
        """See `SnapshotStore`. Damaged files go when they are older than what is kept."""
        assert keep >= 1, "the log depends on the latest"
        kept = sorted(self._scan(), reverse=True)[:keep]
        if not kept:
            return
        with typed_errors(self._folder), self._lock:
            self._known = {at: file for at, file in self._scan().items() if at >= kept[-1]}
            for path, at in self._listed():
                if at < kept[-1]:
                    self._files.remove(path)

    # -- what lies there -----------------------------------------------------------------------

    def _scan(self) -> dict[tuple[int, int], SnapshotFile]:
        if self._known is None:
            found: dict[tuple[int, int], SnapshotFile] = {}
            damaged: list[tuple[Path, str]] = []
            with typed_errors(self._folder):
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                for leftover in self._folder.glob("snapshot-*.tmp"):
                    self._files.remove(leftover)
                for path, at in self._listed():
                    try:
                        found[at] = self._verified(path, at)
                    except Newer as error:
                        raise NewerFormat(str(path), error.found, FORMAT) from error
                    except Foreign as error:
                        raise WrongCluster(str(path), error.found, self._cluster_id) from error
                    except Damaged as error:
                        damaged.append((path, str(error)))
            self.damaged = tuple(damaged)
            self._known = found
        return self._known

    def _listed(self) -> list[tuple[Path, tuple[int, int]]]:
        """Files with the name of a snapshot, and what they are by that name."""
        matches = ((path, _NAME.fullmatch(path.name)) for path in self._folder.iterdir())
        return sorted((path, (int(m[1]), int(m[2]))) for path, m in matches if m is not None)

    def _verified(self, path: Path, at: tuple[int, int]) -> SnapshotFile:
        checker, size = Checker(), 0
        with path.open("rb", buffering=0) as file:
            while piece := file.read(PIECE_BYTES):
                checker.feed(piece)
                size += len(piece)
        meta, cluster, digest = checker.finish()
        if cluster != self._cluster_id:
            raise Foreign(cluster)
        if (meta.index, meta.term) != at:
            raise Damaged("its name is that of another one")
        return SnapshotFile(meta, size, digest)

    def _path(self, meta: SnapshotMeta) -> Path:
        return self._folder / f"snapshot-{meta.index}-{meta.term}.snap"

    def _take_in(self, file: SnapshotFile) -> None:
        with self._lock:
            self._known = {**self._scan(), (file.meta.index, file.meta.term): file}

    def _temporary(self, meta: SnapshotMeta) -> Path:
        return self._path(meta).with_suffix(f".{next(self._serial)}.tmp")


class _NewFile:
    """A temporary file on its way to a name."""

    def __init__(self, store: FileSnapshots, meta: SnapshotMeta) -> None:
        store._scan()  # removes leftovers: never those of a file that was begun before
        self._store = store
        self._files = store._files
        self._meta = meta
        self.path = store._path(meta)
        self._temporary = store._temporary(meta)
        self._size = 0
        with typed_errors(self._temporary):
            self._fd: int | None = self._files.create(self._temporary)

    def write(self, piece: bytes) -> None:
        assert self._fd is not None, "written to after its end"
        with typed_errors(self._temporary):
            self._files.write(self._fd, piece)
        self._size += len(piece)

    def finish(self, digest: bytes) -> SnapshotFile:
        assert self._fd is not None, "finished twice"
        files = self._files
        with typed_errors(self.path):
            files.sync(self._fd)
            self._close()
            files.rename(self._temporary, self.path)
            files.sync_folder(self.path.parent)
        file = SnapshotFile(self._meta, self._size, digest)
        self._store._take_in(file)
        return file

    def abort(self) -> None:
        """Give the space back. What fails here has no consequence: the next start tidies up."""
        self._close()
        try:
            self._files.remove(self._temporary)
        except OSError:
            return

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


class FileWriter:
    """A snapshot that comes from another node. See `SnapshotWriter`."""

    def __init__(self, new: _NewFile, cluster_id: str, meta: SnapshotMeta, size: int) -> None:
        self._new = new
        self._cluster_id = cluster_id
        self._meta = meta
        self._size = size
        self._at = 0
        self._checker = Checker()

    def append(self, offset: int, data: bytes) -> None:
        """See `SnapshotWriter`."""
        assert offset == self._at, "a part out of order"
        try:
            self._new.write(data)
        except BaseException:
            self._new.abort()
            raise
        self._checker.feed(data)
        self._at += len(data)

    def commit(self) -> SnapshotFile:
        """See `SnapshotWriter`."""
        try:
            digest = verify(self._checker, self._cluster_id, self._meta, self._at == self._size)
            return self._new.finish(digest)
        except BaseException:
            self._new.abort()
            raise

    def abort(self) -> None:
        """See `SnapshotWriter`."""
        self._new.abort()


def verify(checker: Checker, cluster_id: str, meta: SnapshotMeta, is_complete: bool) -> bytes:
    """The digest of a file that has come from another node.

    Raises:
        MessageRefused: it is not what was announced.
    """
    if not is_complete:
        raise MessageRefused(MessageFault.TRUNCATED)
    try:
        found, cluster, digest = checker.finish()
    except Newer as error:
        raise MessageRefused(MessageFault.VERSION) from error
    except Damaged as error:
        raise MessageRefused(MessageFault.CHECKSUM) from error
    if cluster != cluster_id:
        raise MessageRefused(MessageFault.CLUSTER)
    if found != meta:
        raise MessageRefused(MessageFault.KIND)
    return digest


class FileReader:
    """An open snapshot. See `SnapshotReader`. It closes itself when nobody holds it any more."""

    def __init__(self, path: Path, fd: int, file: SnapshotFile) -> None:
        self._path = path
        self._fd = fd
        self._file = file
        self._lock = Lock()  # the place in the file is shared
        self._finalizer = weakref.finalize(self, os.close, fd)

    @property
    def size(self) -> int:
        return self._file.size

    @property
    def digest(self) -> bytes:
        return self._file.digest

    def read(self, offset: int, size: int) -> bytes:
        """See `SnapshotReader`."""
        assert self._finalizer.alive, "read after its end"
        with typed_errors(self._path), self._lock:
            os.lseek(self._fd, offset, os.SEEK_SET)
            return os.read(self._fd, size)

    def chunks(self) -> Iterator[bytes]:
        """See `SnapshotReader`."""
        checker, at = Checker(), 0
        while piece := self.read(at, PIECE_BYTES):
            at += len(piece)
            if body := checker.feed(piece):
                yield body
        try:
            checker.finish()
        except Damaged as error:
            raise SnapshotCorrupted(str(self._path), str(error)) from error

    def close(self) -> None:
        """See `SnapshotReader`."""
        self._finalizer()
