"""The subscribing side of topics: one SUB connection to every admitted peer, while there is
anything to subscribe to.

Publications are attributed by the connection that they came over: only the holder of the key that
we dialled can have sent them. Does not know: sequence numbers, gaps, what a publication holds.
Invariant: there are connections exactly while there are subscriptions, one per admitted peer.
"""

from __future__ import annotations

from collections.abc import Sequence

import zmq

from keys import PeerId
from p2p.links import OnPublication
from p2p.topic_names import HOLD, TERMINATOR, subscription_name, subtrees_above
from p2p.transport.counters import TransportCounters
from p2p.transport.dial import Dial, Exchange
from p2p.transport.dialler import Dialler
from p2p.transport.parts import skip_rest

_MAX_HEARD = 4096


class TopicLinks:
    """All subscriptions of this node, and the links to all publishers."""

    def __init__(
        self,
        exchange: Exchange,
        counters: TransportCounters,
        on_publication: OnPublication,
    ) -> None:
        self._exchange = exchange
        self._counters = counters
        self._on_publication = on_publication
        self._targets: dict[PeerId, tuple[bytes, Sequence[str]]] = {}
        self._links: dict[PeerId, _TopicLink] = {}
        self._names: set[bytes] = set()
        self._heard: dict[bytes, str] = {}  # names that came in and are subscribed to
        self._holding = False

    def subscribe(self, topic: str) -> None:
        name = subscription_name(topic, self._exchange.settings.topic_bytes)
        if name in self._names:
            return
        self._names.add(name)
        for peer_id in self._targets.keys() - self._links.keys():
            self._link(peer_id)
        for link in self._links.values():
            link.subscribe(name)

    def unsubscribe(self, topic: str) -> None:
        name = subscription_name(topic, self._exchange.settings.topic_bytes)
        if name not in self._names:
            return
        self._names.discard(name)
        self._heard.clear()
        for link in self._links.values():
            link.unsubscribe(name)
            if not self._names:
                link.close()

    def hold(self, hold: bool) -> None:
        """Stop reading, everything, and say so to all publishers; or go on."""
        if hold is not self._holding:
            self._holding = hold
            for link in self._links.values():
                link.hold(hold)

    def by_peer(self) -> dict[PeerId, tuple[int, int]]:
        """How many frames came from each publisher, and how many bytes."""
        return {peer_id: (link.frames, link.size_bytes) for peer_id, link in self._links.items()}

    def target(self, peer_id: PeerId, server_key: bytes, endpoints: Sequence[str]) -> None:
        self._targets[peer_id] = (server_key, endpoints)
        if self._names or peer_id in self._links:
            self._link(peer_id)

    def forget(self, peer_id: PeerId) -> None:
        self._targets.pop(peer_id, None)
        link = self._links.pop(peer_id, None)
        if link is not None:
            link.close()

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()
        self._targets.clear()

    def new_dialler(self, link: _TopicLink) -> Dialler:
        return Dialler(
            self._exchange,
            self._counters,
            zmq.SUB,
            link,
            longest_pause_ms=self._exchange.settings.topics_redial_max_ms,
            prepare=self._prepare,
        )

    @property
    def wanted(self) -> bool:
        return bool(self._names)

    @property
    def holding(self) -> bool:
        return self._holding

    def take(self, link: _TopicLink, socket: zmq.Socket[bytes]) -> None:
        """Read one publication."""
        frame = socket.recv(zmq.NOBLOCK, copy=False)
        if frame.more:
            skip_rest(socket)
            self._counters.dropped_malformed += 1
            return
        if self._holding:  # the connection is over, and what it held is read for the last time
            self._counters.topics_dropped_held += 1
            return
        body = frame.bytes
        end = body.find(TERMINATOR) + len(TERMINATOR)
        name = body[:end]
        topic = self._heard.get(name) or self._recognise(name)
        if topic is None:  # unsubscribed a moment ago, or no topic in it at all
            self._counters.dropped_malformed += end == 0
            return
        flow = self._counters.topics
        flow.frames_in += 1
        flow.bytes_in += len(body)
        link.frames += 1
        link.size_bytes += len(body)
        self._on_publication(link.peer_id, topic, body[end:])

    def _recognise(self, name: bytes) -> str | None:
        """The topic, if it is one that we subscribed to, or lies in a subtree that we did."""
        names = self._names
        if name not in names and not any(one in names for one in subtrees_above(name)):
            return None
        try:
            topic = name[: -len(TERMINATOR)].decode()
        except UnicodeDecodeError:
            self._counters.dropped_malformed += 1
            return None
        if len(self._heard) >= _MAX_HEARD:
            self._heard.clear()
        self._heard[name] = topic
        return topic

    def _link(self, peer_id: PeerId) -> None:
        link = self._links.get(peer_id)
        if link is None:
            link = self._links[peer_id] = _TopicLink(peer_id, self)
        link.target(*self._targets[peer_id])

    def _prepare(self, socket: zmq.Socket[bytes]) -> None:
        for name in self._names:
            socket.setsockopt(zmq.SUBSCRIBE, name)
        if self._holding:
            socket.setsockopt(zmq.SUBSCRIBE, HOLD)


class _TopicLink:
    """The connection to one publisher."""

    def __init__(self, peer_id: PeerId, links: TopicLinks) -> None:
        self.peer_id = peer_id
        self.frames = 0
        self.size_bytes = 0
        self._links = links
        self._dialler = links.new_dialler(self)

    def target(self, server_key: bytes, endpoints: Sequence[str]) -> None:
        self._dialler.target(server_key, endpoints)
        if self._links.wanted:
            self._dialler.start()

    def subscribe(self, name: bytes) -> None:
        socket = self._dialler.socket
        if socket is not None:
            socket.setsockopt(zmq.SUBSCRIBE, name)
        self._dialler.start()

    def unsubscribe(self, name: bytes) -> None:
        socket = self._dialler.socket
        if socket is not None:
            socket.setsockopt(zmq.UNSUBSCRIBE, name)

    def hold(self, hold: bool) -> None:
        socket = self._dialler.socket
        if socket is not None:
            socket.setsockopt(zmq.SUBSCRIBE if hold else zmq.UNSUBSCRIBE, HOLD)
        dial = self._dialler.dial
        if dial is not None:
            if hold:
                dial.reader.pause()
            else:
                dial.reader.resume()

    def close(self) -> None:
        self._dialler.stop()

    def dialler_up(self, dial: Dial) -> None:
        """The socket sends its subscriptions by itself."""
        if self._links.holding:
            dial.reader.pause()

    def dialler_lost(self, reason: str) -> None:
        self._dialler.start()

    def dialler_refused(self, reason: str) -> None:
        """The control lane is refused too, and reported."""

    def dialler_message(self, dial: Dial) -> None:
        self._links.take(self, dial.socket)
