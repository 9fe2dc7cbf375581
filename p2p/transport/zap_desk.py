"""Where those who ask about a key come in: the socket of the ZAP handler, and its pipes.

libzmq keeps the pipe between a connection and the handler for as long as the connection lives,
10 KB for each, though it is used once. So when some were let in, and then nobody has asked for a
while, their pipes are ended from here. No call of libzmq does that; but a ROUTER that hands over
ends a pipe as soon as another takes its routing id, so a socket of ours takes the ids of all who
were answered, one after another. Nobody else can: a connection names no id to the handler, and
other sockets of this process do not connect here. Half of what that leaves free goes back to the
system at once, the rest lies in pages with what lives and serves the next.

Another socket in the place of this one would do it too, but a handshake that comes between the
two hangs until its time is out (measured).

Does not know: what is asked, who gets in. Used by one thread at a time. Invariant: no pipe is ended
but that of a question that was answered, and nobody asks twice over the same one; and not before
a whole quiet time, in which the answer was read.
"""

from __future__ import annotations

from collections.abc import Sequence

import zmq

from p2p.transport.allocator import give_back

ENDPOINT = "inproc://zeromq.zap.01"
_PAUSE_MS = 1  # in which libzmq frees what is over


class ZapDesk:
    """Bound by its constructor, which must run before any other socket of this context binds."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], quiet_ms: int) -> None:
        self._context = context
        self._quiet_ms = quiet_ms
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._socket.bind(ENDPOINT)
        self._answered: list[bytes] = []  # routing ids, whose pipes stay
        self._has_freed = False

    def next(self) -> list[bytes]:
        """Wait until there is a question, and return it."""
        while not self._socket.poll(self._patience_ms()):
            self._settle()
        return self._socket.recv_multipart()

    def answer(self, parts: Sequence[bytes], *, is_welcome: bool) -> None:
        """The first part is that of the question. The connection of the unwelcome ends, and its
        pipe with it."""
        self._socket.send_multipart(parts)
        if is_welcome:
            self._answered.append(parts[0])

    def close(self) -> None:
        """Nobody is heard any more."""
        self._socket.close()

    def _patience_ms(self) -> int | None:
        return self._quiet_ms if self._answered or self._has_freed else None

    def _settle(self) -> None:
        """Nobody has asked for a while: a step, and the next after another while."""
        if self._answered:
            # Should that fail, since no descriptor is left, they stay as long as their connections.
            over, self._answered = self._answered, []
            self._end_pipes(over)
            self._has_freed = True
        else:
            self._has_freed = False
            give_back()

    def _end_pipes(self, routing_ids: Sequence[bytes]) -> None:
        """One after another, since a pipe that takes an id costs what is saved. In each pause
        libzmq learns what was done; a question that comes in it waits for the rest."""
        with self._context.socket(zmq.DEALER) as taker:
            taker.setsockopt(zmq.LINGER, 0)
            for routing_id in routing_ids:
                taker.setsockopt(zmq.ROUTING_ID, routing_id)
                taker.connect(ENDPOINT)
                self._socket.poll(0)
                taker.disconnect(ENDPOINT)
                self._socket.poll(_PAUSE_MS)
