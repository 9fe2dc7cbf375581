"""Everything that this peer publishes and subscribes to: the shell around the cores of topics.

    arrives -> for each subscription: its line puts it in order -> its buffer -> its reader

Delivery is at most once, in order for each publisher and topic, and what is missing is asked for
while the publisher keeps it; what stays missing is counted in the `gap` of the next message.
Restricted messages come in their own order, in none with the others.

Who may publish is asked at the publisher, who hears of it, and at each subscriber, who drops what
should not have come; who may read is asked at the publisher. All is asked again when a policy
changes: subscriptions that are no longer allowed end with `PermissionDenied`.

What this module does not know: sockets, what a message holds, how history is asked for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from keys import Action, Guard, PeerId, Permission, Principal
from p2p.errors import MisuseError, PermissionDenied
from p2p.links import Transport
from p2p.pubsub.archive import HEADS
from p2p.pubsub.arrears import DUE
from p2p.pubsub.audience import Audience
from p2p.pubsub.catching_up import CatchingUp
from p2p.pubsub.feed import Feed
from p2p.pubsub.line import Items
from p2p.pubsub.messages import decode_alone, decode_heads, decode_run
from p2p.pubsub.names import check_subscription, is_topic
from p2p.pubsub.publisher import Item, Restricted, may_read
from p2p.pubsub.publishing import RESTRICTED, Publishing
from p2p.pubsub.subscription import Policy, Subscription
from p2p.rpc import Exchange
from p2p.topic_names import subtrees_above
from p2p.wire import Envelope, Kind

_MAX_HEARD = 4096
_MAX_SHOWN = 100
_PUBLICATION = int(Kind.PUBLICATION)


class Topics:
    """
    Args:
        epoch: of this start, greater than that of any start before.
        principal_of: says who an admitted peer is.
        guard: judges them and us.
        audience: says who may read a topic.
    """

    def __init__(
        self,
        own: Principal,
        epoch: int,
        transport: Transport,
        exchange: Exchange,
        principal_of: Callable[[PeerId], Principal | None],
        guard: Guard,
        audience: Audience,
    ) -> None:
        self._own = own
        self._guard = guard
        self._audience = audience
        self._transport = transport
        self._principal_of = principal_of
        self.counts: Counter[str] = Counter()
        self._feeds: dict[str, dict[Subscription, Feed]] = {}
        self._by_topic: dict[str, tuple[Feed, ...]] = {}  # who hears what, as it comes up
        self._met: dict[PeerId, int] = {}  # the incarnation of each publisher
        self._present: set[PeerId] = set()
        self._pressed: set[Subscription] = set()
        self._is_hold_due = False
        publishing = self._publishing = Publishing(
            own,
            epoch,
            transport,
            exchange,
            principal_of,
            guard,
            audience,
            self._hear_own,
            self._is_own_reader_full,
            self.counts,
        )
        self.publish = publishing.publish
        self.keep_history = publishing.keep_history
        self.room_to_publish = publishing.pacing.room_to_publish
        self.wait_subscribers = publishing.pacing.wait_subscribers
        self.owe = publishing.arrears.owe
        self.may_read = audience.may_read
        self.latest = publishing.history.latest
        self.on_listening: Callable[[Collection[str]], None] = lambda names: None
        self._catching_up = CatchingUp(
            exchange, lambda: bool(self._pressed), self._may_hear, self.counts
        )
        exchange.serve_notice(HEADS, self._on_heads, Permission.PUBLISH)
        exchange.serve_notice(RESTRICTED, self._on_restricted, Permission.PUBLISH)
        guard.listeners.append(self._rights_changed)

    def on_publishing(
        self, publishing: Callable[[str, int], None], waiting: Callable[[str], None]
    ) -> None:
        """Tell these before something leaves, and when somebody waits for subscribers."""
        self._publishing.on_publishing = publishing
        self._publishing.pacing.on_waiting = waiting

    def become(self, own: Principal) -> None:
        """Our own papers have changed."""
        self._own = own
        self._publishing.become(own)
        self._rights_changed()

    def _rights_changed(self) -> None:
        """What was open may be no longer, and who was heard or read may not any more."""
        self._publishing.flush()
        self._audience.changed()
        self._by_topic.clear()
        for topic, feeds in list(self._feeds.items()):
            why = self._guard.refusal(self._own, Action.SUBSCRIBE, topic)
            if why is not None:
                for feed in list(feeds.values()):
                    error = PermissionDenied(self._own.name, f"subscribe to {topic!r}", why)
                    feed.subscription.fail(error)

    def subscribe(
        self,
        topic: str,
        *,
        buffer: int = 1000,
        policy: Policy = "drop_oldest",
        replay: int = 0,
        repair: bool = True,
    ) -> Subscription:
        """Begin to receive a topic, or a subtree of them; close the subscription to end it.

        Args:
            replay: so many of the last messages of each topic come first, from every publisher.
            repair: ask for what is missing, and hold back what comes after it meanwhile.

        Raises:
            BadTopic: no topic can have that name.
            MisuseError: no such policy, the buffer holds nothing, or a negative replay.
            PermissionDenied: our roles, namespaces or a policy keep us from it.
        """
        check_subscription(topic)
        if replay < 0:
            raise MisuseError(f"a replay of {replay} messages is less than 0")
        why = self._guard.refusal(self._own, Action.SUBSCRIBE, topic)
        if why is not None:
            raise PermissionDenied(self._own.name, f"subscribe to {topic!r}", why)
        self._publishing.flush()  # what was published before is history to this one
        subscription = Subscription(topic, buffer, policy, self._closed, self._press)
        feed = Feed(subscription, replay, repair)
        if topic not in self._feeds:
            self._feeds[topic] = {}
            self._transport.subscribe(topic)
            self.on_listening(self._feeds.keys())
        self._feeds[topic][subscription] = feed
        self._by_topic.clear()
        if replay:
            self._replay_own(feed)
            for publisher in self._present:
                self._catching_up.replay(feed, publisher)
        return subscription

    def on_envelope(self, sender: PeerId, topic: str, envelope: Envelope) -> None:
        """Take a run that came on this topic from an admitted peer."""
        epoch, first = envelope.id, envelope.sequence
        feeds = self._by_topic.get(topic)
        if feeds is None:
            feeds = self._feeds_of(topic)
        if not feeds:
            if not is_topic(topic):
                self.counts["publications_malformed"] += 1
            return
        is_ours = envelope.kind == _PUBLICATION and envelope.target == topic
        items = decode_run(envelope.payload)
        if not is_ours or not epoch or not first or items is None:
            self.counts["publications_malformed"] += 1
            return
        if not self._is_publisher(sender, topic):
            self.counts["publications_not_permitted"] += len(items)
            return
        for feed in feeds:
            if feed.take(sender, topic, epoch, first, items):
                self._catching_up.repair(feed)

    def is_present(self, peer_id: PeerId, incarnation: int, *, is_due: bool = False) -> None:
        """This peer is there, for the first time or again.

        Args:
            is_due: it may have published for us while there was no link.
        """
        before = self._met.get(peer_id)
        self._met[peer_id] = incarnation
        self._present.add(peer_id)
        for feeds in list(self._feeds.values()):
            for feed in list(feeds.values()):
                if before is not None and before != incarnation:
                    feed.forget(peer_id)
                known = before == incarnation and bool(feed.incoming.lines_of(peer_id))
                if known and feed.incoming.repair:
                    self._catching_up.compare(feed, peer_id)
                elif feed.replay and not known:
                    self._catching_up.replay(feed, peer_id)
                elif is_due and feed.incoming.repair and not known:
                    self._catching_up.replay(feed, peer_id, DUE)

    def is_gone(self, peer_id: PeerId) -> None:
        """This peer is not there any more; it may come back."""
        self._present.discard(peer_id)
        self._publishing.arrears.forget(peer_id)

    def counters(self) -> Mapping[str, int]:
        """Return plain counters, those of the living subscriptions added up."""
        counts = Counter(self.counts)
        for feeds in self._feeds.values():
            for feed in feeds.values():
                counts.update(feed.counts())
        return counts

    def figures(self) -> dict[str, list[dict[str, Any]]]:
        """Return what was published on our latest topics, and what each subscription heard."""
        subscribers = self._transport.subscribers
        published = [
            {"topic": topic, "sequence": head, "subscribers": len(subscribers(topic))}
            for topic, head in self._publishing.history.latest(_MAX_SHOWN)
        ]
        feeds = [feed for feeds in self._feeds.values() for feed in feeds.values()]
        return {"published": published, "subscribed": [feed.figures() for feed in feeds]}

    async def close(self) -> None:
        """Send what was published, and end all subscriptions."""
        self._publishing.close()
        for feeds in list(self._feeds.values()):
            for subscription in list(feeds):
                subscription.close()
        await self._catching_up.close()

    def _take(
        self, feed: Feed, sender: PeerId, topic: str, epoch: int, first: int, items: Items
    ) -> None:
        if feed.take(sender, topic, epoch, first, items):
            self._catching_up.repair(feed)

    def _hear_own(self, topic: str, epoch: int, first: int, items: list[Item]) -> None:
        """Take what we published ourselves."""
        feeds = self._by_topic.get(topic)
        if feeds is None:
            feeds = self._feeds_of(topic)
        if feeds:
            own = [self._for_us(one) for one in items]
            for feed in feeds:
                feed.hears_us = True
                self._take(feed, self._own.peer_id, topic, epoch, first, own)

    def _for_us(self, item: Item) -> bytes | None:
        if isinstance(item, Restricted):
            return item.payload if may_read(item.only, self._own, self.counts) else None
        return item

    def _is_own_reader_full(self) -> bool:
        """Whether a subscription of this very peer waits for its reader, and hears us."""
        return bool(self._pressed) and any(
            feed.hears_us and feed.subscription in self._pressed
            for feeds in self._feeds.values()
            for feed in feeds.values()
        )

    def _replay_own(self, feed: Feed) -> None:
        history, name = self._publishing.history, feed.subscription.topic
        topics = history.below(name) if name.endswith("/") else iter((name,))
        for topic in filter(self._may_read, topics):
            epoch, head = history.head(topic)
            kept, first = history.read(topic, max(1, head - feed.replay + 1), head)
            if kept:
                items = [self._for_us(one) for one in kept]
                self._take(feed, self._own.peer_id, topic, epoch, first, items)

    def _feeds_of(self, topic: str) -> tuple[Feed, ...]:
        """Find who hears a topic, once for many messages; nobody hears what is none."""
        names = [topic, *(name.decode() for name in subtrees_above(topic.encode()))]
        if not is_topic(topic) or not self._may_read(topic):
            names = []
        found = tuple(feed for name in names for feed in self._feeds.get(name, {}).values())
        if len(self._by_topic) >= _MAX_HEARD:
            self._by_topic.clear()
        self._by_topic[topic] = found
        return found

    def _may_read(self, topic: str) -> bool:
        return self._guard.may(self._own, Action.SUBSCRIBE, topic)

    def _may_hear(self, sender: PeerId, topic: str) -> bool:
        return self._may_read(topic) and self._is_publisher(sender, topic)

    def _is_publisher(self, sender: PeerId, topic: str) -> bool:
        principal = self._principal_of(sender)
        if principal is None:
            return False
        return self._guard.refusal(principal, Action.PUBLISH, topic) is None

    def _on_heads(self, sender: PeerId, payload: bytes) -> None:
        heads = decode_heads(payload)
        if heads is None:
            self.counts["heads_malformed"] += 1
            return
        for head in heads:
            for feed in self._feeds_of(head.topic):
                self._catching_up.heard(feed, sender, head)

    def _on_restricted(self, sender: PeerId, data: bytes) -> None:
        alone = decode_alone(data)
        if alone is None:
            self.counts["publications_malformed"] += 1
            return
        feeds = self._feeds_of(alone.topic)
        if feeds and not self._is_publisher(sender, alone.topic):
            self.counts["publications_not_permitted"] += 1
            return
        for feed in feeds:
            if feed.take_restricted(sender, alone):
                self._catching_up.repair(feed)

    def _closed(self, subscription: Subscription) -> None:
        topic = subscription.topic
        feeds = self._feeds[topic]
        self.counts.update(feeds.pop(subscription).counts())
        self._by_topic.clear()
        if not feeds:
            del self._feeds[topic]
            self._transport.unsubscribe(topic)
            self.on_listening(self._feeds.keys())

    def _press(self, subscription: Subscription, on: bool) -> None:
        """A subscription that waits for its reader holds all publishers, because there is one
        connection to each. In a turn of its own, since a transport may be reading just now and
        would have to drop what it has in its hands."""
        (self._pressed.add if on else self._pressed.discard)(subscription)
        if not self._is_hold_due:
            self._is_hold_due = True
            asyncio.get_running_loop().call_soon(self._hold_in_turn)

    def _hold_in_turn(self) -> None:
        self._is_hold_due = False
        self._transport.hold_topics(bool(self._pressed))
