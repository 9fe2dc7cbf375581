"""What this peer offers: entries by name, each with the version at which it last changed.

The versions make every question cheap: whoever has all up to some version gets what changed after
it, in that order, a page at a time. An entry that changes meanwhile moves to a later version, so
no page is ever wrong, only older. What is taken away stays as an entry without bytes.

What this module does not know: the network, what an entry means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from p2p.adverts.messages import Entry, Page, Proof, digest_bytes, signed_body
from p2p.adverts.tables import (
    ENTRY_OVERHEAD_BYTES,
    MAX_ENTRIES,
    MAX_ENTRY_BYTES,
    MAX_TABLE_BYTES,
    digest_of,
)
from p2p.errors import MisuseError, PayloadTooLarge

PAGE_BYTES = 16 * 1024  # of one answer: heartbeats and consensus wait behind it


class OwnTable:
    """The table of one start of this peer.

    Attributes:
        incarnation: which start that is.
        version: how many changes there were.
        sign: makes our signature; without it pages carry no proof, and nobody passes them on.
    """

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self._entries: dict[str, tuple[int, bytes | None]] = {}  # in the order of their versions
        self._hash: bytes | None = None
        self._proof: Proof | None = None
        self.sign: Callable[[bytes], bytes] | None = None
        self.version = 0

    def set(self, changes: Mapping[str, bytes | None]) -> int:
        """Put or take away entries, and return how many really changed.

        Raises:
            MisuseError, PayloadTooLarge: that is more than others would keep; nothing changed.
        """
        real = {n: e for n, e in changes.items() if self._entries.get(n, (0, None))[1] != e}
        self._check(real)
        for name, entry in real.items():
            self._entries.pop(name, None)  # to the end
            self.version += 1
            self._entries[name] = (self.version, entry)
        if real:
            self._hash = self._proof = None
        return len(real)

    def names(self) -> tuple[str, ...]:
        return tuple(self.live())

    def live(self) -> dict[str, bytes]:
        """Return the entries that are there."""
        return {name: entry for name, (_, entry) in self._entries.items() if entry is not None}

    def digest(self) -> bytes:
        """Return what every heartbeat says of this table."""
        return digest_bytes(self.version, self.table_hash())

    def table_hash(self) -> bytes:
        if self._hash is None:
            self._hash = digest_of(self.live())
        return self._hash

    def proof(self) -> Proof | None:
        """Return our signature on the table as it is."""
        if self._proof is None and self.sign is not None:
            body = signed_body(self.incarnation, self.version, self.table_hash())
            self._proof = Proof(self.table_hash(), self.sign(body))
        return self._proof

    def since(self, version: int, limit_bytes: int = PAGE_BYTES) -> Page:
        """Return what changed after a version, as far as it fits; one entry always does."""
        version = min(version, self.version)
        entries: list[Entry] = []
        upto, size = version, 0
        for name, at, entry in self._after(version):
            size += len(name) + len(entry or b"") + ENTRY_OVERHEAD_BYTES
            if entries and size > limit_bytes:
                return Page(self.incarnation, version, upto, self.version, tuple(entries))
            entries.append((name, entry))
            upto = at
        proof = self.proof()
        return Page(self.incarnation, version, self.version, self.version, tuple(entries), proof)

    def _after(self, version: int) -> list[tuple[str, int, bytes | None]]:
        found = []
        for name in reversed(self._entries):
            at, entry = self._entries[name]
            if at <= version:
                break
            found.append((name, at, entry))
        found.reverse()
        return found

    def _check(self, changes: Mapping[str, bytes | None]) -> None:
        largest = max((len(entry or b"") for entry in changes.values()), default=0)
        if largest > MAX_ENTRY_BYTES:
            raise PayloadTooLarge(largest, MAX_ENTRY_BYTES, "what one agent offers")
        if len(self._entries.keys() | changes.keys()) > MAX_ENTRIES:
            raise MisuseError(f"one start of a peer offers at most {MAX_ENTRIES:,} agents")
        size = sum(len(entry or b"") for entry in {**self.live(), **changes}.values())
        if size > MAX_TABLE_BYTES:
            raise PayloadTooLarge(size, MAX_TABLE_BYTES, "what all agents of a peer offer")

    def check_invariants(self) -> None:
        versions = [at for at, _ in self._entries.values()]
        assert versions == sorted(set(versions))
        assert not versions or versions[-1] == self.version
