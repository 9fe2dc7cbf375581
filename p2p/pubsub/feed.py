"""A subscription together with the order of what it hears.

What this module does not know: where messages come from, how a gap is mended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from keys import PeerId
from p2p.pubsub.incoming import Delivered, Incoming
from p2p.pubsub.line import Items
from p2p.pubsub.messages import Alone
from p2p.pubsub.subscription import Subscription


class Feed:
    """
    Attributes:
        replay: how many messages of each topic a newcomer wants from before.
        hears_us: something of our own publishing came in.
    """

    __slots__ = ("hears_us", "incoming", "replay", "subscription")

    def __init__(self, subscription: Subscription, replay: int, repair: bool) -> None:
        self.subscription = subscription
        self.incoming = Incoming(repair=repair)
        self.replay = replay
        self.hears_us = False

    def take(self, sender: PeerId, topic: str, epoch: int, first: int, items: Items) -> bool:
        """Take a run off the wire; whether there is something to ask for now."""
        incoming = self.incoming
        offer = self.subscription.offer
        for number, lost, payloads in incoming.take(sender, topic, epoch, first, items):
            offer(topic, sender, number, lost, payloads)
        return bool(incoming.wants)

    def take_restricted(self, sender: PeerId, alone: Alone) -> bool:
        """Take a restricted message; whether there is something to ask for now."""
        topic, epoch, sequence, previous, payload = alone
        link = (epoch, sequence, previous, payload)
        self.deliver(sender, topic, self.incoming.take_restricted(sender, topic, link))
        return bool(self.incoming.wants_restricted)

    def deliver(self, sender: PeerId, topic: str, delivered: Iterable[Delivered]) -> None:
        for number, lost, payloads in delivered:
            self.subscription.offer(topic, sender, number, lost, payloads)

    def counts(self) -> Counter[str]:
        """What became of messages here."""
        subscription = self.subscription
        return self.incoming.counts + Counter(
            {f"dropped_{subscription.policy}": subscription.dropped}
        )

    def figures(self) -> dict[str, Any]:
        """How it goes, as plain data."""
        subscription, counts = self.subscription, self.incoming.counts
        return {
            "topic": subscription.topic,
            "policy": subscription.policy,
            "received": subscription.offered,
            "waiting": subscription.waiting,
            "dropped": subscription.dropped,
            "repaired": counts["repaired"],
            "lost": counts["lost"],
        }

    def forget(self, sender: PeerId) -> None:
        """This publisher was started again."""
        for topic, delivered in self.incoming.forget(sender):
            self.deliver(sender, topic, delivered)
