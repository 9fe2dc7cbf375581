"""The restricted messages of one publisher on one topic that are for us: a chain of their own.

They come alone, on another way than all others, and use up numbers of the topic that we see and
cannot tell from those for somebody else. So each names the one before it that is for us, and a
publisher that has fallen silent tells us the last one.

A pure core. Does not know: what else is published, how something is repaired.
"""

from __future__ import annotations

Link = tuple[int, int, int, bytes]  # epoch, number, number of the one before or 0, message


class Chain:
    """
    Attributes:
        epoch: of the publisher; 0 before anything is known.
        last: the number of the one that was delivered last, or given up.
        head: the last one that there is, as far as is known.
        lost: how many at least are lost before the next that is delivered.
        asked: what is wanted from the publisher: the first and the last number.
        held: those that wait for it.
    """

    __slots__ = ("asked", "epoch", "head", "held", "last", "lost")

    def __init__(self) -> None:
        self.epoch = 0
        self.last = 0
        self.head = 0
        self.lost = 0
        self.asked: tuple[int, int] | None = None
        self.held: list[Link] = []

    @property
    def is_behind(self) -> bool:
        return self.last < self.head

    def begin(self, epoch: int, last: int) -> None:
        """Whatever came before, in this epoch up to this number, is not missing."""
        if epoch > self.epoch:
            self.epoch, self.last, self.head, self.asked = epoch, last, 0, None

    def advance(self, epoch: int, last: int) -> None:
        """Everything up to this number was delivered."""
        self.begin(epoch, last)
        if epoch == self.epoch:
            self.last = max(self.last, last)

    def knows(self, link: Link) -> bool:
        """Whether it was delivered before, or comes too late."""
        return (link[0], link[1]) <= (self.epoch, self.last)

    def misses(self, link: Link) -> bool:
        """Whether there is another one before this."""
        return link[2] > self.last

    def deliver(self, number: int) -> int:
        """Go on to this one; returns how many are lost before it."""
        lost, self.lost = self.lost, 0
        self.last = number
        return lost

    def pass_over(self, upto: int) -> int:
        """Give up what lies before and at this number, which is one of ours; returns how many."""
        if upto <= self.last:
            return 0
        self.last = upto
        self.lost += 1
        return 1
