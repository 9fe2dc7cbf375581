"""Where every table stands, as its owner has signed it: a picture that two members can compare.

A heading is a start, a version and a hash. The later start counts, then the later version. Should
an owner sign two tables of one version, the one with the lower hash counts everywhere, so that
pictures end alike whatever an owner does.

Pictures are compared by digests: one number for the whole, then one for each of 64 parts.

A pure core. What this module does not know: entries, signatures, who is alive.

Invariants (`check_invariants`): the digest of the whole and of each part are those of what is here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from keys import PeerId, decode_id

BUCKETS = 64
SUMMARY_BYTES = 8


class Heading(NamedTuple):
    """Where a table stands."""

    incarnation: int
    version: int
    table_hash: bytes

    def replaces(self, known: Heading | None) -> bool:
        if known is None:
            return True
        if self[:2] != known[:2]:
            return self[:2] > known[:2]
        return self.table_hash < known.table_hash


class Headings:
    """See the module."""

    def __init__(self) -> None:
        self._headings: dict[PeerId, Heading] = {}
        self._buckets = [0] * BUCKETS
        self._whole = 0

    def __len__(self) -> int:
        return len(self._headings)

    def of(self, owner: PeerId) -> Heading | None:
        return self._headings.get(owner)

    def put(self, owner: PeerId, heading: Heading) -> None:
        self.drop(owner)
        self._headings[owner] = heading
        self._toggle(owner, heading)

    def drop(self, owner: PeerId) -> None:
        heading = self._headings.pop(owner, None)
        if heading is not None:
            self._toggle(owner, heading)

    @property
    def summary(self) -> bytes:
        """Equal for two members: they hold the same."""
        return self._whole.to_bytes(SUMMARY_BYTES, "big")

    def buckets(self) -> tuple[int, ...]:
        return tuple(self._buckets)

    def differing(self, theirs: Iterable[int]) -> list[tuple[PeerId, Heading]]:
        """Return what is here in those parts that are others there."""
        differ = {n for n, (a, b) in enumerate(zip(self._buckets, theirs, strict=True)) if a != b}
        return [
            (owner, heading)
            for owner, heading in self._headings.items()
            if decode_id(owner)[0] % BUCKETS in differ
        ]

    def _toggle(self, owner: PeerId, heading: Heading) -> None:
        raw = decode_id(owner)
        value = _print_of(raw, heading)
        self._whole ^= value
        self._buckets[raw[0] % BUCKETS] ^= value

    def check_invariants(self) -> None:
        buckets = [0] * BUCKETS
        for owner, heading in self._headings.items():
            raw = decode_id(owner)
            buckets[raw[0] % BUCKETS] ^= _print_of(raw, heading)
        assert buckets == self._buckets
        whole = 0
        for value in buckets:
            whole ^= value
        assert whole == self._whole


def _print_of(raw: bytes, heading: Heading) -> int:
    start, version, table_hash = heading
    whole = raw + start.to_bytes(8, "big") + version.to_bytes(8, "big") + table_hash
    return int.from_bytes(hashlib.blake2b(whole, digest_size=SUMMARY_BYTES).digest(), "big")
