"""A table that somebody passes on, as its pages come; nothing of it counts before it is whole.

What this module does not know: whether it is true; `Tables.commit` compares it with the proof.

Invariants: the pages follow each other without a hole, and are of one start of the owner; what
waits here is bounded.
"""

from __future__ import annotations

from p2p.adverts.messages import Entry, Page, Proof

MAX_PAGES = 256
MAX_STAGED_BYTES = 1024 * 1024


class Staged:
    """
    Args:
        page: the first one.

    Attributes:
        proof: of the whole, once it is.
    """

    def __init__(self, page: Page) -> None:
        self.incarnation = page.incarnation
        self.since = page.since
        self.parts: list[tuple[int, tuple[Entry, ...]]] = []
        self.upto = page.since
        self.proof: Proof | None = None
        self._size = 0
        self.is_good = self.add(page)

    def add(self, page: Page) -> bool:
        """Take the next page; False where it is not the next, or one too many."""
        self._size += sum(len(name) + len(entry or b"") for name, entry in page.entries)
        if (page.incarnation, page.since) != (self.incarnation, self.upto):
            return False
        if len(self.parts) >= MAX_PAGES or self._size > MAX_STAGED_BYTES * 2:
            return False
        self.parts.append((page.upto, page.entries))
        self.upto, self.proof = page.upto, page.proof
        return True
