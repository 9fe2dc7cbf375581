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
from p2p.transport.counters import TransportCounters
from p2p.transport.dial import Dial, Exchange
from p2p.transport.dialler import Dialler
from p2p.transport.lane_server import skip_rest
from p2p.transport.topic_server import TERMINATOR, wire_name


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
        self._links: dict[PeerId, _TopicLink] = {}
        self._names: dict[bytes, str] = {}

    def subscribe(self, topic: str) -> None:
        name = wire_name(topic, self._exchange.settings.topic_bytes)
        if name in self._names:
            return
        self._names[name] = topic
        for link in self._links.values():
            link.subscribe(name)

    def unsubscribe(self, topic: str) -> None:
        name = wire_name(topic, self._exchange.settings.topic_bytes)
        if self._names.pop(name, None) is None:
            return
        for link in self._links.values():
            link.unsubscribe(name)
            if not self._names:
                link.close()

    def target(self, peer_id: PeerId, server_key: bytes, endpoints: Sequence[str]) -> None:
        link = self._links.get(peer_id)
        if link is None:
            link = self._links[peer_id] = _TopicLink(peer_id, self)
        link.target(server_key, endpoints)

    def forget(self, peer_id: PeerId) -> None:
        link = self._links.pop(peer_id, None)
        if link is not None:
            link.close()

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()

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

    def take(self, peer_id: PeerId, socket: zmq.Socket[bytes]) -> None:
        """Read one publication."""
        frame = socket.recv(zmq.NOBLOCK, copy=False)
        if frame.more:
            skip_rest(socket)
            self._counters.dropped_malformed += 1
            return
        body = frame.bytes
        end = body.find(TERMINATOR) + len(TERMINATOR)
        topic = self._names.get(body[:end])
        if topic is None:  # unsubscribed a moment ago, or no topic in it at all
            self._counters.dropped_malformed += end == 0
            return
        flow = self._counters.topics
        flow.frames_in += 1
        flow.bytes_in += len(body)
        self._on_publication(peer_id, topic, body[end:])

    def _prepare(self, socket: zmq.Socket[bytes]) -> None:
        for name in self._names:
            socket.setsockopt(zmq.SUBSCRIBE, name)


class _TopicLink:
    """The connection to one publisher."""

    def __init__(self, peer_id: PeerId, links: TopicLinks) -> None:
        self._peer_id = peer_id
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

    def close(self) -> None:
        self._dialler.stop()

    def dialler_up(self, dial: Dial) -> None:
        """Nothing to say: the socket sends its subscriptions by itself."""

    def dialler_lost(self, reason: str) -> None:
        self._dialler.start()

    def dialler_refused(self, reason: str) -> None:
        """The control lane is refused too, and reported."""

    def dialler_message(self, dial: Dial) -> None:
        self._links.take(self._peer_id, dial.socket)
