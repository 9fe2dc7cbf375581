"""Signatures that were found good before, so that a chain that comes again costs no arithmetic.

That a key signed some bytes is true for ever: it depends on no clock, no trust and no revocation,
all of which are asked each time. Only what is good is remembered, by a digest of everything that
the answer depends on; what is bad is computed each time, so that a stranger cannot push good ones
out with bad ones for nothing.

What this module does not know: what was signed, and who is to be believed.

Bound: the last `MAX_PROVEN`, 32 bytes each.
"""

from __future__ import annotations

import hashlib
import threading
from typing import Final

MAX_PROVEN: Final = 4096


class Proven:
    """A set of digests that forgets the oldest. Safe to use from several threads."""

    def __init__(self, limit: int = MAX_PROVEN) -> None:
        self._limit = limit
        self._digests: dict[bytes, None] = {}  # in the order of their coming
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, digest: object) -> bool:
        return digest in self._digests

    def add(self, digest: bytes) -> None:
        with self._lock:
            self._digests[digest] = None
            if len(self._digests) > self._limit:
                del self._digests[next(iter(self._digests))]


def digest_of(*parts: bytes) -> bytes:
    """One digest of these parts, each with its length, so that no two lists of parts share one."""
    digest = hashlib.blake2b(digest_size=32, person=b"conclave proven")
    for part in parts:
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    return digest.digest()
