"""The key-value store behind the log: entries carry the proposer's reading of ledger time.

    entry    ledger time u64 | command of `consensus.kv`

What this module does not know: who proposes, who waits.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

from consensus.kv import KvStore, Reply
from consensus.raft import Entry, EntryKind

_TIME = struct.Struct(">Q")
_COMMAND = EntryKind.COMMAND


class StoreTooNew(Exception):
    """An entry that a newer program wrote."""

    def __init__(self, index: int) -> None:
        super().__init__(f"entry {index} was written by a newer program: upgrade this node")


def entry_of(time_ms: int, command: bytes) -> bytes:
    """The data of an entry."""
    return _TIME.pack(time_ms) + command


class StoreMachine:
    """Applies entries to a store."""

    def __init__(self, store: KvStore) -> None:
        self.store = store

    def apply(self, entries: Sequence[Entry]) -> list[Reply | None]:
        """
        Raises:
            StoreTooNew: this program must be upgraded.
        """
        replies: list[Reply | None] = []
        apply, unpack, size = self.store.apply, _TIME.unpack_from, _TIME.size
        for index, _, kind, data in entries:
            reply: Reply | None = None
            if kind is _COMMAND and len(data) >= size:
                (time_ms,) = unpack(data)
                reply = apply(index, time_ms, data[size:])
                if reply[1] is not None and reply.needs_upgrade:
                    raise StoreTooNew(index)
            replies.append(reply)
        return replies

    def snapshot(self) -> Iterator[bytes]:
        return self.store.snapshot()

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.store.restore(chunks)
