"""The publishing side of topics: an XPUB that every admitted member may read.

One message is `topic 0x00 envelopes`. A subscriber that has had no room for `topics_patience_ms`,
or for whom `topics_budget_bytes` wait, is left behind: one message goes only to those who have
room, and then libzmq asks the slow one no more before it has read. So it has a gap, which is
counted here and seen there by the sequence numbers of the layer above. The others are waited for as
before: who has read all that came has room for some messages, but not for all that waited. One that
said that it does not read just now is waited for longer, `topics_hold_patience_ms`, once; after it
was left behind its word counts for nothing until it has read again.

Does not know: who may read what (whoever is admitted reads everything), sequence numbers.
Invariants: envelopes of one topic leave in the order of `publish`; `queued_bytes` is what waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import zmq

from keys import PeerId
from p2p.errors import PayloadTooLarge
from p2p.links import JOIN_BYTES, frame_of
from p2p.topic_names import HOLD, SEAM, is_subscription, wire_name
from p2p.transport.connections import Connection
from p2p.transport.counters import TransportCounters
from p2p.transport.dial import Exchange
from p2p.transport.lane_server import SERVER_EVENTS
from p2p.transport.listening import Listening
from p2p.transport.parts import skip_rest, source_fd, user_id_of
from p2p.transport.reading import Room, SocketReader
from p2p.transport.stall import Stall
from p2p.transport.subscriptions import Subscriptions

_UNSUBSCRIBE, _SUBSCRIBE = 0, 1
_MAX_BATCHES = 4096


class _Batch:
    """The frame of one topic that is being filled."""

    __slots__ = ("envelopes", "limit_bytes", "name", "size_bytes")

    def __init__(self, name: bytes, limit_bytes: int) -> None:
        self.name = name
        self.limit_bytes = limit_bytes
        self.envelopes: list[bytes] = []
        self.size_bytes = 0


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
        settings = self._settings = exchange.settings
        self._batch_envelopes = settings.batch_envelopes
        self._batch_bytes = settings.batch_bytes
        self._counters = counters
        self._peers = peers
        self._batches: dict[str, _Batch] = {}
        self._open: list[_Batch] = []
        # Name, message, envelopes, and since when it waits.
        self._frames: deque[tuple[bytes, bytes, int, float]] = deque()
        self.queued_bytes = 0
        self._stall = Stall()
        self._subscriptions: Subscriptions[Connection] = Subscriptions(
            limit=settings.subscriptions_per_peer, name_bytes=settings.topic_bytes
        )
        self._left_behind: set[Connection] = set()
        self.socket = exchange.sockets.listener(zmq.XPUB)
        self.listening = Listening(self.socket, exchange.sockets, settings.host)
        self._connections = self.listening.connections
        self._token = exchange.monitors.watch(self.socket, SERVER_EVENTS, self._on_event)
        self.reader = SocketReader(
            exchange.loop,
            self.socket,
            self,
            settled=exchange.flusher.settled,
            batch=settings.drain_frames,
        )

    def open(self, port: int) -> int:
        """Bind; returns the port."""
        bound = self.listening.open(port)
        self.reader.start()
        return bound

    def leave_old(self) -> None:
        """Close the old endpoint, and end what came in there."""
        self.listening.leave_old()
        self.forget_left()

    def close(self, linger_ms: int = 0) -> int:
        """Returns how many envelopes had not left."""
        self.reader.stop()
        self._exchange.monitors.unwatch(self._token, self.socket)
        self.socket.close(linger=linger_ms)
        waiting = sum(frame[2] for frame in self._frames)
        return waiting + sum(len(batch.envelopes) for batch in self._open)

    def publish(self, topic: str, envelope: bytes) -> None:
        """Queue one envelope for whoever listens.

        Raises:
            PayloadTooLarge: the envelope does not fit into one frame.
            MisuseError: no topic can have that name.
        """
        batch = self._batches.get(topic)
        if batch is None:
            batch = self._new_batch(topic)
        size_bytes = len(envelope)
        filled_bytes = batch.size_bytes + size_bytes
        if filled_bytes + JOIN_BYTES > batch.limit_bytes:
            if size_bytes > batch.limit_bytes:
                raise PayloadTooLarge(size_bytes, batch.limit_bytes, "publication")
            if batch.envelopes:
                self._seal(batch)
            filled_bytes = size_bytes
        envelopes = batch.envelopes
        if not envelopes:
            self._open.append(batch)
        envelopes.append(envelope)
        batch.size_bytes = filled_bytes
        self.queued_bytes += size_bytes
        if filled_bytes >= self._batch_bytes or len(envelopes) >= self._batch_envelopes:
            self._seal(batch)
            self._send()
        if not self.dirty:
            self._exchange.flusher.mark(self)

    def flush(self) -> Room:
        """Hand over what waits, as far as the subscribers take it."""
        opened, self._open = self._open, []
        for batch in opened:
            if batch.envelopes:
                self._seal(batch)
        waiting = len(self._frames)
        self._send()
        if not self._frames:
            return Room.UNWANTED
        return Room.USED if len(self._frames) < waiting else Room.NONE

    @property
    def waiting_s(self) -> float:
        """For how long the first that waits has waited."""
        return self._exchange.loop.time() - self._frames[0][3] if self._frames else 0.0

    def subscribers(self, topic: str) -> frozenset[PeerId]:
        """Whose living connection hears this topic."""
        name = wire_name(topic, self._settings.topic_bytes)
        return frozenset(
            self._peers[one.owner]
            for one in self._subscriptions.of(name)
            if one.owner in self._peers and self._connections.holds(one)
        )

    def by_peer(self) -> dict[PeerId, tuple[int, bool]]:
        """How many names each peer has subscribed to, and whether it asked us to wait."""
        found: dict[PeerId, tuple[int, bool]] = {}
        holding = self._subscriptions.holding()
        for connection in self._subscriptions:
            peer_id = self._peers.get(connection.owner)
            if peer_id is not None:
                count, holds = found.get(peer_id, (0, False))
                count += self._subscriptions.count(connection)
                found[peer_id] = (count, holds or connection in holding)
        return found

    def cut(self, user_id: str) -> int:
        """Cut the subscribers of a key, and those that nobody can attribute."""
        return self.cut_key(user_id) + self.cut_silent()

    def cut_key(self, user_id: str) -> int:
        """Cut the subscribers of a key that is over, and leave those alone that may be honest."""
        theirs = (one for one in self._subscriptions if one.owner == user_id)
        return self._connections.cut_owner(user_id, theirs)

    def cut_silent(self) -> int:
        """Cut the connections that nobody can attribute; honest peers dial again."""
        return self._connections.cut_silent()

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._connections)

    def shed(self) -> int:
        """Cut the older half of those that never said anything."""
        return self._connections.shed()

    def cut_unfinished(self, limit_bytes: int) -> int:
        """Cut who sends a message without end."""
        return self._connections.cut_unfinished(limit_bytes, self.reader.has_read_all)

    def _new_batch(self, topic: str) -> _Batch:
        """Names are encoded once; a program that makes up topics without end must not grow us."""
        name = wire_name(topic, self._settings.topic_bytes)
        if len(self._batches) >= _MAX_BATCHES:
            busy = {id(batch) for batch in self._open}
            self._batches = {t: b for t, b in self._batches.items() if id(b) in busy}
        batch = _Batch(name, self._settings.frame_limit_bytes - len(name))
        self._batches[topic] = batch
        return batch

    def _seal(self, batch: _Batch) -> None:
        envelopes = batch.envelopes
        name = batch.name
        frame = envelopes[0] if len(envelopes) == 1 else frame_of(envelopes)
        now_s = self._exchange.loop.time()
        self._frames.append((name, name + frame, len(envelopes), now_s))
        self.queued_bytes += len(name) + len(frame) - batch.size_bytes
        batch.envelopes = []
        batch.size_bytes = 0

    def _send(self) -> None:
        while self._frames:
            try:
                self.socket.send(self._frames[0][1], zmq.NOBLOCK)
            except zmq.Again:
                if not self._is_too_long():
                    return
                self._leave_behind()
            else:
                self._stall.end()
                self._sent()

    def _sent(self) -> None:
        _, message, envelopes, _ = self._frames.popleft()
        self.queued_bytes -= len(message)
        flow = self._counters.topics
        flow.frames_out += 1
        flow.bytes_out += len(message)
        flow.envelopes_out += envelopes

    def _is_too_long(self) -> bool:
        """Some subscriber has no room. libzmq says so before it sends to anyone, and the flusher
        asks again until there is room or our patience ends."""
        settings = self._settings
        stalled_ms = self._stall.look(self._exchange.loop.time()) * 1000
        unasked_ms = self._stall.unforgiven_s * 1000
        too_long = stalled_ms >= settings.topics_hold_patience_ms or (
            unasked_ms >= settings.topics_patience_ms and not self._is_asked_to_wait()
        )
        return too_long or self.queued_bytes > settings.topics_budget_bytes

    def _is_asked_to_wait(self) -> bool:
        """By one that hears the frame in question, and was not left behind already."""
        asked = self._subscriptions.of(self._frames[0][0]) & self._subscriptions.holding()
        return not asked <= self._left_behind

    def _leave_behind(self) -> None:
        """Send the first to all who have room, and let the slow ones have their gap."""
        self._left_behind |= self._subscriptions.holding()
        self.socket.setsockopt(zmq.XPUB_NODROP, 0)
        self.socket.send(self._frames[0][1], zmq.NOBLOCK)
        self.socket.setsockopt(zmq.XPUB_NODROP, 1)
        self._counters.topics_lossy_frames += 1
        self._sent()
        self._stall.end()

    def take(self) -> None:
        """Read one message."""
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
        self._connections.fresh.add(connection.fd)
        if user_id not in self._peers:
            self._counters.dropped_unknown_sender += 1
            self._counters.connections_cut += self._connections.cut(connection)
        elif not body or body[0] > _SUBSCRIBE:
            self._counters.dropped_malformed += 1
        else:
            self._note(connection, body[0], body[1:])

    def _note(self, connection: Connection, verb: int, name: bytes) -> None:
        if verb == _UNSUBSCRIBE:
            self._subscriptions.remove(connection, name)
            if name == HOLD:
                self._left_behind.discard(connection)
                self._stall.forgive()  # it needs a moment to read
            return
        if connection not in self._subscriptions:
            self._make_room_for(connection)
        # libzmq matches prefixes: the empty one, or half a name, would hear what others are named.
        if not is_subscription(name) or not self._subscriptions.add(connection, name):
            self._counters.topics_cut_subscriptions += 1
            self._counters.connections_cut += self._connections.cut(connection)
        elif name.startswith(SEAM) and len(self._subscriptions.of(name)) == 2:
            self._mark_seam(name)

    def _mark_seam(self, name: bytes) -> None:
        """Both connections of a subscriber get this message at the same place among all others."""
        self._frames.append((name, name, 0, self._exchange.loop.time()))
        self.queued_bytes += len(name)
        if not self.dirty:
            self._exchange.flusher.mark(self)

    def _make_room_for(self, connection: Connection) -> None:
        """The limit of subscriptions is one of a connection, so connections have a limit too."""
        mine = [one for one in self._subscriptions if one.owner == connection.owner]
        if len(mine) >= self._settings.routes_per_peer:
            self._counters.connections_cut += self._connections.cut(mine[0])
            self._forget(mine[0])

    def _forget(self, connection: Connection) -> None:
        self._subscriptions.forget(connection)
        self._left_behind.discard(connection)

    def forget_left(self) -> None:
        """Of the connections that ended."""
        for connection in self._subscriptions:
            if not self._connections.holds(connection):
                self._forget(connection)

    def _on_event(self, event: int, value: int) -> None:
        if event == zmq.EVENT_ACCEPTED:
            self._connections.accepted(value)
            self._counters.connections_shed += self._connections.shed_for(value)
        elif event == zmq.EVENT_DISCONNECTED:
            self._connections.disconnected(value)
            self.forget_left()
        else:
            self._counters.handshakes_failed += 1
