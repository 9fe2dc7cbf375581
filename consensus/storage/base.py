"""What the runner needs of a disk, and the checksums that every storage shares.

Each entry carries a CRC-32 chained to the one before, so that a changed, missing or swapped record
shows. What this module does not know: files.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Protocol

from consensus.raft import Entry, HardState, Recovered, StoreBatch

_ENTRY = struct.Struct(">IQQB")
_HARD = struct.Struct(">Q")


class Storage(Protocol):
    """A log on something durable. Calls block; `write` runs off the loop, one at a time."""

    def recover(self) -> Recovered:
        """Read everything back, at start.

        Raises:
            StorageError: what lies there cannot be trusted.
        """

    def write(self, batches: Sequence[StoreBatch]) -> None:
        """Make these batches durable, in order and as one.

        Raises:
            StorageFull: nothing was written; the same call may be tried again.
            StorageBroken: the node must stop.
        """

    def close(self) -> None: ...


def chained(before: int, entry: Entry) -> int:
    """The checksum of an entry, given that of the one before."""
    head = _ENTRY.pack(before, entry.index, entry.term, entry.kind)
    return zlib.crc32(entry.data, zlib.crc32(head))


def hard_checksum(hard: HardState) -> int:
    """The checksum of the one record of term and vote (R1)."""
    return zlib.crc32((hard.vote or "").encode(), zlib.crc32(_HARD.pack(hard.term)))
