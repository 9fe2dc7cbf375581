"""What can go wrong with topics; see the tree in `p2p.errors`."""

from __future__ import annotations

from p2p.errors import MisuseError, WorldError

_SHOWN_CHARS = 80


class BadTopic(MisuseError):
    """Nothing can be published under, or subscribed to by, this name."""

    def __init__(self, topic: str, reason: str) -> None:
        shown = repr(topic)
        if len(shown) > _SHOWN_CHARS:
            shown = shown[:_SHOWN_CHARS] + "..."
        super().__init__(f"no topic can be called {shown}: {reason}")
        self.topic = topic
        self.reason = reason


class NotEnoughSubscribers(WorldError):
    """Nothing was published by this; who subscribes later can still get what history keeps."""

    def __init__(self, topic: str, wanted: int, found: int, timeout_s: float) -> None:
        super().__init__(
            f"{found} of {wanted} peers subscribed to {topic!r} within {timeout_s:g} s; "
            "see whether they are present, or publish all the same and let them replay"
        )
        self.topic = topic
        self.wanted = wanted
        self.found = found
        self.timeout_s = timeout_s


class SubscriberTooSlow(WorldError):
    """A subscription of the policy "error" overflowed, and has ended."""

    def __init__(self, topic: str, buffer: int, lost: int) -> None:
        super().__init__(
            f"the subscription to {topic!r} ended: {buffer:,} messages waited and {lost:,} more "
            "came; read faster, give it a larger buffer, or choose another policy"
        )
        self.topic = topic
        self.buffer = buffer
        self.lost = lost
