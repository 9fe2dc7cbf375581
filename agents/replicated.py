"""What the log drives on a voter: the task ledger, and other machines beside it.

An entry's first byte says whose it is. The ledger's commands are msgpack arrays and are entries as
they are; every other machine has a tag below 0x80, behind which come the ledger time of whoever
proposed and the machine's own command. One replicated clock serves all: the ledger's.

A snapshot is a run of chunks, each behind the tag of its machine (0 for the ledger).

What this module does not know: what any command means.

Invariants: every entry goes to exactly one machine; machines are in the order of their tags.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Protocol

from agents.ledger import Ledger, LedgerSnapshotInvalid, Outcome
from consensus import Entry, EntryKind, SnapshotInvalid

_HEAD = struct.Struct(">BQ")
LEDGER_TAG = 0
KV_TAG = 1
DECISIONS_TAG = 2
FIRST_LEDGER_BYTE = 0x80  # a msgpack array begins at or above it


class UnknownMachine(Exception):
    """An entry for a machine that this program does not have."""

    def __init__(self, index: int, tag: int) -> None:
        self.index = index
        super().__init__(
            f"entry {index} of the log is for machine {tag}, which this program does not know:"
            " upgrade this node"
        )


class Machine(Protocol):
    """One machine beside the ledger: total, deterministic, with snapshots."""

    def apply(self, index: int, time_ms: int, command: bytes) -> object: ...

    def snapshot(self) -> Iterator[bytes]: ...

    def restore(self, chunks: Iterable[bytes]) -> None: ...


def command_for(tag: int, time_ms: int, command: bytes) -> bytes:
    """An entry's data for one of the machines beside the ledger."""
    assert LEDGER_TAG < tag < FIRST_LEDGER_BYTE
    return _HEAD.pack(tag, time_ms) + command


class Replicated:
    """All machines of one replica.

    Args:
        machines: by tag.
        on_applied: hears of every applied entry, in order; the outcome is the ledger's, or None.
    """

    def __init__(
        self,
        ledger: Ledger,
        machines: Mapping[int, Machine],
        on_applied: Callable[[Entry, Outcome | None], None],
    ) -> None:
        self._ledger = ledger
        self._machines = dict(sorted(machines.items()))
        self._on_applied = on_applied
        self.on_other: Callable[[int, int, object], None] = lambda tag, index, reply: None

    def apply(self, entries: Sequence[Entry]) -> list[object]:
        """
        Raises:
            UnknownMachine: this program is older than its leader's.
        """
        results: list[object] = []
        for entry in entries:
            outcome: Outcome | None = None
            result: object = None
            data = entry.data
            if entry.kind is EntryKind.COMMAND:
                if data and data[0] < FIRST_LEDGER_BYTE:
                    result = self._apply_other(entry)
                else:
                    result = outcome = self._ledger.apply(entry.index, data)
            results.append(result)
            self._on_applied(entry, outcome)
        return results

    def _apply_other(self, entry: Entry) -> object:
        tag = entry.data[0]
        machine = self._machines.get(tag)
        if machine is None or len(entry.data) < _HEAD.size:
            raise UnknownMachine(entry.index, tag)
        _, time_ms = _HEAD.unpack_from(entry.data)
        time_ms = self._ledger.advance(time_ms)
        reply = machine.apply(entry.index, time_ms, entry.data[_HEAD.size :])
        self.on_other(tag, entry.index, reply)
        return reply

    # -- snapshots -----------------------------------------------------------------------------

    def snapshot(self) -> Iterator[bytes]:
        for chunk in self._ledger.snapshot():
            yield bytes((LEDGER_TAG,)) + chunk
        for tag, machine in self._machines.items():
            for chunk in machine.snapshot():
                yield bytes((tag,)) + chunk

    def restore(self, chunks: Iterable[bytes]) -> None:
        """
        Raises:
            SnapshotInvalid: it lacks a machine, or has one that this program does not know.
        """
        wanted = [LEDGER_TAG, *self._machines]
        for tag, group in groupby(chunks, key=_tag_of):
            if not wanted or wanted.pop(0) != tag:
                raise SnapshotInvalid(f"it holds machine {tag}, which is not expected there")
            parts = (chunk[1:] for chunk in group)
            if tag == LEDGER_TAG:
                try:
                    self._ledger.restore(parts)
                except LedgerSnapshotInvalid as error:
                    raise SnapshotInvalid(str(error)) from error
            else:
                self._machines[tag].restore(parts)
        if wanted:
            raise SnapshotInvalid(f"it lacks machine {wanted[0]}")


def _tag_of(chunk: bytes) -> int:
    if not chunk:
        raise SnapshotInvalid("an empty chunk")
    return chunk[0]
