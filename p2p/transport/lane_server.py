"""The listening side of one lane: a ROUTER, the connections that came in, and the way back.

Every frame is attributed by the user id that ZAP gave to the key of its connection, never by its
routing id, which the other side chooses. A route is the way back over a connection that came in:
it exists from a peer's first frame until that connection ends.

Does not know: what a frame holds, how to dial. Invariant: every route belongs to a connection
whose key is on the allow-list, and no peer has more than `routes_per_peer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import zmq

from keys import PeerId
from p2p.links import Lane, OnFrame
from p2p.transport.allocator import keep_chunks
from p2p.transport.connections import Connection
from p2p.transport.counters import FlowCounters, TransportCounters
from p2p.transport.dial import Exchange, Sent
from p2p.transport.listening import Listening
from p2p.transport.outbox import Body
from p2p.transport.parts import (
    MORE,
    NOBLOCK,
    SHARE_FROM_BYTES,
    read_body,
    skip_rest,
    source_fd,
    user_id_of,
)
from p2p.transport.reading import SocketReader
from p2p.transport.words import MARK

SERVER_EVENTS = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


class Route:
    """The way back over one incoming connection. `flow` is its peer's, once the owner says so."""

    __slots__ = ("_server", "connection", "flow", "peer_id", "routing_id", "user_id")

    def __init__(
        self,
        server: LaneServer,
        peer_id: PeerId,
        user_id: str,
        routing_id: bytes,
        connection: Connection,
    ) -> None:
        self._server = server
        self.peer_id = peer_id
        self.user_id = user_id
        self.routing_id = routing_id
        self.connection = connection
        self.flow = FlowCounters()

    @property
    def reader(self) -> SocketReader:
        return self._server.reader

    @property
    def is_at_old_port(self) -> bool:
        """Whether it came in at an endpoint that we are about to leave."""
        return self.connection.port != self._server.listening.port

    def send(self, payload: bytes, body: Body | None = None) -> Sent:
        socket = self._server.socket
        try:
            socket.send(self.routing_id, MORE)
            if body is None:
                socket.send(payload, NOBLOCK)
            else:
                socket.send(payload, MORE)
                socket.send(body, NOBLOCK, copy=len(body) < SHARE_FROM_BYTES)
        except zmq.Again:
            return Sent.FULL
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._server.forget(self)
            return Sent.GONE
        return Sent.YES


class RouteOwner(Protocol):
    def route_opened(self, lane: Lane, route: Route) -> None:
        """A peer's first frame over a connection of its own making."""

    def route_closed(self, lane: Lane, route: Route, reason: str) -> None:
        """That connection ended."""

    def route_word(self, lane: Lane, route: Route, message: bytes) -> None:
        """The transport at the other end says something; see `words`."""


