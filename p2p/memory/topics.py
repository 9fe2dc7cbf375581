"""Publications and subscriptions of one transport on the in-memory network.

What is published for a subscriber that holds waits at the publisher, up to a budget and for a
while; then the subscriber is left behind and has a gap, as over real sockets.

What this module does not know: who is admitted, what a publication holds; it is handed both.

Invariant: publications of one publisher arrive in the order of `publish`.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from keys import PeerId
from p2p.memory.network import MemoryNetwork
from p2p.topic_names import subscription_name, subtrees_above, wire_name

MAX_TOPIC_BYTES = 255
BUDGET_BYTES = 8 * 1024 * 1024
HOLD_PATIENCE_S = 30.0
Publication = tuple[str, bytes]


class Found(NamedTuple):
    """A peer that can hear us: where it is, under which key it knows us, its topics."""

    peer_id: PeerId
    host: str
    own_key: bytes
    topics: MemoryTopics


@dataclass(slots=True)
class _Waiting:
    """For one subscriber that holds."""

    publications: deque[Publication] = field(default_factory=deque)
    size_bytes: int = 0
    patience: asyncio.TimerHandle | None = None
    is_left_behind: bool = False


class MemoryTopics:
    """
    Args:
        others: those that know us and whom we know, where they listen just now.
        hear: gets what arrives: the publisher's key, the topic, the envelope.
    """

    def __init__(
        self,
        network: MemoryNetwork,
        host: str,
        others: Callable[[], Iterable[Found]],
        hear: Callable[[bytes, str, bytes], None],
    ) -> None:
        self._network = network
        self._host = host
        self._others = others
        self._hear = hear
        self._names: set[bytes] = set()
        self._waiting: dict[PeerId, _Waiting] = {}  # by subscriber
        self._unread: deque[tuple[bytes, str, bytes]] = deque()
        self.counts: Counter[str] = Counter()
        self.is_holding = False

    @property
    def names(self) -> int:
        """How many subscriptions there are."""
        return len(self._names)

    @property
    def queued_bytes(self) -> int:
        """What waits for the slowest subscriber."""
        return max((waiting.size_bytes for waiting in self._waiting.values()), default=0)

    def hears(self, name: bytes) -> bool:
        return name in self._names or any(one in self._names for one in subtrees_above(name))

    def subscribe(self, topic: str) -> None:
        self._names.add(subscription_name(topic, MAX_TOPIC_BYTES))

    def unsubscribe(self, topic: str) -> None:
        self._names.discard(subscription_name(topic, MAX_TOPIC_BYTES))

    def subscribers(self, topic: str) -> frozenset[PeerId]:
        name = wire_name(topic, MAX_TOPIC_BYTES)
        return frozenset(
            found.peer_id
            for found in self._others()
            if found.topics.hears(name)
            and self._network.reaches(self._host, found.host)
            and self._network.reaches(found.host, self._host)
        )

    def publish(self, topic: str, envelope: bytes) -> None:
        name = wire_name(topic, MAX_TOPIC_BYTES)
        for found in self._others():
            if not found.topics.hears(name):
                continue
            if found.topics.is_holding or found.peer_id in self._waiting:
                self._wait_for(found.peer_id, (topic, envelope))
            else:
                self._deliver(found, topic, envelope)

    def hold(self, hold: bool) -> None:
        if hold is self.is_holding:
            return
        self.is_holding = hold
        if hold:
            return
        while self._unread and not self.is_holding:
            self._hear(*self._unread.popleft())
        for _, host, _, other in self._others():
            self._network.deliver(self._host, host, lambda other=other: other._go_on(self))  # type: ignore[misc]

    def forget(self, peer_id: PeerId) -> None:
        """This subscriber is gone."""
        waiting = self._waiting.pop(peer_id, None)
        if waiting is not None and waiting.patience is not None:
            waiting.patience.cancel()

    def close(self) -> None:
        for peer_id in list(self._waiting):
            self.forget(peer_id)

    def _deliver(self, to: Found, topic: str, envelope: bytes) -> None:
        self._network.deliver(
            self._host, to.host, lambda: to.topics._arrived(to.own_key, topic, envelope)
        )

    def _arrived(self, key: bytes, topic: str, envelope: bytes) -> None:
        if not self.hears(wire_name(topic, MAX_TOPIC_BYTES)):
            return
        if self.is_holding or self._unread:
            self._unread.append((key, topic, envelope))
        else:
            self._hear(key, topic, envelope)

    def _wait_for(self, peer_id: PeerId, publication: Publication) -> None:
        waiting = self._waiting.get(peer_id)
        if waiting is None:
            waiting = self._waiting[peer_id] = _Waiting()
            waiting.patience = asyncio.get_running_loop().call_later(
                HOLD_PATIENCE_S, self._leave_behind, peer_id
            )
        waiting.publications.append(publication)
        waiting.size_bytes += len(publication[1])
        if waiting.is_left_behind or waiting.size_bytes > BUDGET_BYTES:
            self._leave_behind(peer_id)

    def _leave_behind(self, peer_id: PeerId) -> None:
        waiting = self._waiting[peer_id]
        waiting.is_left_behind = True
        self.counts["topics_lossy_frames"] += len(waiting.publications)
        waiting.publications.clear()
        waiting.size_bytes = 0

    def _go_on(self, other: MemoryTopics) -> None:
        """That one reads again."""
        found = next((one for one in self._others() if one.topics is other), None)
        waiting = self._waiting.get(found.peer_id) if found is not None else None
        if found is None or waiting is None or other.is_holding:
            return
        self.forget(found.peer_id)
        for topic, envelope in waiting.publications:
            self._deliver(found, topic, envelope)
