"""Where one listener is reached: at one endpoint, or at two while keys rotate.

libzmq takes a CURVE key at the bind, and an endpoint keeps the key that it was bound under. So a
listener changes its key by a second endpoint at another port; when everybody has come over, the
first one is unbound, which ends what is left there (measured: at once, and without an event).

Does not know: who comes in, what travels, when to change. Invariant: `connections` watches exactly
the ports that are bound.
"""

from __future__ import annotations

import zmq

from p2p.transport.connections import Connections
from p2p.transport.sockets import Sockets, bind


class Listening:
    def __init__(self, socket: zmq.Socket[bytes], sockets: Sockets, host: str) -> None:
        self._socket = socket
        self._sockets = sockets
        self._host = host
        self._endpoints: list[str] = []  # the oldest first
        self.connections = Connections()
        self.port = 0  # of the newest endpoint

    def open(self, port: int) -> int:
        """Bind an endpoint under the key of now, beside the one that there may be.

        Raises:
            PortInUse, TransportFailed: as `bind` says.
        """
        assert len(self._endpoints) < 2, "one rotation at a time"
        self._sockets.rekey(self._socket)
        endpoint = bind(self._socket, self._host, port)
        self._endpoints.append(endpoint)
        self.port = _port_of(endpoint)
        self.connections.listen(self.port)
        return self.port

    def left_behind(self) -> int:
        """How many connections are still at the old endpoint."""
        if len(self._endpoints) < 2:
            return 0
        port = _port_of(self._endpoints[0])
        # What a silent one has sent may only not have been read yet.
        return self.connections.count_at(port) + self.connections.count_silent_at(port)

    def come_over(self) -> int:
        """How many connections are at the new endpoint."""
        return self.connections.count_at(self.port) if len(self._endpoints) == 2 else 0

    def leave_old(self) -> None:
        """Close the old endpoint, and end what came in there."""
        if len(self._endpoints) == 2:
            self._leave(self._endpoints.pop(0))

    def take_back(self) -> None:
        """Close the new endpoint; the key of now is the old one again."""
        if len(self._endpoints) == 2:
            self._leave(self._endpoints.pop())
            self._sockets.rekey(self._socket)
            self.port = _port_of(self._endpoints[0])

    def _leave(self, endpoint: str) -> None:
        self._socket.unbind(endpoint)
        self.connections.leave(_port_of(endpoint))


def _port_of(endpoint: str) -> int:
    return int(endpoint.rsplit(":", 1)[1])
