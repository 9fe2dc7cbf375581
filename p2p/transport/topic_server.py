"""The publishing side of topics: an XPUB that every admitted member may read.

A topic is a name of up to `topic_bytes` bytes; on the wire it ends with a zero byte, since ZeroMQ
matches prefixes and `agent.1` must not hear `agent.10`. One message is `topic 0x00 envelopes`.

A subscriber that has had no room for `topics_patience_ms`, or for whom `topics_budget_bytes` wait,
is left behind: what waits goes to those who have room, and the slow one has a gap, which is
counted here and seen there by the sequence numbers of the layer above.

Does not know: who may read what (whoever is admitted reads everything), sequence numbers.
Invariant: envelopes of one topic leave in the order of `publish`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import zmq

from keys import PeerId
from p2p.errors import MisuseError, PayloadTooLarge
from p2p.transport.connections import Connection, Connections
from p2p.transport.counters import TransportCounters
from p2p.transport.dial import Exchange
from p2p.transport.lane_server import SERVER_EVENTS, skip_rest, source_fd, user_id_of
from p2p.transport.outbox import Frame, Outbox
from p2p.transport.reading import SocketReader
from p2p.transport.sockets import bind

TERMINATOR = b"\0"
_UNSUBSCRIBE, _SUBSCRIBE = 0, 1


class TopicServer:
    def __init__(
        self,
        exchange: Exchange,
        counters: TransportCounters,
        peers: Mapping[str, PeerId],
    ) -> None:
        """`peers` maps user ids to peers and is kept up to date by its maker."""
        self.dirty = False
        self._exchange = exchange
        self._settings = exchange.settings
        self._counters = counters
        self._peers = peers
        self._open: dict[bytes, Outbox] = {}
        self._frames: deque[Frame] = deque()
        self.queued_bytes = 0
        self._stalled_since_s: float | None = None
        self._subscriptions: dict[Connection, set[bytes]] = {}
        self._connections = Connections(0)
        self.socket = exchange.sockets.listener(zmq.XPUB)
        self._token = exchange.monitors.watch(self.socket, SERVER_EVENTS, self._on_event)
        self.reader = SocketReader(
            exchange.loop,
            self.socket,
            take=self._take,
            settled=exchange.flusher.room,
            batch=self._settings.drain_frames,
        )

    def open(self, port: int) -> int:
        """Bind; returns the port."""
        bound = bind(self.socket, self._settings.host, port)
        self._connections = Connections(bound)
        self.reader.start()
        return bound

    def close(self, linger_ms: int = 0) -> int:
        """Returns how many envelopes had not left."""
        self.reader.stop()
        self._exchange.monitors.unwatch(self._token, self.socket)
        self.socket.close(linger=linger_ms)
        return sum(frame.envelopes for frame in self._frames)

    def publish(self, topic: str, envelope: bytes) -> None:
        """Queue one envelope for whoever listens.

        Raises:
            PayloadTooLarge: the envelope does not fit into one frame.
            MisuseError: no topic can have that name.
        """
        name = wire_name(topic, self._settings.topic_bytes)
        limit = self._settings.frame_limit_bytes - len(name)
        if len(envelope) > limit:
            raise PayloadTooLarge(len(envelope), limit, "publication")
        batch = self._open.get(name)
        if batch is None:
            batch = self._open[name] = self._new_batch(limit)
        if batch.push(envelope):
            self._seal(name, batch)
            self._send()
        self._exchange.flusher.mark(self)

    def flush(self) -> bool:
        """Hand over what waits, as far as the subscribers take it; True when some have no room."""
        for name, batch in self._open.items():
            self._seal(name, batch)
        self._open.clear()
        self._send()
        return bool(self._frames)

    def cut(self, user_id: str) -> int:
        """Cut the subscribers of a key, and those that nobody can attribute."""
        theirs = (one for one in self._subscriptions if one.owner == user_id)
        return self._connections.cut_owner(user_id, theirs) + self.cut_silent()

    def cut_silent(self) -> int:
        """Cut the connections that nobody can attribute; honest peers dial again."""
        return self._connections.cut_silent()

    def _new_batch(self, limit_bytes: int) -> Outbox:
        settings = self._settings
        return Outbox(
            budget_bytes=limit_bytes + settings.batch_bytes,
            batch_envelopes=settings.batch_envelopes,
            batch_bytes=settings.batch_bytes,
            frame_limit_bytes=limit_bytes,
        )

    def _seal(self, name: bytes, batch: Outbox) -> None:
        batch.seal()
        while (frame := batch.first()) is not None:
            batch.pop()
            self._frames.append(Frame(name + frame.payload, frame.envelopes))
            self.queued_bytes += len(name) + len(frame.payload)

    def _send(self) -> None:
        while self._frames:
            try:
                self.socket.send(self._frames[0].payload, zmq.NOBLOCK)
            except zmq.Again:
                self._wait_or_leave_behind()
                return
            self._stalled_since_s = None
            self._sent()

    def _sent(self) -> None:
        frame = self._frames.popleft()
        self.queued_bytes -= len(frame.payload)
        flow = self._counters.topics
        flow.frames_out += 1
        flow.bytes_out += len(frame.payload)
        flow.envelopes_out += frame.envelopes

    def _wait_or_leave_behind(self) -> None:
        """Some subscriber has no room. libzmq says so before it sends to anyone, and the flusher
        asks again until there is room or our patience ends."""
        now_s = self._exchange.loop.time()
        if self._stalled_since_s is None:
            self._stalled_since_s = now_s
        stalled_ms = (now_s - self._stalled_since_s) * 1000
        too_long = stalled_ms >= self._settings.topics_patience_ms
        if too_long or self.queued_bytes > self._settings.topics_budget_bytes:
            self._leave_behind()

    def _leave_behind(self) -> None:
        """Send to all who have room, and let the slow ones have their gap."""
        self.socket.setsockopt(zmq.XPUB_NODROP, 0)
        while self._frames:
            self.socket.send(self._frames[0].payload, zmq.NOBLOCK)
            self._counters.topics_lossy_frames += 1
            self._sent()
        self.socket.setsockopt(zmq.XPUB_NODROP, 1)
        self._stalled_since_s = None

    def _take(self) -> None:
        frame = self.socket.recv(zmq.NOBLOCK, copy=False)
        user_id = user_id_of(frame)
        body = frame.bytes
        if frame.more:
            skip_rest(self.socket)
            self._counters.dropped_malformed += 1
            return
        if not user_id:
            return  # libzmq's own word that a subscriber is gone
        connection = self._connections.attribute(source_fd(frame), user_id)
        if connection is None:
            return
        if user_id not in self._peers:
            self._counters.dropped_unknown_sender += 1
            self._counters.connections_cut += self._connections.cut(connection)
        elif not body or body[0] > _SUBSCRIBE:
            self._counters.dropped_malformed += 1
        else:
            self._note(connection, body[0], body[1:])

    def _note(self, connection: Connection, verb: int, name: bytes) -> None:
        """Every subscription costs us memory inside libzmq: nobody gets to have too many."""
        mine = self._subscriptions.setdefault(connection, set())
        if verb == _UNSUBSCRIBE:
            mine.discard(name)
            return
        mine.add(name)
        too_long = len(name) > self._settings.topic_bytes + len(TERMINATOR)
        if too_long or len(mine) > self._settings.subscriptions_per_peer:
            self._counters.topics_cut_subscriptions += 1
            self._counters.connections_cut += self._connections.cut(connection)

    def _on_event(self, event: int, value: int) -> None:
        if event == zmq.EVENT_ACCEPTED:
            self._connections.accepted(value)
        elif event == zmq.EVENT_DISCONNECTED:
            self._connections.disconnected(value)
            for connection in list(self._subscriptions):
                if not self._connections.holds(connection):
                    del self._subscriptions[connection]
        else:
            self._counters.handshakes_failed += 1


def wire_name(topic: str, limit_bytes: int) -> bytes:
    """A topic as it stands on the wire.

    Raises:
        MisuseError: it is empty, too long, or holds a zero byte.
    """
    name = topic.encode()
    if not name or len(name) > limit_bytes or TERMINATOR in name:
        raise MisuseError(
            f"no topic can be called {topic!r}: a name has 1 to {limit_bytes} bytes, none of them 0"
        )
    return name + TERMINATOR
