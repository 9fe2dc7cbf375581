"""Ports for doors: free now, and given to nobody else on this machine while these tests run.

Below those that the kernel hands out by itself, which another test's connection could take between
this look and the node's start. Between the look and the start another run of tests could take them,
too, so whoever is given ten ports holds the last of them until its process ends.
"""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

LOOPBACK = "127.0.0.1"
PORTS = 9  # a door, and what may be bound behind it

_held: list[socket.socket] = []


def free_port() -> int:
    """A port that is free now, and so are the eight after it."""
    while True:
        port = 10_000 + random.SystemRandom().randrange(2_000) * 10
        with ExitStack() as stack:
            try:
                for further in range(PORTS):
                    stack.enter_context(socket.socket()).bind((LOOPBACK, port + further))
                held = socket.socket()
                stack.callback(held.close)
                held.bind((LOOPBACK, port + PORTS))
            except OSError:
                continue
            _held.append(held.dup())
            return port
