"""A snapshot as a file, the same on every node that holds it.

    header   "CNCVSNAP" | format u16 | cluster u16 + UTF-8 | meta as in `codec`
    body     whatever the state machine gave
    trailer  body size u64 | BLAKE2b-256 of everything before the digest

It names no node: a follower keeps what its leader made. Nothing is held in memory but one piece.

What this module does not know: where files lie, what a body means.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator

from consensus.codec import decode_meta, encode_meta
from consensus.errors import MessageRefused
from consensus.raft import SnapshotMeta

MAGIC = b"CNCVSNAP"
FORMAT = 1
PIECE_BYTES = 1024 * 1024
DIGEST_BYTES = 32

_HEAD = struct.Struct(">8sHH")
_SIZE = struct.Struct(">Q")
TRAILER_BYTES = _SIZE.size + DIGEST_BYTES
MAX_HEADER_BYTES = 64 * 1024


class Damaged(Exception):
    """These bytes are no whole snapshot. Never leaves this package."""


class Newer(Damaged):
    """They are whole, and of a format that is not known here."""

    def __init__(self, found: int) -> None:
        self.found = found
        super().__init__(f"its format is {found}")


class Foreign(Damaged):
    """They are whole, and of another cluster."""

    def __init__(self, found: str) -> None:
        self.found = found
        super().__init__(f"it is of cluster {found}")


def header(cluster_id: str, meta: SnapshotMeta) -> bytes:
    """What stands before the body."""
    cluster = cluster_id.encode()
    return _HEAD.pack(MAGIC, FORMAT, len(cluster)) + cluster + encode_meta(meta)


def file_pieces(cluster_id: str, meta: SnapshotMeta, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The whole file around a body, in pieces that are worth a write each."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    held = [header(cluster_id, meta)]
    held_bytes, total = len(held[0]), -len(held[0])
    for chunk in chunks:
        held.append(chunk)
        held_bytes += len(chunk)
        if held_bytes >= PIECE_BYTES:
            piece = b"".join(held)
            held, held_bytes, total = [], 0, total + held_bytes
            digest.update(piece)
            yield piece
    piece = b"".join([*held, _SIZE.pack(total + held_bytes)])
    digest.update(piece)
    yield piece + digest.digest()


class Checker:
    """Reads a file from its beginning and says at the end what it was.

    `feed` gives back the part of the piece that certainly belongs to the body.
    """

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self._start = b""
        self._body_at: int | None = None
        self._tail = b""
        self._seen = 0
        self._problem: Damaged | None = None
        self.meta: SnapshotMeta | None = None
        self.cluster: str | None = None

    def feed(self, piece: bytes) -> bytes:
        """Take the next piece."""
        self._seen += len(piece)
        whole = self._tail + piece
        known, self._tail = whole[:-TRAILER_BYTES], whole[-TRAILER_BYTES:]
        self._digest.update(known)
        if self._body_at is not None:
            return known
        if self._problem is not None:
            return b""
        self._start += known
        return self._read_header()

    def finish(self) -> tuple[SnapshotMeta, str, bytes]:
        """The meta, the cluster and the digest of a file that was fed in whole.

        Raises:
            Damaged: it is none; `Newer`, if only this program is too old for it.
        """
        size, digest = self._tail[: _SIZE.size], self._tail[_SIZE.size :]
        self._digest.update(size)
        if not self._start.startswith(MAGIC[: len(self._start)]) or self._seen < TRAILER_BYTES:
            raise Damaged("it does not begin like a snapshot")
        if self._digest.digest() != digest:
            raise Damaged("its checksum does not fit")
        if self._problem is not None:
            raise self._problem
        if self._body_at is None or self.meta is None or self.cluster is None:
            raise Damaged("its header is incomplete")
        if _SIZE.unpack(size)[0] != self._seen - self._body_at - TRAILER_BYTES:
            raise Damaged("it has another size than it says")
        return self.meta, self.cluster, digest

    def _read_header(self) -> bytes:
        """What of the beginning is body already; nothing as long as the header is incomplete."""
        start = self._start
        if len(start) < _HEAD.size:
            return b""
        magic, found, cluster_bytes = _HEAD.unpack_from(start)
        if magic != MAGIC or found != FORMAT:
            self._problem = Newer(found) if found > FORMAT else Damaged("its format is unknown")
            return b""
        at = _HEAD.size + cluster_bytes
        try:
            cluster = start[_HEAD.size : at].decode()
            self.meta, end = decode_meta(start, at)
        except (MessageRefused, UnicodeDecodeError) as error:
            if len(start) > MAX_HEADER_BYTES:
                self._problem = Damaged(f"its header is malformed: {error}")
            return b""
        self.cluster = cluster
        self._body_at = end
        self._start = start[:end]
        return start[end:]
