"""Everything that this peer publishes and subscribes to: the shell around the cores of topics.

    publish -> a run is filled -> once per turn of the loop, or when it is full: kept, sent
    arrives -> for each subscription: its line puts it in order -> its buffer -> its reader

Delivery is at most once, in order for each publisher and topic, and what is missing is asked for
while the publisher keeps it; what stays missing is counted in the `gap` of the next message.
A restricted message goes to those who may read it on the data lane, in no order with the others;
all others see nothing of it but that a number is not theirs.

What this module does not know: sockets, what a message holds, how history is asked for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from keys import PeerId, Permission, Principal
from p2p.errors import MisuseError, NotRunning, P2PError, PayloadTooLarge, PermissionDenied
from p2p.links import Transport
from p2p.pubsub.archive import HEADS, Archive
from p2p.pubsub.catching_up import CatchingUp
from p2p.pubsub.errors import BadTopic
from p2p.pubsub.feed import Feed
from p2p.pubsub.incoming import Items
from p2p.pubsub.messages import (
    MAX_PAGE_BYTES,
    MAX_RUN,
    MAX_TOPIC_CHARS,
    decode_heads,
    decode_restricted,
    decode_run,
    encode_restricted,
    encode_run,
)
from p2p.pubsub.pacing import Pacing
from p2p.pubsub.publisher import Item, Publisher, Restricted, Run
from p2p.pubsub.subscription import Policy, Subscription
from p2p.rpc import Exchange
from p2p.topic_names import subscription_name, subtrees_above, wire_name
from p2p.wire import Envelope, Kind, Priority, encode_envelope, running_trace

RESTRICTED = "topics.restricted"
MAX_PUBLICATION_BYTES = MAX_PAGE_BYTES
RUN_BYTES = 32 * 1024
_MAX_OPEN = 1024
_MAX_HEARD = 4096
_MAX_SHOWN = 100
_PUBLICATION, _NORMAL = int(Kind.PUBLICATION), int(Priority.NORMAL)


class Topics:
    """
    Args:
        epoch: of this start, greater than that of any start before.
        principal_of: says who an admitted peer is.
    """

    def __init__(
        self,
        own: Principal,
        epoch: int,
        transport: Transport,
        exchange: Exchange,
        principal_of: Callable[[PeerId], Principal | None],
    ) -> None:
        self._own = own
        self._transport = transport
        self._exchange = exchange
        self._principal_of = principal_of
        self.counts: Counter[str] = Counter()
        self._publisher = Publisher(epoch)
        self._open: dict[str, Run] = {}
        self._is_flush_due = False
        self._is_closed = False
        self._feeds: dict[str, list[Feed]] = {}
        self._by_topic: dict[str, tuple[Feed, ...]] = {}  # who hears what, as it comes up
        self._may_publish: dict[PeerId, tuple[Principal, bool]] = {}
        self._met: dict[PeerId, int] = {}  # the incarnation of each publisher
        self._present: set[PeerId] = set()
        self._pressed: set[Subscription] = set()
        self._is_hold_due = False
        self._archive = Archive(own, self._publisher, transport, exchange, self._flush, self.counts)
        self._pacing = Pacing(transport, self._flush, self._is_own_reader_full, self.counts)
        self._catching_up = CatchingUp(exchange, lambda: bool(self._pressed), self.counts)
        exchange.serve_notice(HEADS, self._on_heads, Permission.PUBLISH)
        exchange.serve_notice(RESTRICTED, self._on_restricted, Permission.PUBLISH)

    # -- publishing ----------------------------------------------------------------------------

    def publish(
        self, topic: str, payload: bytes, *, only: Callable[[Principal], bool] | None = None
    ) -> int:
        """Send to all subscribers, this peer's own among them, and return the sequence number.

        Args:
            only: who may read it, asked for each subscriber now and at a replay.

        Raises:
            BadTopic: no topic can have that name.
            PayloadTooLarge: it is over `MAX_PUBLICATION_BYTES`.
            PermissionDenied: our own roles do not include publishing.
        """
        run = self._open.get(topic)
        if run is None or only is not None or type(payload) is not bytes:
            return self._publish_slowly(topic, payload, only)
        size_bytes = run.size_bytes + len(payload)
        if size_bytes > RUN_BYTES or run.trace is not running_trace.get():
            return self._publish_slowly(topic, payload, only)
        items = run.items
        items.append(payload)
        run.size_bytes = size_bytes
        count = len(items)
        sequence = run.first + count - 1
        if count >= MAX_RUN:
            self._close(run)
        return sequence

    async def room_to_publish(self) -> None:
        """Wait until the slowest subscriber has room; see `Pacing.room_to_publish`."""
        await self._pacing.room_to_publish()

    async def wait_subscribers(self, topic: str, count: int, timeout_s: float) -> None:
        """Return once so many other peers hear this topic.

        Raises:
            NotEnoughSubscribers: not within the timeout.
        """
        await self._pacing.wait_subscribers(topic, count, timeout_s)

    def keep_history(self, topic: str, *, messages: int = 256, bytes_: int = 1024 * 1024) -> None:
        """Keep so much of a topic of ours for those who missed it or come later."""
        if messages < 0 or bytes_ < 0:
            raise MisuseError(f"a history of {messages} messages and {bytes_} bytes is less than 0")
        _check(topic, wire_name)
        self._publisher.keep(topic, messages, bytes_)

    def _publish_slowly(
        self, topic: str, payload: bytes, only: Callable[[Principal], bool] | None
    ) -> int:
        """Publish what does not simply go into the open run."""
        if type(payload) is not bytes:
            raise MisuseError(f"a payload is bytes and not {type(payload).__name__}; encode it")
        if len(payload) > MAX_PUBLICATION_BYTES:
            raise PayloadTooLarge(len(payload), MAX_PUBLICATION_BYTES, "publication")
        if self._is_closed:
            raise NotRunning("this peer")
        trace = running_trace.get()
        run = self._open.get(topic)
        if run is not None and (
            run.size_bytes + len(payload) > RUN_BYTES or run.trace is not trace
        ):
            self._close(run)
            run = None
        if run is None:
            run = self._begin(topic, trace)
        run.items.append(payload if only is None else Restricted(payload, only))
        run.size_bytes += len(payload)
        sequence = run.first + len(run.items) - 1
        if only is not None:
            self._close(run)
            self._send_restricted(topic, sequence, payload, only)
        elif len(run.items) >= MAX_RUN or run.size_bytes >= RUN_BYTES:
            self._close(run)
        return sequence

    def _begin(self, topic: str, trace: bytes) -> Run:
        _check(topic, wire_name)
        if not self._own.permissions & Permission.PUBLISH:
            raise PermissionDenied(self._own.name, "publish", "our roles do not include publishing")
        if len(self._open) >= _MAX_OPEN:
            self._flush()
        run = self._open[topic] = self._publisher.open(topic, trace)
        if not self._is_flush_due:
            self._is_flush_due = True
            asyncio.get_running_loop().call_soon(self._flush_in_turn)
        return run

    def _flush_in_turn(self) -> None:
        self._is_flush_due = False
        self._pacing.sent = 0
        self._flush()

    def _flush(self) -> None:
        while self._open:
            self._close(next(iter(self._open.values())))

    def _close(self, run: Run) -> None:
        """Keep a run, send it, and hand it to our own subscriptions."""
        topic, first, items = run.topic, run.first, run.items
        del self._open[topic]
        self._pacing.sent += len(items)
        epoch = self._publisher.close(run)
        sent = [None if type(one) is Restricted else one for one in items]
        payload = encode_run(sent)  # type: ignore[arg-type]  # mypy does not follow `type(one) is`
        fields = Envelope(_PUBLICATION, epoch, first, topic, 0, _NORMAL, run.trace, payload)
        try:
            self._transport.publish(topic, encode_envelope(fields))
        except P2PError:
            self.counts["publications_unsent"] += len(items)
        self._archive.published(topic)
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
            return item.payload if item.only(self._own) else None
        return item

    def _send_restricted(
        self, topic: str, sequence: int, payload: bytes, only: Callable[[Principal], bool]
    ) -> None:
        told = encode_restricted(topic, self._publisher.head(topic)[0], sequence, payload)
        for peer_id in self._transport.subscribers(topic):
            principal = self._principal_of(peer_id)
            if principal is None or not only(principal):
                continue
            try:
                self._exchange.notify(peer_id, RESTRICTED, told)
            except P2PError:
                self.counts["restricted_unsent"] += 1

    def _is_own_reader_full(self) -> bool:
        """Whether a subscription of this very peer waits for its reader, and hears us."""
        return bool(self._pressed) and any(
            feed.hears_us and feed.subscription in self._pressed
            for feeds in self._feeds.values()
            for feed in feeds
        )

    # -- subscribing ---------------------------------------------------------------------------

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
            MisuseError: no such policy, or the buffer holds nothing.
        """
        _check(topic, subscription_name)
        self._flush()  # what was published before is history to this one
        subscription = Subscription(topic, buffer, policy, self._closed, self._press)
        feed = Feed(subscription, replay, repair)
        if topic not in self._feeds:
            self._feeds[topic] = []
            self._transport.subscribe(topic)
        self._feeds[topic].append(feed)
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
            return
        is_ours = envelope.kind == _PUBLICATION and envelope.target == topic
        items = decode_run(envelope.payload)
        if not is_ours or not epoch or not first or items is None:
            self.counts["publications_malformed"] += 1
            return
        if not self._is_publisher(sender):
            self.counts["publications_not_permitted"] += len(items)
            return
        for feed in feeds:
            if feed.take(sender, topic, epoch, first, items):
                self._catching_up.repair(feed)

    def is_present(self, peer_id: PeerId, incarnation: int) -> None:
        """This peer is there, for the first time or again."""
        before = self._met.get(peer_id)
        self._met[peer_id] = incarnation
        self._present.add(peer_id)
        for feeds in list(self._feeds.values()):
            for feed in list(feeds):
                if before is not None and before != incarnation:
                    feed.forget(peer_id)
                known = before == incarnation and bool(feed.incoming.lines_of(peer_id))
                if known and feed.incoming.repair:
                    self._catching_up.compare(feed, peer_id)
                elif feed.replay and not known:
                    self._catching_up.replay(feed, peer_id)

    def is_gone(self, peer_id: PeerId) -> None:
        """This peer is not there any more; it may come back."""
        self._present.discard(peer_id)

    def counters(self) -> Mapping[str, int]:
        """Return plain counters, those of the living subscriptions added up."""
        counts = Counter(self.counts)
        for feeds in self._feeds.values():
            for feed in feeds:
                counts.update(feed.counts())
        return counts

    def figures(self) -> dict[str, list[dict[str, Any]]]:
        """Return what was published on our latest topics, and what each subscription heard."""
        subscribers = self._transport.subscribers
        published = [
            {"topic": topic, "sequence": head, "subscribers": len(subscribers(topic))}
            for topic, head in self._publisher.latest(_MAX_SHOWN)
        ]
        feeds = [feed for feeds in self._feeds.values() for feed in feeds]
        return {"published": published, "subscribed": [feed.figures() for feed in feeds]}

    async def close(self) -> None:
        """Send what was published, and end all subscriptions."""
        self._flush()
        self._is_closed = True
        self._archive.close()
        for feeds in list(self._feeds.values()):
            for feed in list(feeds):
                feed.subscription.close()
        await self._catching_up.close()

    def _take(
        self, feed: Feed, sender: PeerId, topic: str, epoch: int, first: int, items: Items
    ) -> None:
        if feed.take(sender, topic, epoch, first, items):
            self._catching_up.repair(feed)

    def _replay_own(self, feed: Feed) -> None:
        self._flush()
        name = feed.subscription.topic
        topics = self._publisher.below(name) if name.endswith("/") else iter((name,))
        for topic in topics:
            epoch, head = self._publisher.head(topic)
            kept, first = self._publisher.read(topic, max(1, head - feed.replay + 1), head)
            if kept:
                items = [self._for_us(one) for one in kept]
                self._take(feed, self._own.peer_id, topic, epoch, first, items)

    def _feeds_of(self, topic: str) -> tuple[Feed, ...]:
        """Find who hears a topic, once for many messages."""
        names = [topic, *(name.decode() for name in subtrees_above(topic.encode()))]
        found = tuple(feed for name in names for feed in self._feeds.get(name, ()))
        if len(self._by_topic) >= _MAX_HEARD:
            self._by_topic.clear()
        self._by_topic[topic] = found
        return found

    def _is_publisher(self, sender: PeerId) -> bool:
        principal = self._principal_of(sender)
        known = self._may_publish.get(sender)
        if known is not None and known[0] is principal:
            return known[1]
        if principal is None:
            return False
        may = bool(principal.permissions & Permission.PUBLISH)
        if len(self._may_publish) >= _MAX_HEARD:
            self._may_publish.clear()
        self._may_publish[sender] = (principal, may)
        return may

    def _on_heads(self, sender: PeerId, payload: bytes) -> None:
        heads = decode_heads(payload)
        if heads is None:
            self.counts["heads_malformed"] += 1
            return
        for head in heads:
            for feed in self._feeds_of(head[0]):
                self._catching_up.heard(feed, sender, head)

    def _on_restricted(self, sender: PeerId, data: bytes) -> None:
        told = decode_restricted(data)
        if told is None:
            self.counts["publications_malformed"] += 1
            return
        topic, epoch, sequence, payload = told
        for feed in self._feeds_of(topic):
            found = feed.incoming.take_restricted(sender, topic, epoch, sequence, payload)
            feed.deliver(sender, topic, found)

    def _closed(self, subscription: Subscription) -> None:
        topic = subscription.topic
        remaining = []
        for feed in self._feeds[topic]:
            if feed.subscription is subscription:
                self.counts.update(feed.counts())
            else:
                remaining.append(feed)
        self._by_topic.clear()
        if remaining:
            self._feeds[topic] = remaining
        else:
            del self._feeds[topic]
            self._transport.unsubscribe(topic)

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


def _check(topic: str, name_of: Callable[[str, int], bytes]) -> None:
    try:
        name_of(topic, MAX_TOPIC_CHARS)
    except MisuseError as error:
        raise BadTopic(topic, str(error)) from None
