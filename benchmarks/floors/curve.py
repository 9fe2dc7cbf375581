"""Sockets under CURVE on the loopback address, with nothing else about them.

What this module does not know: who reads and writes them.
"""

from __future__ import annotations

import zmq

LOOPBACK = "127.0.0.1"

Socket = zmq.Socket[bytes]


def listener(kind: int, high_water: int) -> tuple[Socket, str, str]:
    """Return a bound server, its endpoint and its public key."""
    public, secret = zmq.curve_keypair()
    socket = _socket(kind, high_water)
    socket.curve_server = True
    socket.curve_publickey, socket.curve_secretkey = public, secret
    port = socket.bind_to_random_port(f"tcp://{LOOPBACK}")
    return socket, f"tcp://{LOOPBACK}:{port}", public.decode()


def dialler(kind: int, high_water: int, endpoint: str, key: str, topic: bytes = b"") -> Socket:
    """Return a client that is being connected; a SUB hears one topic."""
    public, secret = zmq.curve_keypair()
    socket = _socket(kind, high_water)
    socket.curve_serverkey = key.encode()
    socket.curve_publickey, socket.curve_secretkey = public, secret
    if kind == zmq.SUB:
        socket.setsockopt(zmq.SUBSCRIBE, topic)
    socket.connect(endpoint)
    return socket


def _socket(kind: int, high_water: int) -> Socket:
    socket: Socket = zmq.Context.instance().socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, high_water)
    socket.setsockopt(zmq.RCVHWM, high_water)
    if kind == zmq.XPUB:
        socket.setsockopt(zmq.XPUB_NODROP, 1)
        socket.setsockopt(zmq.XPUB_VERBOSE, 1)
    return socket
