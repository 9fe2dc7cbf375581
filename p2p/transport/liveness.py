"""Whether libzmq still has a connection that we dialled, seen without anybody who tells us.

The descriptor is libzmq's, which closes it at any moment, and the system gives its number away
again. So the number of the socket behind it is remembered: that of another socket is another one.
A connection that the other side has ended is still there until libzmq has read the last of it.

What this module does not know: sockets of ZeroMQ, when to look.
"""

from __future__ import annotations

import os
import socket
import sys

# Elsewhere sockets have no numbers, or libzmq's descriptors are none of ours.
CAN_LOOK = sys.platform == "linux"
OVER = -1  # the mark of no connection


def mark_of(fd: int, endpoint: str) -> int | None:
    """What tells the connection to this endpoint of ZeroMQ from others. None if it is over."""
    mark = _number_of(fd)
    if mark is None or not _leads_to(fd, int(endpoint.rpartition(":")[2])):
        return None
    return mark


def is_there(fd: int, mark: int) -> bool:
    """Whether this descriptor is still that connection."""
    return _number_of(fd) == mark


def hang_up(fd: int, mark: int) -> bool:
    """End that connection; whether it was there to be ended."""
    try:
        copy = os.dup(fd)  # libzmq may close its own meanwhile
    except OSError:
        return False
    try:
        if _number_of(copy) != mark:
            return False
        held = socket.socket(fileno=copy)
        try:
            held.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other side was faster
            return False
        finally:
            held.detach()
    finally:
        os.close(copy)
    return True


def _number_of(fd: int) -> int | None:
    try:
        return os.fstat(fd).st_ino
    except OSError:
        return None


def _leads_to(fd: int, port: int) -> bool:
    try:
        held = socket.socket(fileno=fd)
    except OSError:
        return False
    try:
        return held.family in (socket.AF_INET, socket.AF_INET6) and held.getpeername()[1] == port
    except OSError:  # it ended a moment ago
        return False
    finally:
        held.detach()
