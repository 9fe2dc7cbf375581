"""A message as it comes off a socket: who sent it, over what, and its parts.

Does not know: lanes, peers, connections.
"""

from __future__ import annotations

import zmq

from p2p.links import MAX_BODY_BYTES

# As plain integers: libzmq's flags are an enum, and adding two of them costs a microsecond.
NOBLOCK = int(zmq.NOBLOCK)
MORE = int(zmq.NOBLOCK | zmq.SNDMORE)

# Below this a copy is cheaper than telling another thread when libzmq has done with the original.
SHARE_FROM_BYTES = 256 * 1024


def source_fd(frame: zmq.Frame) -> int:
    """The descriptor of the connection that a message came over; -1 when there is none."""
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1


def user_id_of(frame: zmq.Frame) -> str:
    """Who sent it, as ZAP said; empty for nobody."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:  # libzmq's own messages, such as the farewell of a subscriber
        return ""


def skip_rest(socket: zmq.Socket[bytes]) -> None:
    """Throw the remaining parts of a message away."""
    while socket.getsockopt(zmq.RCVMORE):
        socket.recv(NOBLOCK, copy=False)


def read_body(socket: zmq.Socket[bytes]) -> bytes | None:
    """Read the second and last part of a message. None when it is too large or not the last: then
    the whole message is gone."""
    frame = socket.recv(NOBLOCK, copy=False)
    if frame.more:
        skip_rest(socket)
        return None
    if len(frame) > MAX_BODY_BYTES:
        return None
    return frame.bytes