class LaneServer:
    def __init__(
        self,
        lane: Lane,
        exchange: Exchange,
        counters: TransportCounters,
        peers: Mapping[str, PeerId],
        owner: RouteOwner,
        on_frame: OnFrame,
    ) -> None:
        """`peers` maps user ids to peers and is kept up to date by its maker."""
        self._lane = lane
        self._exchange = exchange
        self._settings = exchange.settings
        self._counters = counters
        self._flow = counters.of(lane)
        self._peers = peers
        self._owner = owner
        self._on_frame = on_frame
        self._routes: dict[bytes, Route] = {}
        self.socket = exchange.sockets.listener(zmq.ROUTER, bulk=lane is Lane.BULK)
        self._token = exchange.monitors.watch(self.socket, SERVER_EVENTS, self._on_event)
        self.reader = SocketReader(
            exchange.loop,
            self.socket,
            self,
            settled=exchange.flusher.settled,
            batch=self._settings.drain_frames_of(lane),
        )
        self.listening = Listening(self.socket, exchange.sockets, self._settings.host)
        self._connections = self.listening.connections

    def open(self, port: int) -> int:
        """Bind; returns the port."""
        bound = self.listening.open(port)
        self.reader.start()
        return bound

    def leave_old(self) -> None:
        """Close the old endpoint, and end what came in there."""
        self.listening.leave_old()
        self.forget_left()

    def forget_left(self) -> None:
        """An endpoint was closed, and libzmq tells of no connection that ended by that."""
        for route in [one for one in self._routes.values() if one.is_at_old_port]:
            self._close_route(route, "the keys of this node have changed")

    def close(self, linger_ms: int = 0) -> None:
        self.reader.stop()
        self._exchange.monitors.unwatch(self._token, self.socket)
        self.socket.close(linger=linger_ms)

    def cut(self, user_id: str) -> int:
        """Cut the connections of a key, and those that nobody can attribute. Drops its routes."""
        return self.cut_key(user_id) + self.cut_silent()

    def cut_key(self, user_id: str) -> int:
        """Cut the connections of a key that is over, and leave those alone that may be honest."""
        routes = [route for route in self._routes.values() if route.user_id == user_id]
        for route in routes:
            self.forget(route)
        return self._connections.cut_owner(user_id, (route.connection for route in routes))

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

    def forget(self, route: Route) -> None:
        """Without a word to the owner."""
        if self._routes.get(route.routing_id) is route:
            del self._routes[route.routing_id]

    def take(self) -> None:
        """Read one message."""
        routing_id = self.socket.recv(NOBLOCK)
        frame = self.socket.recv(NOBLOCK, copy=False)
        user_id = user_id_of(frame)
        peer_id = self._peers.get(user_id)
        body: bytes | None = None
        if frame.more:
            if self._lane is Lane.BULK:
                body = read_body(self.socket)
            else:  # none of our nodes sends several parts
                skip_rest(self.socket)
            if body is None:
                self._counters.dropped_malformed += 1
                self._cut_frame(frame, user_id)
                return
        if peer_id is None:
            self._counters.dropped_unknown_sender += 1
            self._cut_frame(frame, user_id)
            return
        route = self._routes.get(routing_id)
        if route is None or route.user_id != user_id:
            if route is not None:  # somebody else took over a routing id that became free
                self._close_route(route, "connection closed by the other side")
            route = self._open_route(peer_id, user_id, routing_id, frame)
        payload = frame.bytes
        if payload[:1] == MARK:
            if route is not None:
                self._owner.route_word(self._lane, route, payload)
            return
        size_bytes = len(payload) if body is None else len(payload) + len(body)
        self._flow.frames_in += 1
        self._flow.bytes_in += size_bytes
        if route is not None:
            route.flow.frames_in += 1
            route.flow.bytes_in += size_bytes
            self._connections.fresh.add(route.connection.fd)
        self._on_frame(peer_id, self._lane, payload, body)

    def _open_route(
        self, peer_id: PeerId, user_id: str, routing_id: bytes, frame: zmq.Frame
    ) -> Route | None:
        connection = self._connections.attribute(source_fd(frame), user_id)
        if connection is None:
            return None  # these are its last words
        if self._lane is Lane.BULK:
            keep_chunks()
        mine = [one for one in self._routes.values() if one.user_id == user_id]
        if len(mine) >= self._settings.routes_per_peer:
            self._counters.connections_cut += self._connections.cut(mine[0].connection)
            self._close_route(mine[0], "replaced: it opened too many connections")
        route = Route(self, peer_id, connection.owner, routing_id, connection)
        self._routes[routing_id] = route
        self._owner.route_opened(self._lane, route)
        return route

    def _close_route(self, route: Route, reason: str) -> None:
        self.forget(route)
        self._owner.route_closed(self._lane, route, reason)

    def _cut_frame(self, frame: zmq.Frame, user_id: str) -> None:
        connection = self._connections.attribute(source_fd(frame), user_id)
        if connection is not None:
            self._counters.connections_cut += self._connections.cut(connection)

    def _on_event(self, event: int, value: int) -> None:
        if event == zmq.EVENT_ACCEPTED:
            self._connections.accepted(value)
            self._counters.connections_shed += self._connections.shed_for(value)
        elif event == zmq.EVENT_DISCONNECTED:
            self.reader.drain()  # what arrived before the end
            self._connections.disconnected(value)
            for route in list(self._routes.values()):
                if not self._connections.holds(route.connection):
                    self._close_route(route, "connection closed by the other side")
        else:
            self._counters.handshakes_failed += 1
