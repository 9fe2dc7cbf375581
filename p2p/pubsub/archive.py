"""The publisher's word on its own history: pages of it for whoever asks, and how far it has come.

A loss in the middle shows when the next message comes. For a loss at the end, the subscribers of
a topic that has fallen silent are told its head: once soon after, and once more, because that
notice may be lost too. They are not told of what still waits for a slow one among them: it would be
taken for lost, and most of it is in no history any more when it is asked for.

What this module does not know: runs that are still being filled (its maker closes them before a
page is read), who misses what.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from keys import PeerId, Permission, Principal
from p2p.errors import BadRequest, P2PError, PermissionDenied
from p2p.links import Transport
from p2p.pubsub.audience import Audience
from p2p.pubsub.line import Items
from p2p.pubsub.messages import (
    MAX_HEADS,
    MAX_ITEMS_OF_A_PAGE,
    MAX_PAGE_BYTES,
    Ask,
    Entry,
    Head,
    Page,
    decode_ask,
    encode_heads,
    encode_page,
)
from p2p.pubsub.names import is_below
from p2p.pubsub.publisher import Item, Publisher, Restricted, may_read
from p2p.rpc import Exchange, Incoming
from p2p.wire import Priority

HISTORY = "topics.history"
HEADS = "topics.heads"
TICK_S = 0.5
_TOLD_AT = (1, 4)  # quiet ticks
_TOPICS_A_TICK = 512
_MAX_FRESH = 4096
_MAX_ENTRIES = 512
_OVERHEAD_BYTES = 5  # of one message in a page


class Archive:
    """
    Args:
        principal_of: says who an admitted peer is.
        audience: says who may read a topic.
        settle: closes the runs that are being filled.
    """

    def __init__(
        self,
        own: Principal,
        publisher: Publisher,
        transport: Transport,
        exchange: Exchange,
        principal_of: Callable[[PeerId], Principal | None],
        audience: Audience,
        settle: Callable[[], None],
        counts: Counter[str],
    ) -> None:
        self._own = own
        self._publisher = publisher
        self._transport = transport
        self._exchange = exchange
        self._principal_of = principal_of
        self._audience = audience
        self._settle = settle
        self._counts = counts
        self._fresh: dict[str, int] = {}  # topics by the number of quiet ticks
        self._tick_due: asyncio.TimerHandle | None = None
        exchange.serve(HISTORY, self._history, Permission.SUBSCRIBE_METADATA)

    def published(self, topic: str) -> None:
        """Something was published just now."""
        self._fresh[topic] = 0
        if self._tick_due is None:
            self._tick_due = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        if len(self._fresh) > _MAX_FRESH:
            del self._fresh[next(iter(self._fresh))]
            self._counts["heads_untold"] += 1

    def close(self) -> None:
        if self._tick_due is not None:
            self._tick_due.cancel()

    def read(self, ask: Ask, reader: Principal, due: Mapping[str, int] | None = None) -> Page:
        """Return what a reader may have of the history that it asks for.

        Args:
            due: of these topics alone, from these numbers on, all that is for the reader.
        """
        self._settle()
        entries: list[Entry] = []
        room_bytes, room = MAX_PAGE_BYTES, MAX_ITEMS_OF_A_PAGE
        how = ask if due is None else ask._replace(newest=1)
        for topic in self._topics(ask) if due is None else _after(ask, due):
            epoch, last_one = self._publisher.head(topic)
            if not epoch or not self._audience.may_read(reader, topic):
                continue
            if len(entries) >= _MAX_ENTRIES or room <= 0 or room_bytes <= 0:
                return Page(entries, entries[-1].head.topic)
            first, last = ask.first, min(ask.last, last_one)
            if due is not None:
                first, last = due[topic], last_one
            elif ask.newest:
                first, last = max(1, last_one - ask.newest + 1), last_one
            kept, first = self._publisher.read(topic, max(1, first), last)
            readable = [self._for_reader(item, how, reader) for item in kept[:room]]
            items, used_bytes = _fitting(readable, room_bytes, not entries)
            if kept and not items:
                return Page(entries, entries[-1].head.topic)
            room -= len(items)
            room_bytes -= used_bytes + 4 * len(topic) + 40
            entries.append(Entry(self._head(topic, reader), first, items))
        return Page(entries, "")

    def _for_reader(self, item: Item, ask: Ask, reader: Principal) -> bytes | None:
        """What is for everybody and what is for some is repaired apart, and replayed together."""
        if isinstance(item, Restricted):
            wanted = ask.newest or ask.restricted
            return item.payload if wanted and may_read(item.only, reader, self._counts) else None
        return item if ask.newest or not ask.restricted else None

    def _head(self, topic: str, reader: Principal) -> Head:
        epoch, last = self._publisher.head(topic)
        return Head(topic, epoch, last, self._publisher.restricted(topic, reader))

    def _topics(self, ask: Ask) -> Iterator[str]:
        if not ask.name.endswith("/"):
            return iter((ask.name,))
        return (topic for topic in self._publisher.below(ask.name) if topic > ask.after)

    async def _history(self, incoming: Incoming, payload: bytes) -> bytes:
        ask = decode_ask(payload)
        if ask is None:
            raise BadRequest(self._own.name, HISTORY, "that is no question about a history")
        if not ask.name.endswith("/") and not self._audience.may_read(incoming.caller, ask.name):
            said = f"{incoming.caller.name} may not read it"
            raise PermissionDenied(self._own.name, f"the history of {ask.name!r}", said)
        return encode_page(self.read(ask, incoming.caller))

    def _tick(self) -> None:
        is_waiting = self._transport.topics_waiting_s >= TICK_S  # so what is quiet may wait, too
        self._settle()
        due: list[str] = []
        for topic, quiet in list(self._fresh.items()):
            if quiet in _TOLD_AT:
                if is_waiting or len(due) >= _TOPICS_A_TICK:
                    continue
                due.append(topic)
            if quiet >= _TOLD_AT[-1]:
                del self._fresh[topic]
            else:
                self._fresh[topic] = quiet + 1
        self._tell(due)
        self._tick_due = None
        if self._fresh:
            self._tick_due = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tell(self, topics: Iterable[str]) -> None:
        by_peer: dict[PeerId, list[Head]] = {}
        for topic in topics:
            if not self._publisher.head(topic)[0]:
                continue
            for peer_id in self._transport.subscribers(topic):
                reader = self._principal_of(peer_id)
                if reader is not None and self._audience.may_read(reader, topic):
                    by_peer.setdefault(peer_id, []).append(self._head(topic, reader))
        for peer_id, heads in by_peer.items():
            for at in range(0, len(heads), MAX_HEADS):
                told = encode_heads(heads[at : at + MAX_HEADS])
                try:
                    self._exchange.notify(peer_id, HEADS, told, priority=Priority.LOW)
                except P2PError:
                    self._counts["heads_untold"] += 1


def _after(ask: Ask, topics: Iterable[str]) -> list[str]:
    return sorted(topic for topic in topics if is_below(topic, ask.name) and topic > ask.after)


def _fitting(items: Items, room_bytes: int, at_least_one: bool) -> tuple[Items, int]:
    """Return as many as there is room for, and their bytes."""
    used_bytes = 0
    for count, item in enumerate(items):
        size_bytes = len(item or b"") + _OVERHEAD_BYTES
        if used_bytes + size_bytes > room_bytes and not (at_least_one and count == 0):
            return items[:count], used_bytes
        used_bytes += size_bytes
    return items, used_bytes
