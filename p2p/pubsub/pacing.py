"""A publisher's pace: waiting for subscribers to be there, and for the slowest to have room.

What this module does not know: messages, who the slowest is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from p2p.links import Transport
from p2p.pubsub.errors import NotEnoughSubscribers

ROOM_BYTES = 2 * 1024 * 1024  # a quarter of what may wait for the slowest subscriber
PATIENCE_S = 35.0  # the transport leaves a subscriber behind before that
TURN_AFTER_MESSAGES = 512  # that a publisher may send before it lets others have a turn
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.001, 0.02


class Pacing:
    """
    Args:
        flush: sends what is still being filled.
        is_own_reader_full: whether somebody in this process does not keep up.

    Attributes:
        sent: messages since others had a turn of the loop; its maker counts.
        on_waiting: hears of each topic that subscribers are waited for.
    """

    def __init__(
        self,
        transport: Transport,
        flush: Callable[[], None],
        is_own_reader_full: Callable[[], bool],
        counts: Counter[str],
    ) -> None:
        self._transport = transport
        self._flush = flush
        self._is_own_reader_full = is_own_reader_full
        self._counts = counts
        self.sent = 0
        self.on_waiting: Callable[[str], None] = lambda topic: None

    async def room_to_publish(self) -> None:
        """Return when the slowest subscriber has room for more.

        A subscriber that takes nothing for long is left behind, and then there is room.
        """
        if self.sent < TURN_AFTER_MESSAGES and not self._has_no_room():
            return
        self._flush()
        self.sent = 0
        await asyncio.sleep(0)
        if not self._has_no_room():
            return
        loop = asyncio.get_running_loop()
        until_s = loop.time() + PATIENCE_S
        pause_s = SHORTEST_PAUSE_S
        while self._has_no_room():
            if loop.time() >= until_s:
                self._counts["room_not_found"] += 1
                return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def wait_subscribers(self, topic: str, count: int, timeout_s: float) -> None:
        """See `Topics.wait_subscribers`."""
        self.on_waiting(topic)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        while True:
            found = len(self._transport.subscribers(topic))
            if found >= count:
                return
            if loop.time() >= until_s:
                raise NotEnoughSubscribers(topic, count, found, timeout_s)
            await asyncio.sleep(min(LONGEST_PAUSE_S, max(timeout_s, SHORTEST_PAUSE_S)))

    def _has_no_room(self) -> bool:
        return self._transport.topics_queued_bytes > ROOM_BYTES or self._is_own_reader_full()
