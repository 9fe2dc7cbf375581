"""Publications: numbered by their publisher, gaps counted by the subscriber.

At most once: who was not subscribed, or too slow, has lost what it missed, and sees how much.

What this module does not know: sockets, what a publication holds.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from keys import PeerId
from p2p.links import Transport
from p2p.wire import Envelope, Kind, Priority, current_trace, encode_envelope


@dataclass(frozen=True, slots=True)
class Publication:
    """One message on a topic.

    Attributes:
        gap: how many of this publisher's were lost on this topic just before this one, as far
            as can be known: what came before the first one heard is not counted.
    """

    topic: str
    sender: PeerId
    sequence: int
    gap: int
    payload: bytes


class Subscription:
    """An iterator over one topic. When it is full, the oldest make room and count as a gap."""

    def __init__(self, topic: str, limit: int, on_close: Callable[[Subscription], None]) -> None:
        self.topic = topic
        self.dropped = 0
        self._limit = limit
        self._on_close = on_close
        self._waiting: deque[tuple[PeerId, int, bytes]] = deque()
        self._arrived = asyncio.Event()
        self._last: dict[PeerId, int] = {}
        self._is_closed = False

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Publication:
        while not self._waiting:
            if self._is_closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        sender, sequence, payload = self._waiting.popleft()
        last = self._last.get(sender)
        # A publisher that was started again begins with 1.
        gap = sequence - last - 1 if last is not None and sequence > last else 0
        self._last[sender] = sequence
        return Publication(self.topic, sender, sequence, gap, payload)

    def offer(self, sender: PeerId, sequence: int, payload: bytes) -> None:
        if len(self._waiting) >= self._limit:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append((sender, sequence, payload))
        self._arrived.set()

    def close(self) -> None:
        """End the iteration after what has arrived."""
        if not self._is_closed:
            self._is_closed = True
            self._arrived.set()
            self._on_close(self)


class Topics:
    """Everything that this peer publishes and subscribes to."""

    def __init__(self, own: PeerId, transport: Transport) -> None:
        self._own = own
        self._transport = transport
        self._sequences: Counter[str] = Counter()
        self._subscriptions: dict[str, list[Subscription]] = {}

    def publish(self, topic: str, payload: bytes) -> int:
        """Send to all subscribers, this peer's own among them, and return the sequence number.

        Raises:
            PayloadTooLarge: it does not fit one frame.
        """
        self._sequences[topic] += 1
        sequence = self._sequences[topic]
        trace = current_trace()
        envelope = Envelope(
            Kind.PUBLICATION,
            0,
            sequence,
            topic,
            0,
            Priority.NORMAL,
            trace.to_bytes() if trace else b"",
            payload,
        )
        self._transport.publish(topic, encode_envelope(envelope))
        self._offer(topic, self._own, sequence, payload)
        return sequence

    def subscribe(self, topic: str, limit: int) -> Subscription:
        """Begin to receive a topic; close the subscription to end it."""
        subscription = Subscription(topic, limit, self._closed)
        if topic not in self._subscriptions:
            self._subscriptions[topic] = []
            self._transport.subscribe(topic)
        self._subscriptions[topic].append(subscription)
        return subscription

    def on_envelope(self, sender: PeerId, topic: str, envelope: Envelope) -> None:
        """Take a publication; one that names another topic than it came on is dropped."""
        if envelope.kind == Kind.PUBLICATION and envelope.target == topic:
            self._offer(topic, sender, envelope.sequence, envelope.payload)

    def close(self) -> None:
        for subscriptions in list(self._subscriptions.values()):
            for subscription in list(subscriptions):
                subscription.close()

    def _offer(self, topic: str, sender: PeerId, sequence: int, payload: bytes) -> None:
        for subscription in self._subscriptions.get(topic, ()):
            subscription.offer(sender, sequence, payload)

    def _closed(self, subscription: Subscription) -> None:
        remaining = self._subscriptions[subscription.topic]
        remaining.remove(subscription)
        if not remaining:
            del self._subscriptions[subscription.topic]
            self._transport.unsubscribe(subscription.topic)
