"""The certificates of a member as it showed them, kept for those who have not met it.

What is above members is the same for most of them, and held once for all.

What this module does not know: what certificates say, and whether they were believed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, Self

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types


class ShownChain(NamedTuple):
    """A chain in two parts: up to the end of the member's own certificate, and what is above."""

    leaf: bytes = b""
    above: bytes = b""

    @classmethod
    def of(cls, chain: bytes) -> Self:
        """Of a chain that was read: an array of certificates, the member's own first."""
        reader = msgpack.Unpacker()
        reader.feed(chain)
        reader.read_array_header()
        reader.skip()
        end = reader.tell()
        return cls(chain[:end], _held_once(chain[end:]))

    def encode(self) -> bytes:
        """The chain as it was shown."""
        return self.leaf + self.above


@lru_cache(maxsize=32)
def _held_once(above: bytes) -> bytes:
    return above
