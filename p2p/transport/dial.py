"""One attempt at one outgoing connection: one socket, one routing id, never used again.

A monitor tells what becomes of the attempt. It costs 16 KB for as long as it is there, so on Linux
it is let go of when the handshake is over, and from then on the descriptor is looked at, which
libzmq closes when it has read all that came. That makes the socket readable, though there is no
message; so whenever there is none, a look follows a moment later, and one every
`unfinished_check_ms` in any case. Until then libzmq takes what is sent and forgets it.

Does not know: other addresses, when to try again, what travels; that is the dialler's.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

import zmq

from keys import TransportKey
from p2p.links import Lane
from p2p.transport.connections import has_read_over, received_bytes
from p2p.transport.flushing import Flusher
from p2p.transport.liveness import CAN_LOOK, OVER, hang_up, is_there, mark_of
from p2p.transport.monitors import Monitors
from p2p.transport.outbox import Body
from p2p.transport.parts import MORE, NOBLOCK, SHARE_FROM_BYTES
from p2p.transport.reading import SocketReader
from p2p.transport.settings import TransportSettings
from p2p.transport.sockets import Sockets

_LOOK_S = 0.005  # longer than libzmq takes from the signal to the close
# libzmq 4.3.5 aborts (`session_base.cpp:233`) when a connection breaks in the moment in which its
# socket goes without lingering, and it has sent half of a message of two parts. One that lingers
# finds the other half.
_HALF_READ_MS = 100
_DENIED = 400  # the ZAP status for a key that is not on the list
_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
)
_REASONS: dict[int, str] = {
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "handshake failed: it is not the node we expect there",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "handshake failed: wrong key or not one of our nodes",
    zmq.EVENT_DISCONNECTED: "connection closed by the other side",
    zmq.EVENT_CLOSED: "nobody listens there",
}
_CLOSED_BY_OTHER = _REASONS[zmq.EVENT_DISCONNECTED]


class Sent(Enum):
    """What became of a frame that a connection was asked to carry."""

    YES = auto()
    FULL = auto()  # not now; the frame is still ours
    GONE = auto()  # this connection will never carry it; the frame is still ours


@dataclass(frozen=True, slots=True)
class Exchange:
    """What every dial needs."""

    loop: asyncio.AbstractEventLoop
    settings: TransportSettings
    sockets: Sockets
    monitors: Monitors
    flusher: Flusher
    rng: random.Random  # for jitter alone
    dials: set[Dial] = field(default_factory=set)  # those that are not closed


class DialOwner(Protocol):
    """Who is told. Every call comes from the event loop."""

    def dial_up(self, dial: Dial) -> None:
        """Connected, and the other side let us in."""

    def dial_ended(self, dial: Dial, reason: str, refused: bool) -> None:
        """It failed or was lost, and is closed. `refused`: our key is not on their list."""

    def dial_message(self, dial: Dial) -> None:
        """A message is readable; read it."""


class Dial:
    """Opened by its constructor; ended by `close` or by fate, of which the owner is told.

    Raises:
        zmq.ZMQError: no socket is left, or libzmq cannot parse the endpoint.
    """

    __slots__ = (
        "_exchange",
        "_fd",
        "_is_fresh",
        "_is_look_due",
        "_mark",
        "_owner",
        "_received",
        "_token",
        "closed",
        "endpoint",
        "own_public",
        "reader",
        "server_key",
        "socket",
        "up",
    )

    def __init__(
        self,
        exchange: Exchange,
        kind: int,
        endpoint: str,
        server_key: bytes,
        owner: DialOwner,
        own_key: TransportKey | None = None,
        *,
        bulk: bool = False,
    ) -> None:
        self.endpoint = endpoint
        self.server_key = server_key
        self.own_public = (own_key or exchange.sockets.key).public
        self._exchange = exchange
        self._fd = -1
        self._mark: int | None = None  # known where nobody watches any more
        self._is_look_due = False
        self._is_fresh = False
        self._received = 0
        self.up = False
        self.closed = False
        self._owner = owner
        self.socket = exchange.sockets.dialler(kind, server_key, own_key, bulk=bulk)
        self.reader = SocketReader(
            exchange.loop,
            self.socket,
            self,
            settled=exchange.flusher.settled,
            batch=exchange.settings.drain_frames_of(Lane.BULK if bulk else Lane.DATA),
            watcher=self if CAN_LOOK else None,
        )
        self._token = exchange.monitors.watch(self.socket, _EVENTS, self._on_event)
        self._exchange.dials.add(self)
        try:
            self.socket.connect(endpoint)
        except zmq.ZMQError:
            self.close()
            raise

    def hand_to(self, owner: DialOwner) -> None:
        """Somebody else is told from now on."""
        self._owner = owner

    def send(self, payload: bytes, body: Body | None = None) -> Sent:
        if self.closed:
            return Sent.GONE
        try:
            if body is None:
                self.socket.send(payload, NOBLOCK)
            else:
                self.socket.send(payload, MORE)
                self.socket.send(body, NOBLOCK, copy=len(body) < SHARE_FROM_BYTES)
        except zmq.Again:
            return Sent.FULL
        return Sent.YES

    def close(self, linger_ms: int = 0) -> None:
        """Quietly: the owner is not told."""
        if self.closed:
            return
        self.closed = True
        self.up = False
        self._exchange.dials.discard(self)
        self.reader.stop()
        self._exchange.monitors.unwatch(self._token, self.socket)
        if not linger_ms and self._mark is not None and hang_up(self._fd, self._mark):
            linger_ms = _HALF_READ_MS  # nothing more leaves, since there is no connection
        self.socket.close(linger=linger_ms)

    def look(self) -> None:
        """End it, and tell the owner, if there is no connection any more."""
        if self._mark is None or self.closed or is_there(self._fd, self._mark):
            return
        self.reader.finish()  # what arrived before the end
        if not self.closed:
            self.close()
            self._owner.dial_ended(self, _CLOSED_BY_OTHER, False)

    def end_unfinished(self, limit_bytes: int) -> bool:
        """End it if the other side sends a message without end; see `Connections`."""
        if self.closed or not self.up:
            return False
        received = received_bytes(self._fd)
        if self._is_fresh:
            self._is_fresh, self._received = False, received
        since = received - self._received
        if not has_read_over(limit_bytes, self._fd, since) or not self.reader.has_read_all():
            return False
        self.close()
        self._owner.dial_ended(self, "it sent a message without end", False)
        return True

    def nothing_came(self) -> None:
        """The socket is readable without a message: that may be the end."""
        if not self._is_look_due:
            self._is_look_due = True
            self._exchange.loop.call_later(_LOOK_S, self._look_later)

    def _look_later(self) -> None:
        self._is_look_due = False
        self.look()

    def take(self) -> None:
        """Have the owner read a message."""
        self._is_fresh = True
        self._owner.dial_message(self)

    def _on_event(self, event: int, value: int) -> None:
        if self.closed:
            return
        if event == zmq.EVENT_CONNECTED:
            self._fd = value
            return
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            if CAN_LOOK:
                # In this order: if it is over already, and the mark that of another which got its
                # descriptor, its end is told.
                self._mark = mark_of(self._fd, self.endpoint) or OVER
                self._exchange.monitors.unwatch_later(self.socket)
            self.up = True
            self.reader.start()
            self._owner.dial_up(self)
            return
        if self.up:
            self.reader.finish()  # what arrived before the end
        if self.closed:
            return
        self.close()
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            refused = value == _DENIED
            self._owner.dial_ended(self, f"refused with status {value}", refused)
        else:
            self._owner.dial_ended(self, _REASONS[event], False)
