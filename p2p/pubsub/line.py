"""Where one publisher stands on one topic, as a subscriber sees it.

A pure core. Does not know: what moves it; the rules are in `p2p.pubsub.incoming`.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2p.pubsub.chain import Chain

Items = Sequence[bytes | None]  # None for a message that was not meant for us


class Line:
    """The messages of one publisher on one topic.

    Attributes:
        epoch: of the publisher; 0 before anything is known.
        next: the number that is due; 0 before anything is heard.
        head: the last number that the publisher is known to have reached.
        asked: what is wanted from the publisher: the first and the last number.
        is_replaying: what was published before is under way and comes first.
        chain: the restricted messages, which come another way.
    """

    __slots__ = (
        "asked",
        "chain",
        "epoch",
        "head",
        "held",
        "is_replaying",
        "lost",
        "next",
        "topic",
    )

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.epoch = 0
        self.next = 0
        self.head = 0
        self.lost = 0
        self.chain = Chain()
        self.asked: tuple[int, int] | None = None
        self.is_replaying = False
        self.held: list[tuple[int, Items]] = []

    @property
    def is_behind(self) -> bool:
        return self.misses_last or self.chain.is_behind

    @property
    def misses_last(self) -> bool:
        """Whether messages for everybody are known to be missing at the end."""
        return 0 < self.next <= self.head

    @property
    def is_asking(self) -> bool:
        return self.asked is not None or self.chain.asked is not None
