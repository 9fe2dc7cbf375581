"""The state machine of a simulated node: the key-value store, and a hash over every entry.

Commands that begin with `STORE` are for the store, behind the proposer's reading of ledger time;
all others count only by their hash. The hash is the one of `image`, so state and log compare.

What this module does not know: who proposes, what an answer means to whom.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

from consensus.kv.model import Limits
from consensus.kv.store import KvStore
from consensus.raft import Entry, EntryKind
from consensus.sim.image import EMPTY_HASH, chained

STORE = b"K"
_TIME = struct.Struct(">Q")
LIMITS = Limits(max_keys=50, max_total_bytes=5_000, max_sessions=4, max_locks=20)


def store_command(time_ms: int, command: bytes) -> bytes:
    """A command for the store, as an entry carries it."""
    return STORE + _TIME.pack(time_ms) + command


class SimMachine:
    """See `StateMachine`."""

    def __init__(self) -> None:
        self.store = KvStore(LIMITS)
        self.hash = EMPTY_HASH

    def apply(self, entries: Sequence[Entry]) -> Sequence[object]:
        results: list[object] = []
        for entry in entries:
            self.hash = chained(self.hash, entry)
            result: object = None
            if entry.kind is EntryKind.COMMAND and entry.data.startswith(STORE):
                (time_ms,) = _TIME.unpack_from(entry.data, 1)
                result = self.store.apply(entry.index, time_ms, entry.data[1 + _TIME.size :])
            results.append(result)
        return results

    def snapshot(self) -> Iterator[bytes]:
        yield self.hash
        yield from self.store.snapshot()

    def restore(self, chunks: Iterable[bytes]) -> None:
        rest = iter(chunks)
        self.hash = next(rest)
        store = KvStore(LIMITS)
        store.restore(rest)
        self.store = store
